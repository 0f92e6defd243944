package relay

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// Held mail is told of at the start and every day, a line for each reason, until
// there is none.
func TestHeldMailIsToldOfDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := disk.Open(vfs.NewMem(), "queue", disk.Options{MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		put := func(reason string) {
			d, err := st.Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rs := []queue.Recipient{{Address: "a@dest.test", Domain: "dest.test", State: queue.Held, Reason: reason}}
			if _, err := d.Commit(t.Context(), &queue.Message{}, rs); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		r := &Relay{store: st, log: slog.New(slog.NewTextHandler(&log, nil))}
		put("421 4.7.0 from mx.dest.test: rate")
		put("550 5.7.25 from mx.dest.test: PTR-EXISTS")
		put("550 5.7.25 from mx.dest.test: PTR-EXISTS")
		put(queue.HeldByOperator)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.remind(ctx) }()

		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], `level=ERROR msg="mail is held" count=2 reason="550 5.7.25 from mx.dest.test: PTR-EXISTS"`) ||
			!strings.Contains(lines[1], "rate") || !strings.Contains(lines[1], "bounce") || !strings.Contains(lines[2], "level=INFO") {
			t.Errorf("at the start:\n%s", log.String())
		}
		log.Reset()
		time.Sleep(3*24*time.Hour + time.Minute)
		if n := strings.Count(log.String(), "level=ERROR"); n != 6 {
			t.Errorf("%d lines in three days:\n%s", n, log.String())
		}
		if _, err := st.Update(ctx, queue.Filter{State: queue.Held}, queue.Change{State: queue.Removed}); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		time.Sleep(24 * time.Hour)
		if log.Len() > 0 {
			t.Errorf("nothing is held:\n%s", log.String())
		}
		cancel()
		<-done
	})
}

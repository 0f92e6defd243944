package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
		var log lines
		r := &Relay{store: st, log: slog.New(slog.NewTextHandler(&log, nil))}
		put("421 4.7.0 from mx.dest.test: rate")
		put("550 5.7.25 from mx.dest.test: PTR-EXISTS")
		put("550 5.7.25 from mx.dest.test: PTR-EXISTS")
		put(queue.HeldByOperator)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.remind(ctx) }()

		synctest.Wait()
		told := strings.Split(strings.TrimSpace(log.text()), "\n")
		if len(told) != 3 || !strings.Contains(told[0], `level=ERROR msg="mail is held" count=2 reason="550 5.7.25 from mx.dest.test: PTR-EXISTS"`) ||
			!strings.Contains(told[1], "rate") || !strings.Contains(told[1], "bounce") || !strings.Contains(told[2], "level=INFO") {
			t.Errorf("at the start:\n%s", log.text())
		}
		log.forget()
		time.Sleep(3*24*time.Hour + time.Minute)
		synctest.Wait()
		if n := strings.Count(log.text(), "level=ERROR"); n != 6 {
			t.Errorf("%d lines in three days:\n%s", n, log.text())
		}
		if _, err := st.Update(ctx, queue.Filter{State: queue.Held}, queue.Change{State: queue.Removed}); err != nil {
			t.Fatal(err)
		}
		log.forget()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if log.text() != "" {
			t.Errorf("nothing is held:\n%s", log.text())
		}
		cancel()
		<-done
	})
}

// lines of a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

func (l *lines) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = nil
}

// However many reasons there are, few of them are kept apart.
func TestHeldMailOfManyReasons(t *testing.T) {
	by := heaps{}
	for n := range 3 * maxHeaps {
		by.add(queue.Entry{}, fmt.Sprint("450 from mx", n))
	}
	if h := by["others"]; len(by) > maxHeaps+1 || h == nil || h.count != 2*maxHeaps {
		t.Errorf("%d reasons, others %+v", len(by), h)
	}
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
	"smtprelay/relay/admin"
)

var recoverFrom = flag.Int("recover-from", 10_000, "TestKillInRecovery: how many messages wait")

// TestKillInRecovery kills the relay under load, with much mail waiting, and then
// twenty times in a row while it starts, each time a little later. What waited is
// there in the end, and so is what was acknowledged.
func TestKillInRecovery(t *testing.T) {
	k, book := newKillLab(t, ""), newLedger()
	waiting := k.fill(t, *recoverFrom)
	if err := k.sink.Set("MAIL 451 4.7.1 not now"); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	c, stop := k.live(t, book, 0)
	start := time.Since(from)
	time.Sleep(300 * time.Millisecond) // some load; the moment does not matter
	c.kill()
	stop()
	k.hear(c)
	for i := range 20 {
		c, err := launchRelay(k.config(), k.dir)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(time.Duration(i) * start / 20):
		case <-c.done:
			text, _ := c.text()
			t.Fatalf("the relay ended by itself:\n%s", text)
		}
		c.kill()
		c.ready.Close()
		k.hear(c)
	}

	c = k.start(t)
	defer c.kill()
	there := map[admin.ID]string{}
	for e, err := range admin.NewClient(filepath.Join(k.dir, "admin.sock")).List(t.Context(), admin.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		there[e.Message.ID] = e.Recipients[0].Address
	}
	for id, to := range waiting {
		if there[id] != to {
			t.Errorf("%s waited for %s and is now for %q", id, to, there[id])
		}
	}
	for name, a := range book.acked {
		if there[admin.ID(a.id)] == "" {
			t.Errorf("lost: %s was acknowledged as %s", name, a.id)
		}
	}
	if n, most := len(there), len(waiting)+len(book.tried); n > most {
		t.Errorf("%d messages are there, and only %d were ever sent", n, most)
	}
	t.Logf("%d waited, %d were acknowledged, %d are there; it starts within %v", len(waiting), len(book.acked), len(there), start.Round(time.Millisecond))
	if err := k.sink.Set(""); err != nil {
		t.Fatal(err)
	}
	k.drain(t, book, 0)
	for _, w := range k.check(book).wrong {
		t.Error(w)
	}
}

// fill has a queue be there, of messages that are due in an hour. It returns who
// each is for.
func (k *killLab) fill(t *testing.T, n int) map[admin.ID]string {
	t.Helper()
	s, err := disk.Open(vfs.Default, filepath.Join(k.state, "state", "queue"), disk.Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	text := "From: alice@shop.test\r\nSubject: waiting\r\n\r\n" + strings.Repeat("it waits\r\n", 100)
	var mu sync.Mutex
	var wg sync.WaitGroup
	waiting := map[admin.ID]string{}
	const at = 64
	for w := range at {
		wg.Go(func() {
			for i := w; i < n; i += at {
				domain := fmt.Sprintf("w%d.test", i%1000)
				id, err := put(t.Context(), s, text, domain)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				waiting[id] = "bob@" + domain
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return waiting
}

// put commits a message for a domain.
func put(ctx context.Context, s *disk.Store, text, domain string) (queue.ID, error) {
	d, err := s.Create(ctx)
	if err != nil {
		return "", err
	}
	defer d.Abort()
	if _, err := io.WriteString(d, text); err != nil {
		return "", err
	}
	return d.Commit(ctx, &queue.Message{Envelope: queue.Envelope{From: "alice@shop.test"}, Author: "shop.test"},
		[]queue.Recipient{{Address: "bob@" + domain, Domain: domain, State: queue.Waiting, Next: time.Now().Add(time.Hour)}})
}

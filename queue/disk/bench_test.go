package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"

	"smtprelay/queue"
)

// BenchmarkLife is the life of a message of 4 KiB in the store: committed, taken,
// its body read, marked, settled. 20 clients commit, and 20 workers take, all of
// them at one destination or each at its own; no more than so many messages wait
// ("backlog": they are all committed first). It reports the processor time of the
// process, user and system, and the syncs of a message.
func BenchmarkLife(b *testing.B) {
	b.Run("one destination", func(b *testing.B) { life(b, 1, 1000) })
	b.Run("1000 destinations", func(b *testing.B) { life(b, 1000, 1000) })
	b.Run("backlog", func(b *testing.B) { life(b, 1, b.N) })
}

const hands = 20

func life(b *testing.B, domains, atMost int) {
	var syncs atomic.Int64
	disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			syncs.Add(1)
		}
		return nil
	}))
	s, err := Open(disk, filepath.Join(b.TempDir(), "queue"), Options{MinFree: 1, Fatal: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(strings.Repeat("Twelve quiet words stand in each line of the body of mail.\r\n", 70)[:4096])
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := processorTime()
	syncs.Store(0)
	b.ResetTimer()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var begun, settled atomic.Int64
	waiting := make(chan struct{}, atMost)
	var clients, workers sync.WaitGroup
	for range hands {
		clients.Go(func() {
			for i := begun.Add(1); i <= int64(b.N); i = begun.Add(1) {
				waiting <- struct{}{}
				if err := bring(s, body, fmt.Sprintf("d%d.example", i%int64(domains))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	if atMost == b.N {
		clients.Wait()
	}
	slots := make(chan struct{}, hands)
	workers.Go(func() {
		for {
			slots <- struct{}{}
			ls, err := s.Claim(ctx, 1, time.Hour)
			if err != nil {
				return
			}
			workers.Go(func() {
				if err := carry(s, ls[0], domains, func() {
					<-waiting
					if settled.Add(1) == int64(b.N) {
						cancel()
					}
				}); err != nil {
					b.Error(err)
				}
				<-slots
			})
		}
	})
	clients.Wait()
	workers.Wait()
	b.StopTimer()
	runtime.ReadMemStats(&after)
	n := float64(b.N)
	b.ReportMetric(float64(processorTime()-cpu)/n, "cpu-ns/op")
	b.ReportMetric(float64(syncs.Load())/n, "syncs/op")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "mallocs/op")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "octets/op")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// bring commits a message as a submission does.
func bring(s *Store, body []byte, domain string) error {
	ctx := context.Background()
	d, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer d.Abort()
	m := &queue.Message{
		Envelope: queue.Envelope{From: "shop@example.com", Body: "8BITMIME"}, Author: "example.com", Submitter: "shop",
		MessageID: "<" + string(d.ID()) + "@example.com>", Lifetime: 5 * 24 * time.Hour,
		Head: []byte("Received: from shop.example.com (shop.example.com [192.0.2.7])\r\n\tby relay.example.com with ESMTP id " + string(d.ID()) + ";\r\n\tWed, 25 Nov 2026 20:00:00 +0000\r\n"),
	}
	if _, err := d.Write(body); err != nil {
		return err
	}
	_, err = d.Commit(ctx, m, []queue.Recipient{{Address: "someone@" + domain, Domain: domain, Notify: "FAILURE"}})
	return err
}

// carry delivers what is due under a lease, by as many at once as there are hands
// where all goes to one destination. Who finds nothing looks again when another
// has delivered a message; when all of them find nothing, the lease ends.
func carry(s *Store, l queue.Lease, domains int, done func()) error {
	ctx := context.Background()
	workers := 1
	if domains == 1 {
		workers = hands
	}
	var mu sync.Mutex
	again := sync.NewCond(&mu)
	idle := 0
	rest := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if idle++; idle == workers {
			again.Broadcast()
			return false
		}
		again.Wait()
		if idle == workers {
			return false
		}
		idle--
		return true
	}
	work := func() error {
		for {
			jobs, err := s.Take(ctx, l, 8)
			switch {
			case err != nil:
				return err
			case len(jobs) == 0 && !rest():
				return nil
			}
			for _, j := range jobs {
				if err := carryOne(s, l, j); err != nil {
					return err
				}
				done()
				again.Signal()
			}
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		wg.Go(func() { errs[i] = work() })
	}
	wg.Wait()
	return errors.Join(append(errs, s.Release(ctx, l, 0))...)
}

func carryOne(s *Store, l queue.Lease, j queue.Job) error {
	ctx := context.Background()
	r, err := s.Body(ctx, j.Message.ID)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	n := j.Recipients[0].N
	if err := s.Sending(ctx, l, j.Message.ID, n); err != nil {
		return err
	}
	return s.Settle(ctx, l, queue.Result{ID: j.Message.ID, N: n, State: queue.Delivered, Attempt: &queue.Attempt{At: time.Now(), Outcome: queue.Sent}})
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package disk

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// BenchmarkWake has 100,000 messages wait for one verdict, half of them for one
// destination, and wakes them. It reports how long that takes, what memory it takes
// besides, and how long a client waits for its 250 meanwhile, at worst.
func BenchmarkWake(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		b.StopTimer()
		s, err := Open(vfs.NewMem(), "queue", Options{MinFree: 1})
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.Background()
		put := func(domain string) {
			d, err := s.Create(ctx)
			if err == nil {
				_, err = d.Write([]byte("Subject: hello\r\n\r\nhello\r\n"))
			}
			if err == nil {
				_, err = d.Commit(ctx, &queue.Message{}, []queue.Recipient{{Address: "a@" + domain, Domain: domain}})
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		for i := range n {
			put([]string{"large.example", fmt.Sprintf("d%d.example", i%1000)}[i%2])
		}
		s.mu.Lock() // as Park leaves them
		for _, r := range s.index.roll.after(0) {
			s.index.place(r, waiting, s.ran.now()+time.Hour, 0)
			s.index.park(r, "wan4")
		}
		s.mu.Unlock()

		worst := func(while func()) time.Duration {
			var over atomic.Bool
			done := make(chan time.Duration)
			go func() {
				var most time.Duration
				for !over.Load() {
					began := time.Now()
					put("new.example")
					most = max(most, time.Since(began))
				}
				done <- most
			}()
			while()
			over.Store(true)
			return <-done
		}
		calm := worst(func() { time.Sleep(200 * time.Millisecond) })
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var took time.Duration
		b.StartTimer()
		busy := worst(func() {
			began := time.Now()
			if err := s.Wake(ctx, func(string) bool { return true }); err != nil {
				b.Fatal(err)
			}
			took = time.Since(began)
			runtime.ReadMemStats(&after)
			for range 100 { // and the workers come
				ls, err := s.Claim(ctx, 1, time.Minute)
				if err != nil || len(ls) != 1 {
					b.Fatal(ls, err)
				}
			}
		})
		b.StopTimer()
		s.mu.Lock()
		ready := 0
		for _, d := range s.index.named {
			for _, l := range d.lines {
				ready += len(l.pile)
			}
		}
		s.mu.Unlock()
		if ready < n {
			b.Fatalf("%d of %d are due", ready, n)
		}
		b.ReportMetric(float64(took.Milliseconds()), "wake-ms")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc), "wake-bytes")
		b.ReportMetric(float64(calm.Microseconds())/1000, "accept-calm-ms")
		b.ReportMetric(float64(busy.Microseconds())/1000, "accept-worst-ms")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

package queue_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/queue"
)

// counting counts what is written of a store's mail.
type counting struct {
	queue.Work
	settled atomic.Int64
}

func (c *counting) written() int64 { return c.settled.Load() }

func (c *counting) Settle(ctx context.Context, l queue.Lease, rs ...queue.Result) error {
	c.settled.Add(int64(len(rs)))
	return c.Work.Settle(ctx, l, rs...)
}

// gated puts off what shut says, and sends the rest.
func gated(shut func(j queue.Job) (awaits, why string)) func(queue.Job, queue.Recipient) queue.Attempt {
	return func(j queue.Job, _ queue.Recipient) queue.Attempt {
		if awaits, why := shut(j); awaits != "" {
			return queue.Attempt{Outcome: queue.Deferred, Ours: true, Stage: "gate", Why: why, Awaits: awaits, Wait: time.Second}
		}
		return queue.Attempt{Outcome: queue.Sent}
	}
}

// Mail that waits for the gate is written and told of once, not counted as tried,
// looked at now and then, and sent the moment that the gate opens.
func TestHeldMailWaitsQuietly(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 3 {
			w.put(queue.Message{}, "a.example")
		}
		var why atomic.Value
		var open atomic.Bool
		var looked atomic.Int64
		why.Store("PTR-EXISTS of wan4")
		w.deliver = w.each(gated(func(queue.Job) (string, string) {
			if open.Load() {
				return "", ""
			}
			looked.Add(1)
			return "wan4", why.Load().(string)
		}))
		c := &counting{Work: w.store}
		s := queue.NewScheduler(c, w, w, queue.Options{DelayNotice: 90 * m}, w.log).WithoutJitter()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()

		time.Sleep(h)
		if n := looked.Load() / 3; c.written() != 3 || len(w.told("deferred")) != 3 || n < 3 || n > 6 {
			t.Errorf("an hour: %d written, told %q, looked at %d times", c.written(), w.told("deferred"), n)
		}
		time.Sleep(h)
		if c.written() != 6 || len(w.told("delayed")) != 3 {
			t.Errorf("two hours: %d written, told %q", c.written(), w.told("delayed"))
		}
		why.Store("settling, after a failure of wan4")
		time.Sleep(h - 7*m) // between two looks
		if c.written() != 9 {
			t.Errorf("another reason: %d written", c.written())
		}
		for e, err := range w.store.List(ctx, queue.Filter{}) {
			if r := e.Recipients[0]; err != nil || r.Tries != 0 || r.Reason != why.Load() || r.Ours < 160*m || r.Age > m {
				t.Errorf("%+v, %v", r, err)
			}
		}
		open.Store(true)
		if err := s.Wake(ctx, func(awaited string) bool { return awaited == "other" }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := w.told("delivered"); len(got) > 0 {
			t.Errorf("woken for something else: %q", got)
		}
		if err := s.Wake(ctx, func(awaited string) bool { return awaited == "wan4" }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := w.told("delivered"); len(got) != 3 {
			t.Errorf("delivered at once: %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A waking between the gate's word and the putting off is not missed.
func TestWakeWhileInHand(t *testing.T) {
	for _, first := range []bool{true, false} { // settled, or only parked
		simulate(t, func(t *testing.T, w *world) {
			w.put(queue.Message{}, "a.example")
			var s *queue.Scheduler
			open, asked := false, 0
			w.deliver = w.each(gated(func(queue.Job) (string, string) {
				asked++
				if open {
					return "", ""
				}
				if open = first || asked > 1; open {
					if err := s.Wake(t.Context(), func(string) bool { return true }); err != nil {
						t.Error(err)
					}
				}
				return "wan4", "PTR-EXISTS of wan4"
			}))
			s = queue.NewScheduler(w.store, w, w, queue.Options{}, w.log).WithoutJitter()
			ctx, cancel := context.WithTimeout(t.Context(), 16*m)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if got := w.told("delivered"); len(got) != 1 {
				t.Errorf("first %t: delivered %q", first, got)
			}
		})
	}
}

// Mail that a remote refused for a fault of ours is told of and counted like any
// other, keeps to the schedule, and comes the moment that the fault is mended.
func TestRefusedMailIsWoken(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		var mended atomic.Bool
		w.deliver = w.each(func(queue.Job, queue.Recipient) queue.Attempt {
			if mended.Load() {
				return queue.Attempt{Outcome: queue.Sent}
			}
			return queue.Attempt{Outcome: queue.Deferred, Ours: true, Host: "mx.example", Stage: "rcpt",
				Reply: queue.Reply{Code: 550, Status: "5.7.25"}, Class: "PTR-EXISTS", Awaits: "PTR-EXISTS of wan4"}
		})
		s := queue.NewScheduler(w.store, w, w, queue.Options{DelayNotice: -1}, w.log).WithoutJitter()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(10 * h)
		w.wantTries(0, 5*m, 15*m, 35*m, 75*m, 135*m, 255*m, 495*m)
		for e, err := range w.store.List(ctx, queue.Filter{}) {
			if r := e.Recipients[0]; err != nil || r.Tries != 8 || r.Ours < 9*h || r.Age > m {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if got := w.told("deferred"); len(got) != 8 {
			t.Errorf("told %q", got)
		}
		mended.Store(true)
		if err := s.Wake(ctx, func(awaited string) bool { return awaited == "PTR-EXISTS of wan4" }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := w.told("delivered"); len(got) != 1 {
			t.Errorf("woken: %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What a remote refused is not tried again at once because something else has come
// about meanwhile; but what itself came about while it was in hand is not missed.
func TestRefusedInHand(t *testing.T) {
	for name, c := range map[string]struct {
		first, later bool // the fault is seen to be mended while it is refused for the first time, or the second
		want         []time.Duration
	}{
		"something else": {want: []time.Duration{0, 5 * m, 15 * m}},
		"the first time": {first: true, want: []time.Duration{0, 0, 10 * m}},
		"later":          {later: true, want: []time.Duration{0, 5 * m, 5 * m}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				w.put(queue.Message{}, "a.example")
				var s *queue.Scheduler
				mended, tries := false, 0
				come := func(awaited string) bool { // once, as the gate does
					yes := mended && awaited == "PTR-EXISTS of wan4"
					mended = mended && !yes
					return yes
				}
				w.deliver = w.each(func(queue.Job, queue.Recipient) queue.Attempt {
					if tries++; tries > 9 {
						return queue.Attempt{Outcome: queue.Sent} // it would never end
					}
					mended = c.first && tries == 1 || c.later && tries == 2
					if err := s.Wake(t.Context(), come); err != nil {
						t.Error(err)
					}
					return queue.Attempt{Outcome: queue.Deferred, Ours: true, Host: "mx.example", Stage: "rcpt",
						Reply: queue.Reply{Code: 550, Status: "5.7.25"}, Class: "PTR-EXISTS", Awaits: "PTR-EXISTS of wan4"}
				})
				s = queue.NewScheduler(w.store, w, w, queue.Options{DelayNotice: -1}, w.log).WithoutJitter()
				ctx, cancel := context.WithTimeout(t.Context(), 16*m)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				w.wantTries(c.want...)
			})
		})
	}
}

// Very much mail that is woken at once is worked off as any that is due: a few
// jobs in hand, a few destinations at a time.
func TestWakeInNoBurst(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		const domains, each = 20, 100
		for i := range domains * each {
			w.put(queue.Message{}, fmt.Sprintf("d%d.example", i%domains))
		}
		var open atomic.Bool
		w.deliver = w.each(gated(func(queue.Job) (string, string) {
			if open.Load() {
				return "", ""
			}
			return "wan4", "PTR-EXISTS of wan4"
		}))
		b := &burst{Work: w.store}
		s := queue.NewScheduler(b, w, w, queue.Options{Workers: 4}, w.log).WithoutJitter()
		ctx, cancel := context.WithTimeout(t.Context(), 10*m)
		defer cancel()
		time.AfterFunc(5*m, func() {
			open.Store(true)
			if err := s.Wake(ctx, func(string) bool { return true }); err != nil {
				t.Error(err)
			}
		})
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := w.told("delivered"); len(got) != domains*each {
			t.Errorf("%d delivered", len(got))
		}
		if b.jobs > 8 || b.leases > 16 {
			t.Errorf("%d jobs and %d leases at once", b.jobs, b.leases)
		}
	})
}

// burst notes the most that was asked of a store at once.
type burst struct {
	queue.Work
	mu           sync.Mutex
	jobs, leases int
}

func (b *burst) Take(ctx context.Context, l queue.Lease, n int) ([]queue.Job, error) {
	b.mu.Lock()
	b.jobs = max(b.jobs, n)
	b.mu.Unlock()
	return b.Work.Take(ctx, l, n)
}

func (b *burst) Claim(ctx context.Context, n int, ttl time.Duration) ([]queue.Lease, error) {
	b.leases = max(b.leases, n)
	return b.Work.Claim(ctx, n, ttl)
}

package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smtprelay/queue"
)

var refused = queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "connect", Why: "connection refused"}

// when a recipient's domain was delivered to last, since the start.
type when struct {
	mu   sync.Mutex
	last map[string]time.Duration
}

func (x *when) sent(w *world, domain string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		x.last = map[string]time.Duration{}
	}
	x.last[domain] = time.Since(w.start)
}

// A destination with very much mail does not keep another waiting that goes to the
// same hosts, nor one that goes elsewhere when all workers are busy.
func TestTurns(t *testing.T) {
	for name, lane := range map[string]func(string) queue.Lane{
		"same hosts": func(string) queue.Lane { return queue.Lane{Name: "mx.example", Connections: 4} },
		"others":     func(d string) queue.Lane { return queue.Lane{Name: d} },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				for range 2000 {
					w.put(queue.Message{}, "much.example")
				}
				w.lane = lane
				x := &when{}
				w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
					time.Sleep(time.Second)
					x.sent(w, r.Domain)
					return queue.Attempt{Outcome: queue.Sent}
				})
				time.AfterFunc(30*time.Second, func() {
					for i := range 4 {
						w.put(queue.Message{}, fmt.Sprintf("little%d.example", i))
					}
				})
				w.run(queue.Options{Workers: 8}, 5*m)
				for i := range 4 {
					if at := x.last[fmt.Sprintf("little%d.example", i)]; at == 0 || at > time.Minute {
						t.Errorf("little%d, due after 30s: delivered after %v", i, at)
					}
				}
				if n := 2000 - waiting(t, w); n < 4*240 {
					t.Errorf("%d in five minutes: the workers are idle", n)
				}
			})
		})
	}
}

// Where more destinations have mail for the same hosts than can wait there, those with
// much do not keep out those with little.
func TestTurnsOfVeryMany(t *testing.T) {
	for name, c := range map[string]struct {
		workers, perMinute int
		within             time.Duration
	}{
		"all wait there": {1000, 0, 3 * m}, "few wait there": {8, 0, 8 * m}, "a rate": {8, 120, 10 * m},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				for i := range 200 {
					for range 1 + 500*(i%20/19) { // ten of them have much
						w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
					}
				}
				w.lane = func(string) queue.Lane {
					return queue.Lane{Name: "mx.example", Connections: 2, PerMinute: c.perMinute}
				}
				x := &when{}
				w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
					time.Sleep(time.Second)
					x.sent(w, r.Domain)
					return queue.Attempt{Outcome: queue.Sent}
				})
				w.run(queue.Options{Workers: c.workers}, c.within)
				late := 0
				for i := range 200 {
					if x.last[fmt.Sprintf("d%d.example", i)] == 0 {
						late++
					}
				}
				if late > 0 {
					t.Errorf("%d of 200 destinations had no turn in %v", late, c.within)
				}
			})
		})
	}
}

// Few workers are shared, too, among hosts that take nothing.
func TestTurnsOfFewWorkers(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		simulate(t, func(t *testing.T, w *world) {
			for range 500 {
				w.put(queue.Message{}, "much.example")
			}
			x := &when{}
			w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
				time.Sleep(time.Second)
				x.sent(w, r.Domain)
				return queue.Attempt{Outcome: queue.Refused, Host: "mx.example", Stage: "rcpt", Reply: queue.Reply{Code: 550}}
			})
			for i := range workers {
				time.AfterFunc(30*time.Second, func() { w.put(queue.Message{}, fmt.Sprintf("little%d.example", i)) })
			}
			w.run(queue.Options{Workers: workers}, 5*m)
			for i := range workers {
				if at := x.last[fmt.Sprintf("little%d.example", i)]; at == 0 || at > 2*m {
					t.Errorf("of %d workers little%d, due after 30s, got one after %v", workers, i, at)
				}
			}
		})
	}
}

// A message that takes very long does not keep those waiting that came in for the same
// destination after it.
func TestLongMessage(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example"} }
		x := &when{}
		long := w.put(queue.Message{}, "long.example")
		w.deliver = w.each(func(j queue.Job, r queue.Recipient) queue.Attempt {
			if r.Domain == "long.example" && j.Message.ID != long {
				x.sent(w, "other")
			} else if r.Domain == "long.example" {
				time.Sleep(10 * m)
			}
			return queue.Attempt{Outcome: queue.Sent}
		})
		time.AfterFunc(time.Minute, func() { w.put(queue.Message{}, "long.example") })
		w.run(queue.Options{}, 20*m)
		w.stat(queue.Stat{})
		if at := x.last["other"]; at > 2*time.Minute {
			t.Errorf("delivered after %v", at)
		}
	})
}

// Very many destinations of one dead host: each is put off and runs out in its time,
// though few are ever tried.
func TestShutLaneAges(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for i := range 300 {
			w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
		}
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example"} }
		dials := 0
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			dials++
			return w.each(always(refused))(ctx, trip)
		}
		w.run(queue.Options{Lifetime: 5 * h, DelayNotice: -1}, 6*h)
		w.stat(queue.Stat{})
		if got := w.told("failed"); len(got) != 300 {
			t.Errorf("%d of 300 have come to their end", len(got))
		}
		for _, e := range w.told("failed") {
			if !strings.HasPrefix(e, "5h") {
				t.Errorf("%s", e)
			}
		}
		if dials > 30 {
			t.Errorf("the dead host was tried %d times", dials)
		}
		if got := w.told("left alone until"); len(got) < 300 {
			t.Errorf("%d were told why they wait", len(got))
		}
	})
}

// What the operator wants tried is tried at once, once, and what he does not name is not.
func TestTry(t *testing.T) {
	for name, which := range map[string][]string{"one": {"a.example"}, "all": nil} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				var mu sync.Mutex
				dials := map[string][]time.Duration{}
				w.deliver = func(ctx context.Context, trip *queue.Trip) error {
					mu.Lock()
					dials[trip.Domain()] = append(dials[trip.Domain()], time.Since(w.start).Round(time.Second))
					mu.Unlock()
					return w.each(always(refused))(ctx, trip)
				}
				for i := range 4 { // two tries shut it, the third doubles the time
					time.AfterFunc(time.Duration(i)*40*time.Second, func() { w.put(queue.Message{}, "a.example"); w.put(queue.Message{}, "b.example") })
				}
				s := queue.NewScheduler(w.store, w, w, queue.Options{}, w.log).WithoutJitter()
				time.AfterFunc(130*time.Second, func() {
					s.Try(which...)
					f := queue.Filter{}
					if len(which) > 0 {
						f.Domain = which[0]
					}
					if _, err := w.store.Update(t.Context(), f, queue.Change{State: queue.Waiting}); err != nil {
						t.Error(err)
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 135*time.Second)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				for _, d := range []string{"a.example", "b.example"} {
					now := 0
					for _, at := range dials[d] {
						if at == 130*time.Second {
							now++
						}
					}
					want := 1
					if name == "one" && d == "b.example" {
						want = 0
					}
					if now != want {
						t.Errorf("%s was tried %d times at the word, want %d: %v", d, now, want, dials[d])
					}
				}
			})
		})
	}
}

// A name that DNS does not answer keeps no other from being claimed.
func TestSlowLane(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for i := range 1000 {
			w.put(queue.Message{}, fmt.Sprintf("slow%d.example", i))
		}
		x := &when{}
		w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
			x.sent(w, r.Domain)
			return queue.Attempt{Outcome: queue.Sent}
		})
		w.slow = func(ctx context.Context, d string) {
			if strings.HasPrefix(d, "slow") {
				<-ctx.Done()
			}
		}
		time.AfterFunc(10*time.Second, func() { w.put(queue.Message{}, "a.example") })
		w.run(queue.Options{}, 2*m)
		w.stat(queue.Stat{})
		if at := x.last["a.example"]; at == 0 || at > 25*time.Second {
			t.Errorf("a.example, due after 10s: delivered after %v", at)
		}
	})
}

// When we were cut off ourselves, the first message that is taken anywhere has all the
// others tried.
func TestCutOff(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		var up atomic.Bool
		x := &when{}
		w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
			if !up.Load() {
				return refused
			}
			x.sent(w, r.Domain)
			return queue.Attempt{Outcome: queue.Sent}
		})
		go func() {
			for !up.Load() {
				for i := range 5 {
					w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
				}
				time.Sleep(10 * time.Second)
			}
		}()
		time.AfterFunc(32*m, func() { up.Store(true) })
		time.AfterFunc(40*m, func() {
			w.put(queue.Message{}, "new.example")
			time.Sleep(time.Second)
			for i := range 5 {
				w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
			}
		})
		w.run(queue.Options{Retry: []time.Duration{3 * h}}, 42*m)
		for i := range 5 {
			if at := x.last[fmt.Sprintf("d%d.example", i)]; at < 40*m || at > 42*m {
				t.Errorf("d%d was delivered to after %v", i, at)
			}
		}
	})
}

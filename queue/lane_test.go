package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/queue"
)

// crowd counts how many deliver at once, in all and by destination.
type crowd struct {
	mu        sync.Mutex
	now, most map[string]int
}

func (c *crowd) in(names ...string) (out func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now, c.most = map[string]int{}, map[string]int{}
	}
	for _, n := range names {
		c.now[n]++
		c.most[n] = max(c.most[n], c.now[n])
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range names {
			c.now[n]--
		}
	}
}

// takes is a deliverer to a host that takes each message in a second.
func (w *world) takes(c *crowd, took time.Duration) func(context.Context, *queue.Trip) error {
	send := func(j queue.Job, r queue.Recipient) queue.Attempt {
		defer c.in("all", r.Domain)()
		time.Sleep(took)
		return queue.Attempt{Outcome: queue.Sent}
	}
	return w.each(send)
}

// One destination gets more connections while it takes what it is sent, up to the
// bound of its lane.
func TestConnectionsGrow(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 100 {
			w.put(queue.Message{}, "a.example")
		}
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example", Connections: 10} }
		c := &crowd{}
		w.deliver = w.takes(c, time.Second)
		w.run(queue.Options{}, m)
		w.stat(queue.Stat{})
		if c.most["all"] != 10 {
			t.Errorf("%d connections at once, want 10", c.most["all"])
		}
		if last := w.tries[len(w.tries)-1]; last > 20*time.Second {
			t.Errorf("100 messages of a second took until %v", last)
		}
	})
}

// Destinations that share their hosts share their connections.
func TestLaneIsShared(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for i := range 60 {
			w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
		}
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example", Connections: 4} }
		c := &crowd{}
		w.deliver = w.takes(c, time.Second)
		w.run(queue.Options{}, m)
		w.stat(queue.Stat{})
		if c.most["all"] != 4 {
			t.Errorf("%d connections at once, want 4", c.most["all"])
		}
	})
}

var hangs = queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "greet", Why: "no answer in 5m0s"}

// half delivers at once, and takes five minutes to learn that a host hangs.
func (w *world) half(live func(context.Context, *queue.Trip) error) func(context.Context, *queue.Trip) error {
	dead := w.each(func(queue.Job, queue.Recipient) queue.Attempt {
		time.Sleep(5 * m)
		return hangs
	})
	return func(ctx context.Context, trip *queue.Trip) error {
		if strings.HasPrefix(trip.Domain(), "dead") {
			return dead(ctx, trip)
		}
		return live(ctx, trip)
	}
}

// Hosts that hang, be they more than there are workers, leave room for those that took
// mail before.
func TestHangingHostsLeaveRoom(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		live := func(n int) {
			for i := range n {
				w.put(queue.Message{}, fmt.Sprintf("live%d.example", i%10))
			}
		}
		live(10)
		w.deliver = w.half(w.takes(&crowd{}, time.Second))
		time.AfterFunc(10*time.Second, func() {
			for i := range 100 {
				w.put(queue.Message{}, fmt.Sprintf("dead%d.example", i))
			}
		})
		time.AfterFunc(20*time.Second, func() { live(200) })
		w.run(queue.Options{Workers: 80}, 2*m)
		w.stat(queue.Stat{Messages: 100, Waiting: 100})
	})
}

// A third of the destinations hang from the first: the others are served as if they
// did not.
func TestThirdHangs(t *testing.T) {
	delivered := func(dead int) (n int) {
		simulate(t, func(t *testing.T, w *world) {
			w.deliver = w.half(w.takes(&crowd{}, time.Second))
			go func() {
				for range 60 {
					for i := range dead {
						w.put(queue.Message{}, fmt.Sprintf("dead%d.example", i))
					}
					for i := range 20 {
						w.put(queue.Message{}, fmt.Sprintf("live%d.example", i))
					}
					time.Sleep(time.Second)
				}
			}()
			w.run(queue.Options{Workers: 40}, m)
			n = len(w.told("delivered"))
		})
		return n
	}
	if alone, beside := delivered(0), delivered(10); beside < alone*4/5 {
		t.Errorf("%d messages beside 10 destinations that hang, %d without", beside, alone)
	}
}

// Very much mail for a dead host does not delay that for another.
func TestMuchForADeadHost(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 5000 {
			w.put(queue.Message{}, "dead.example")
		}
		var late time.Duration
		live := w.each(func(j queue.Job, _ queue.Recipient) queue.Attempt {
			late = max(late, time.Since(j.Message.Received))
			return queue.Attempt{Outcome: queue.Sent}
		})
		w.deliver = w.half(live)
		go func() {
			for range 720 {
				w.put(queue.Message{}, "live.example")
				time.Sleep(time.Second)
			}
		}()
		w.run(queue.Options{}, 12*m)
		w.stat(queue.Stat{Messages: 5000, Waiting: 5000})
		if late > time.Second {
			t.Errorf("a message for a healthy host waited %v", late)
		}
	})
}

// A host in trouble is left alone for longer and longer, and what waits for it is
// tried then, not before.
func TestDeadHostIsLeftAlone(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		var dials []time.Duration
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			dials = append(dials, time.Since(w.start).Round(time.Second))
			return w.each(always(queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "connect", Why: "connection refused"}))(ctx, trip)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 3600 { // new mail all the time
				w.put(queue.Message{}, "a.example")
				time.Sleep(time.Second)
			}
		})
		w.run(queue.Options{}, h)
		wg.Wait()
		if len(dials) > 9 {
			t.Errorf("%d connections in an hour: %v", len(dials), dials[:20])
		}
		for i := 2; i < len(dials); i++ {
			if gap, before := dials[i]-dials[i-1], dials[i-1]-dials[i-2]; gap < before {
				t.Errorf("after %v it was tried again in %v", before, gap)
			}
		}
	})
}

// Dead hosts are no outage of ours, however many they are and however little mail goes
// elsewhere: they are left alone all the same.
func TestDeadHostsBesideALivingOne(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		dials := map[string]int{}
		dead, live := w.each(always(refused)), w.each(always(queue.Attempt{Outcome: queue.Sent}))
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			mu.Lock()
			dials[trip.Domain()]++
			mu.Unlock()
			if trip.Domain() == "live.example" {
				return live(ctx, trip)
			}
			return dead(ctx, trip)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 360 {
				for i := range 5 {
					w.put(queue.Message{}, fmt.Sprintf("dead%d.example", i))
				}
				time.Sleep(5 * time.Second)
				w.put(queue.Message{}, "live.example")
				time.Sleep(5 * time.Second)
			}
		})
		w.run(queue.Options{}, h)
		wg.Wait()
		for i := range 5 {
			if n := dials[fmt.Sprintf("dead%d.example", i)]; n > 12 {
				t.Errorf("%d connections to a dead host in an hour", n)
			}
		}
		if n := dials["live.example"]; n < 300 {
			t.Errorf("%d to the living one", n)
		}
	})
}

// When it takes mail again, all that waited goes out.
func TestHostComesBack(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		up := time.Now().Add(10 * m)
		for range 50 {
			w.put(queue.Message{}, "a.example")
		}
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example"} }
		w.deliver = w.each(func(queue.Job, queue.Recipient) queue.Attempt {
			if time.Now().Before(up) {
				return queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "connect", Why: "connection refused"}
			}
			return queue.Attempt{Outcome: queue.Sent}
		})
		w.run(queue.Options{Retry: []time.Duration{m}}, 30*m)
		w.stat(queue.Stat{})
	})
}

// Of very much mail the first is due again before the last is put off: hosts that are
// back are tried all the same.
func TestMoreThanCanBePutOff(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 1000 {
			w.put(queue.Message{}, "a.example")
		}
		for _, name := range []string{"hosts", "us"} {
			start := time.Now()
			w.deliver = func(ctx context.Context, trip *queue.Trip) error {
				switch {
				case time.Since(start) > m:
					return w.each(always(queue.Attempt{Outcome: queue.Sent}))(ctx, trip)
				case name == "us":
					return errors.New("no")
				}
				return w.each(always(refused))(ctx, trip)
			}
			s := queue.NewScheduler(slowly{w.store}, w, w, queue.Options{Retry: []time.Duration{time.Second}}, w.log)
			ctx, cancel := context.WithTimeout(t.Context(), 10*m)
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			w.stat(queue.Stat{})
			for range 1000 {
				w.put(queue.Message{}, "a.example")
			}
		}
	})
}

// slowly is a store that takes its time to settle.
type slowly struct{ queue.Work }

func (s slowly) Settle(ctx context.Context, l queue.Lease, rs ...queue.Result) error {
	time.Sleep(time.Duration(len(rs)) * 100 * time.Millisecond)
	return s.Work.Settle(ctx, l, rs...)
}

func TestRate(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 100 {
			w.put(queue.Message{}, "a.example")
		}
		w.lane = func(string) queue.Lane { return queue.Lane{Name: "mx.example", PerMinute: 6} }
		w.deliver = w.each(always(queue.Attempt{Outcome: queue.Sent}))
		w.run(queue.Options{}, 10*m)
		if n := 100 - waiting(t, w); n < 58 || n > 62 {
			t.Errorf("%d messages in ten minutes, at 6 a minute", n)
		}
	})
}

func waiting(t *testing.T, w *world) int {
	s, err := w.store.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Waiting
}

package queuetest

import (
	"testing"
	"time"

	"smtprelay/queue"
)

// parked: what waits for something is due when that comes, whatever else does,
// and when its own time has come; nothing of it is counted as a try.
func parked(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	put(t, s, "b.example")
	far := func(awaits string) queue.Result {
		return queue.Result{State: queue.Waiting, Reason: "waits", Delay: time.Hour,
			Attempt: &queue.Attempt{Outcome: queue.Deferred, Ours: true, Awaits: awaits}}
	}
	wake := func(what string) {
		t.Helper()
		asked := map[string]int{}
		ok(t, s.Wake(ctx, func(awaited string) bool { asked[awaited]++; return awaited == what }))
		for awaited, n := range asked {
			if n != 1 || awaited == "" {
				t.Errorf("asked %d times for %q", n, awaited)
			}
		}
	}
	for range 2 {
		l, j := next(t, s)
		settle(t, s, l, j, far("gate of "+l.Destination))
		ok(t, s.Release(ctx, l, 0))
	}
	nothing(t, s)
	wake("gate of c.example")
	nothing(t, s)
	for range 2 {
		wake("gate of a.example")
		l, j := next(t, s)
		if l.Destination != "a.example" || j.Recipients[0].Tries != 0 || j.Recipients[0].Reason != "waits" {
			t.Fatalf("woken: %s, %+v", l.Destination, j.Recipients[0])
		}
		nothing(t, s)
		x := far("gate of a.example")
		x.ID, x.N, x.Reason = j.Message.ID, j.Recipients[0].N, "not kept"
		ok(t, s.Park(ctx, l, x))
		wake("gate of a.example") // while it is leased: due at once after it
		ok(t, s.Release(ctx, l, 0))
		l, j = next(t, s)
		x.Delay = 300 * time.Millisecond
		ok(t, s.Park(ctx, l, x))
		ok(t, s.Release(ctx, l, 0))
		nothing(t, s)
		time.Sleep(x.Delay)
		l, _ = next(t, s)
		x.Delay = 3 * time.Hour
		ok(t, s.Park(ctx, l, x))
		ok(t, s.Release(ctx, l, 0))
		nothing(t, s)
		for e, err := range s.List(ctx, queue.Filter{ID: x.ID}) {
			if ok(t, err); time.Until(e.Recipients[0].Next) < 2*time.Hour {
				t.Errorf("put off by %v, and listed as due at %v", x.Delay, e.Recipients[0].Next)
			}
		}
		want(t, s.Park(ctx, l, x), queue.ErrLeaseLost)

		s = s.Crash(t)
		nothing(t, s) // due as it was settled: in an hour
	}
	change(t, s, queue.Filter{Domain: "b.example"}, queue.Change{State: queue.Held}, 1)
	wake("gate of b.example")
	nothing(t, s)
	change(t, s, queue.Filter{Domain: "b.example"}, queue.Change{State: queue.Waiting, Delay: time.Hour}, 1)
	nothing(t, s)
	wake("gate of b.example")
	if l, _ := next(t, s); l.Destination != "b.example" {
		t.Errorf("woken: %s", l.Destination)
	}
}

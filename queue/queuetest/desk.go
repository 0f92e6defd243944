package queuetest

import (
	"slices"
	"testing"
	"time"

	"smtprelay/queue"
)

func list(t *testing.T, s Crasher) {
	a := put(t, s, "a.example", "b.example")
	b := put(t, s, "b.example")
	c := putBody(t, s, nil, []queue.Recipient{{Address: "x@c.example", Domain: "c.example", State: queue.Held, Reason: "gate"}})
	for range 2 {
		sameIDs(t, entries(t, s, queue.Filter{}), a, b, c)
		sameIDs(t, entries(t, s, queue.Filter{Limit: 2}), a, b)
		sameIDs(t, entries(t, s, queue.Filter{ID: b}), b)
		sameIDs(t, entries(t, s, queue.Filter{State: queue.Held}), c)
		sameIDs(t, entries(t, s, queue.Filter{From: "from@example.com"}), a, b, c)
		sameIDs(t, entries(t, s, queue.Filter{From: "nobody@example.com"}))
		es := entries(t, s, queue.Filter{Domain: "b.example"})
		sameIDs(t, es, a, b)
		if rs := es[0].Recipients; len(rs) != 1 || rs[0].N != 1 {
			t.Fatalf("the filter let through %+v", rs)
		}
		for range s.List(ctx, queue.Filter{}) {
			break // who has seen enough may stop
		}
		s = s.Crash(t)
	}
}

func change(t *testing.T, s queue.Store, f queue.Filter, c queue.Change, want int) {
	t.Helper()
	if n := must[int](t)(s.Update(ctx, f, c)); n != want {
		t.Fatalf("changed %d recipients, want %d", n, want)
	}
}

func update(t *testing.T, s Crasher) {
	a := put(t, s, "a.example", "b.example")
	b := put(t, s, "b.example")
	change(t, s, queue.Filter{Domain: "b.example"}, queue.Change{State: queue.Held}, 2)
	change(t, s, queue.Filter{Domain: "b.example"}, queue.Change{State: queue.Held}, 0)
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 2, Waiting: 1, Held: 2})
	l, _ := next(t, s)
	if l.Destination != "a.example" {
		t.Fatalf("%s is held but was due", l.Destination)
	}
	nothing(t, s)
	ok(t, s.Release(ctx, l, 0))
	change(t, s, queue.Filter{}, queue.Change{State: queue.Waiting, Only: []queue.State{queue.Held}, Delay: time.Hour}, 2)
	change(t, s, queue.Filter{ID: a}, queue.Change{State: queue.Removed, Only: []queue.State{queue.Held}}, 0)
	s = s.Crash(t)
	next(t, s)
	nothing(t, s)
	change(t, s, queue.Filter{ID: b}, queue.Change{State: queue.Waiting}, 1)
	if _, j := next(t, s); j.Message.ID != b {
		t.Fatalf("%s is due, want %s", j.Message.ID, b)
	}
	change(t, s, queue.Filter{ID: a}, queue.Change{State: queue.Removed}, 2)
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 1})
}

// givenUp: what the operator gave up is told to its sender and not tried again,
// once nobody has it in hand; a 250 meanwhile counts.
func givenUp(t *testing.T, s Crasher) {
	a := put(t, s, "a.example", "b.example", "b.example", "b.example")
	l, j := next(t, s)
	if l.Destination != "a.example" {
		ok(t, s.Release(ctx, l, 0))
		l, j = next(t, s)
	}
	unreported := func(want ...int) {
		t.Helper()
		var got []int
		for j, err := range s.Unreported(ctx) {
			ok(t, err)
			for _, r := range j.Recipients {
				got = append(got, r.N)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("to be reported: %v, want %v", got, want)
		}
	}
	bounce := queue.Change{State: queue.Failed, Only: []queue.State{queue.Waiting, queue.Held}}
	settle(t, s, l, j, queue.Result{State: queue.Held, Reason: "PTR-EXISTS", Attempt: &queue.Attempt{Outcome: queue.Deferred}})
	ok(t, s.Release(ctx, l, 0))
	change(t, s, queue.Filter{Domain: "a.example"}, bounce, 1)
	change(t, s, queue.Filter{Domain: "a.example"}, bounce, 0)
	s = s.Crash(t)
	unreported(0)
	if r := entries(t, s, queue.Filter{Domain: "a.example"})[0].Recipients[0]; r.Reason != "given up by the operator: PTR-EXISTS" {
		t.Errorf("reason %q", r.Reason)
	}

	l, _ = next(t, s)
	change(t, s, queue.Filter{Domain: "b.example"}, bounce, 3)
	want(t, s.Sending(ctx, l, a, 1), queue.ErrLeaseLost)
	unreported(0)
	ok(t, s.Settle(ctx, l,
		queue.Result{ID: a, N: 1, State: queue.Waiting, Attempt: &queue.Attempt{Outcome: queue.Deferred}},
		queue.Result{ID: a, N: 2, State: queue.Delivered, Attempt: &queue.Attempt{Outcome: queue.Sent}}))
	unreported(0, 1)
	ok(t, s.Release(ctx, l, 0))
	unreported(0, 1, 3)
	nothing(t, s)
	s = s.Crash(t)
	unreported(0, 1, 3)
	ok(t, s.Reported(ctx, queue.Result{ID: a, N: 0, State: queue.Reported}, queue.Result{ID: a, N: 1, State: queue.Reported}, queue.Result{ID: a, N: 3, State: queue.Reported}))
	stat(t, s, queue.Stat{})
}

func updateLeased(t *testing.T, s Crasher) {
	id := put(t, s, "a.example", "a.example", "a.example", "a.example")
	l, j := next(t, s)
	hold := queue.Filter{ID: id}
	change(t, s, hold, queue.Change{State: queue.Held}, 4)
	want(t, s.Sending(ctx, l, id, 0), queue.ErrLeaseLost) // no dot any more
	at := &queue.Attempt{Outcome: queue.Deferred}
	ok(t, s.Settle(ctx, l,
		queue.Result{ID: id, N: 0, State: queue.Waiting, Attempt: at},
		queue.Result{ID: id, N: 1, State: queue.Delivered, Attempt: at},
		queue.Result{ID: id, N: 2, State: queue.Failed, Attempt: at}))
	stat(t, s, queue.Stat{Messages: 1, Held: 3})
	ok(t, s.Release(ctx, l, 0))
	nothing(t, s)

	change(t, s, hold, queue.Change{State: queue.Waiting}, 3)
	l, j = next(t, s)
	if len(j.Recipients) != 3 || j.Recipients[0].Tries != 1 {
		t.Fatalf("released: %+v", j.Recipients)
	}
	change(t, s, hold, queue.Change{State: queue.Waiting}, 3) // in hand already: not handed out twice
	if js := must[[]queue.Job](t)(s.Take(ctx, l, 1)); len(js) != 0 {
		t.Fatalf("handed out twice: %+v", js)
	}
	change(t, s, hold, queue.Change{State: queue.Removed}, 3)
	settle(t, s, l, j, queue.Result{State: queue.Waiting}) // stays removed
	stat(t, s, queue.Stat{})
	ok(t, s.Release(ctx, l, 0))
	s = s.Crash(t)
	stat(t, s, queue.Stat{})
	nothing(t, s)
}

// putOffLeased: what was put off while it was in hand is not due when the lease
// ends, and keeps nothing else from being due.
func putOffLeased(t *testing.T, s Crasher) {
	first, second := put(t, s, "a.example"), put(t, s, "a.example")
	l, j := next(t, s)
	if j.Message.ID != first {
		t.Fatalf("took %s, want %s", j.Message.ID, first)
	}
	change(t, s, queue.Filter{ID: first}, queue.Change{State: queue.Waiting, Delay: time.Hour}, 1)
	ok(t, s.Release(ctx, l, 0))
	if l, j = next(t, s); j.Message.ID != second {
		t.Fatalf("took %s, want %s", j.Message.ID, second)
	}
	if js := must[[]queue.Job](t)(s.Take(ctx, l, 1)); len(js) != 0 {
		t.Fatalf("took what was put off: %+v", js)
	}
}

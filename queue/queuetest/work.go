package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"smtprelay/queue"
)

func exclusive(t *testing.T, s Crasher) {
	const messages, workers = 60, 4
	for i := range messages {
		put(t, s, fmt.Sprintf("d%d.example", i%5), "all.example")
	}
	c, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				ls, err := s.Claim(c, 2, time.Hour)
				if err != nil {
					return
				}
				for _, l := range ls {
					js, err := s.Take(ctx, l, 3)
					for _, j := range js {
						key := fmt.Sprint(j.Message.ID, j.Recipients[0].N)
						mu.Lock()
						if seen[key] || len(j.Recipients) != 1 {
							t.Errorf("%s was handed out twice", key)
						}
						seen[key] = true
						if len(seen) == 2*messages {
							stop()
						}
						mu.Unlock()
						err = errors.Join(err, s.Settle(ctx, l, queue.Result{ID: j.Message.ID, N: j.Recipients[0].N, State: queue.Delivered}))
					}
					if err := errors.Join(err, s.Release(ctx, l, 0)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stat(t, s, queue.Stat{})
}

func leaseRunsOut(t *testing.T, s Crasher) {
	id := put(t, s, "a.example")
	first := claim(t, s, 30*time.Millisecond)
	take(t, s, first)
	second := claim(t, s, time.Hour)
	if first.Token == second.Token {
		t.Fatal("the token was given again")
	}
	if j := take(t, s, second); j.Message.ID != id {
		t.Fatalf("took %s, want %s", j.Message.ID, id)
	}
	_, err := s.Take(ctx, first, 1)
	want(t, err, queue.ErrLeaseLost)
	want(t, s.Renew(ctx, first, time.Hour), queue.ErrLeaseLost)
	want(t, s.Release(ctx, first, 0), queue.ErrLeaseLost)
	want(t, s.Sending(ctx, first, id, 0), queue.ErrLeaseLost)
}

func leaseRenewed(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l := claim(t, s, 20*time.Millisecond)
	ok(t, s.Renew(ctx, l, time.Hour))
	c, cancel := context.WithTimeout(ctx, 60*time.Millisecond)
	defer cancel()
	if ls, err := s.Claim(c, 1, time.Hour); err == nil {
		t.Fatalf("%v was leased twice", ls)
	}
	take(t, s, l)
}

func leaseLost(t *testing.T, s Crasher) {
	put(t, s, "a.example", "a.example")
	first := claim(t, s, time.Millisecond)
	j := take(t, s, first)
	claim(t, s, time.Hour)
	before := entries(t, s, queue.Filter{})[0]
	x := queue.Result{ID: j.Message.ID, State: queue.Delivered}
	want(t, s.Settle(ctx, first, x), queue.ErrLeaseLost)
	x.State, x.N = queue.Failed, 1
	want(t, s.Settle(ctx, first, x), queue.ErrLeaseLost)
	after := entries(t, s, queue.Filter{})[0]
	for i := range after.Recipients {
		if a, b := before.Recipients[i], after.Recipients[i]; a.State != b.State || a.Tries != b.Tries {
			t.Fatalf("%+v became %+v", a, b)
		}
	}
	stat(t, s, queue.Stat{Messages: 1, Waiting: 2})
}

func release(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l, _ := next(t, s)
	nothing(t, s)
	ok(t, s.Release(ctx, l, 0))
	_, again := next(t, s)
	if r := again.Recipients[0]; r.Tries != 0 {
		t.Fatalf("a release counted as a try: %+v", r)
	}
	want(t, s.Release(ctx, l, 0), queue.ErrLeaseLost)
}

// What a worker makes of a job, another and the store do not see.
func own(t *testing.T, s Crasher) {
	head := append(make([]byte, 0, 100), "A: b\r\n"...)
	d := must[queue.Draft](t)(s.Create(ctx))
	must[queue.ID](t)(d.Commit(ctx, &queue.Message{Head: head, Author: "example.com"}, rcpts("a.example")))
	l, first := next(t, s)
	m := first.Message
	m.Author, first.Recipients[0].Address = "changed", "changed"
	m.Head = append(m.Head, "first"...)
	ok(t, s.Release(ctx, l, 0))
	l, second := next(t, s)
	if m := second.Message; m.Author != "example.com" || string(m.Head) != "A: b\r\n" || second.Recipients[0].Address != "u0@a.example" {
		t.Fatalf("another was given %+v, %+v", m, second.Recipients)
	}
	if _ = append(second.Message.Head, "second"...); string(m.Head) != "A: b\r\nfirst" {
		t.Fatalf("the first has %q now", m.Head)
	}
	ok(t, s.Release(ctx, l, 0))
	if e := entries(t, s, queue.Filter{})[0]; e.Message.Author != "example.com" || string(e.Message.Head) != "A: b\r\n" {
		t.Fatalf("listed is %+v", e)
	}
}

// What rests is not claimed, unless the operator wants it tried, and other
// destinations are.
func rested(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l, _ := next(t, s)
	const rest = 50 * time.Millisecond
	start := time.Now()
	ok(t, s.Release(ctx, l, rest))
	l, _ = next(t, s)
	if d := time.Since(start); d < rest {
		t.Fatalf("claimed again after %v, want %v", d, rest)
	}
	ok(t, s.Release(ctx, l, time.Hour))
	nothing(t, s)
	put(t, s, "b.example")
	if b, _ := next(t, s); b.Destination != "b.example" {
		t.Fatalf("claimed %s, which rests", b.Destination)
	}
	put(t, s, "a.example")
	nothing(t, s)
	change(t, s, queue.Filter{Domain: "a.example"}, queue.Change{State: queue.Waiting}, 2)
	if a, _ := next(t, s); a.Destination != "a.example" {
		t.Fatalf("claimed %s", a.Destination)
	}
}

func delivered(t *testing.T, s Crasher) {
	id := put(t, s, "a.example", "b.example")
	l, j := next(t, s)
	settle(t, s, l, j, queue.Result{State: queue.Delivered, Attempt: &queue.Attempt{Outcome: queue.Sent}})
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 1})
	l, j = next(t, s)
	settle(t, s, l, j, queue.Result{State: queue.Delivered})
	s = s.Crash(t)
	stat(t, s, queue.Stat{})
	_, err := s.Body(ctx, id)
	want(t, err, queue.ErrNotFound)
	nothing(t, s)
}

func failed(t *testing.T, s Crasher) {
	id := put(t, s, "a.example", "b.example")
	l, j := next(t, s)
	settle(t, s, l, j, queue.Result{State: queue.Failed, Reason: "550", Attempt: &queue.Attempt{Outcome: queue.Refused}})
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 1, Failed: 1})
	js := unreported(t, s)
	if len(js) != 1 || len(js[0].Recipients) != 1 || js[0].Recipients[0].Reason != "550" || js[0].Message.ID != id {
		t.Fatalf("unreported: %+v", js)
	}
	n := js[0].Recipients[0].N
	readBody(t, s, id) // a notice quotes it
	ok(t, s.Reported(ctx, queue.Result{ID: id, N: n, State: queue.Reported}))
	ok(t, s.Reported(ctx, queue.Result{ID: id, N: n, State: queue.Reported})) // it left: nothing to do
	want(t, s.Reported(ctx, queue.Result{ID: id, N: 1 - n, State: queue.Reported}), queue.ErrNotFound)
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 1})
	if js := unreported(t, s); len(js) != 0 {
		t.Fatalf("still unreported: %+v", js)
	}
}

func delayed(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l, j := next(t, s)
	const delay = 50 * time.Millisecond
	start := time.Now()
	settle(t, s, l, j, queue.Result{State: queue.Waiting, Delay: delay, Attempt: &queue.Attempt{Outcome: queue.Deferred}})
	ok(t, s.Release(ctx, l, 0))
	_, j = next(t, s)
	if d := time.Since(start); d < delay {
		t.Fatalf("due again after %v, want %v", d, delay)
	}
	if j.Recipients[0].Tries != 1 {
		t.Fatalf("%+v", j.Recipients[0])
	}
}

func claimWaits(t *testing.T, s Crasher) {
	got := make(chan queue.Lease)
	go func() {
		ls, err := s.Claim(ctx, 1, time.Hour)
		if err != nil || len(ls) != 1 {
			t.Errorf("claim: %v, %v", ls, err)
		}
		got <- ls[0]
	}()
	nothing(t, s) // the other one waits all the while
	put(t, s, "late.example")
	select {
	case l := <-got:
		if l.Destination != "late.example" {
			t.Fatalf("claimed %s", l.Destination)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a new message woke nobody")
	}
}

func oldestFirst(t *testing.T, s Crasher) {
	var ids []queue.ID
	for range 20 {
		ids = append(ids, put(t, s, "a.example"))
	}
	s = s.Crash(t)
	l := claim(t, s, time.Hour)
	for len(ids) > 0 {
		js := must[[]queue.Job](t)(s.Take(ctx, l, 7))
		if len(js) == 0 || len(js) > 7 {
			t.Fatalf("took %d jobs of 7", len(js))
		}
		for _, j := range js {
			if j.Message.ID != ids[0] {
				t.Fatalf("took %s before %s", j.Message.ID, ids[0])
			}
			ids = ids[1:]
		}
	}
	if js := must[[]queue.Job](t)(s.Take(ctx, l, 7)); len(js) != 0 {
		t.Fatalf("took %d jobs twice", len(js))
	}
}

// turns: one submitter's very much mail does not delay another's little.
func turns(t *testing.T, s Crasher) {
	want := map[string][]queue.ID{} // by submitter
	total := 0
	for submitter, n := range map[string]int{"shop": 30, "": 4, "app": 3} {
		for range n {
			d := must[queue.Draft](t)(s.Create(ctx))
			id := must[queue.ID](t)(d.Commit(ctx, &queue.Message{Submitter: submitter}, rcpts("a.example")))
			want[submitter] = append(want[submitter], id)
			total++
		}
	}
	s = s.Crash(t)
	l := claim(t, s, time.Hour)
	for at := 0; at < total; {
		js := must[[]queue.Job](t)(s.Take(ctx, l, 5))
		if len(js) == 0 {
			t.Fatalf("took %d of %d", at, total)
		}
		for _, j := range js {
			of := j.Message.Submitter
			if j.Message.ID != want[of][0] {
				t.Fatalf("took %s before %s, both of %q", j.Message.ID, want[of][0], of)
			}
			want[of] = want[of][1:]
			if at++; at%3 != 0 {
				continue
			}
			for submitter, n := range map[string]int{"": 4, "app": 3} {
				if left := max(0, n-at/3); len(want[submitter]) != left {
					t.Fatalf("after %d jobs %q waits for %d, want %d", at, submitter, len(want[submitter]), left)
				}
			}
		}
		if at > 9 {
			break // the rest is shop's, but for one
		}
	}
}

func age(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l, j := next(t, s)
	settle(t, s, l, j, queue.Result{State: queue.Waiting, Delay: 30 * time.Millisecond, Attempt: &queue.Attempt{Outcome: queue.Deferred, Ours: true}})
	ok(t, s.Release(ctx, l, 0))
	l, j = next(t, s)
	first := j.Recipients[0]
	if first.Ours < 30*time.Millisecond || first.Age > time.Minute {
		t.Fatalf("waited on us: age %v, ours %v", first.Age, first.Ours)
	}
	settle(t, s, l, j, queue.Result{State: queue.Waiting, Delay: 30 * time.Millisecond, Attempt: &queue.Attempt{Outcome: queue.Deferred}})
	ok(t, s.Release(ctx, l, 0))
	_, j = next(t, s)
	second := j.Recipients[0]
	if second.Age < first.Age+30*time.Millisecond || second.Ours > first.Ours+20*time.Second {
		t.Fatalf("waited on others: age %v then %v, ours %v then %v", first.Age, second.Age, first.Ours, second.Ours)
	}
	s = s.Crash(t)
	if r := only(t, s); r.Age < first.Age || r.Ours < first.Ours {
		t.Fatalf("a crash made it younger: %+v", r)
	}
}

func sending(t *testing.T, s Crasher) {
	id := put(t, s, "a.example", "a.example")
	l := claim(t, s, time.Hour)
	want(t, s.Sending(ctx, l, id, 0), queue.ErrLeaseLost) // not taken yet
	take(t, s, l)
	ok(t, s.Sending(ctx, l, id, 0, 1))
	want(t, s.Sending(ctx, l, id, 2), queue.ErrNotFound)
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 2})
	next(t, s)
}

func unknown(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l, _ := next(t, s)
	_, err := s.Body(ctx, "nonsense")
	want(t, err, queue.ErrNotFound)
	want(t, s.Sending(ctx, l, "nonsense", 0), queue.ErrNotFound)
	if es := entries(t, s, queue.Filter{ID: "nonsense"}); len(es) != 0 {
		t.Fatalf("listed %v", es)
	}
	if n := must[int](t)(s.Update(ctx, queue.Filter{ID: "nonsense"}, queue.Change{State: queue.Removed})); n != 0 {
		t.Fatalf("changed %d", n)
	}
	want(t, s.Settle(ctx, queue.Lease{Destination: "a.example"}, queue.Result{ID: "x"}), queue.ErrLeaseLost)
}

func ended(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l := claim(t, s, time.Hour)
	c, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Create(c)
	want(t, err, context.Canceled)
	_, err = s.Claim(c, 1, time.Hour)
	want(t, err, context.Canceled)
	_, err = s.Take(c, l, 1)
	want(t, err, context.Canceled)
	d := must[queue.Draft](t)(s.Create(ctx))
	_, err = d.Commit(c, &queue.Message{}, rcpts("b.example"))
	want(t, err, context.Canceled)
	for _, err := range s.List(c, queue.Filter{}) {
		want(t, err, context.Canceled)
	}
	stat(t, s, queue.Stat{Messages: 1, Waiting: 1})
	take(t, s, l)
}

func closed(t *testing.T, s Crasher) {
	put(t, s, "a.example")
	l := claim(t, s, time.Hour)
	d := must[queue.Draft](t)(s.Create(ctx))
	waiting := make(chan error)
	go func() {
		_, err := s.Claim(ctx, 1, time.Hour)
		waiting <- err
	}()
	ok(t, s.Close())
	if err := <-waiting; err == nil {
		t.Fatal("a claim outlived its store")
	}
	_, err := d.Commit(ctx, &queue.Message{}, rcpts("a.example"))
	_, err2 := s.Take(ctx, l, 1)
	_, err3 := s.Create(ctx)
	if err == nil || err2 == nil || err3 == nil {
		t.Fatal("a closed store works on")
	}
	d.Abort()
	ok(t, s.Close()) // twice does no harm
}

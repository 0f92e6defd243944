package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/queue"
)

func TestPanicCostsOneJob(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		bad := w.put(queue.Message{}, "a.example")
		for range 20 {
			w.put(queue.Message{}, "a.example")
		}
		w.deliver = w.each(func(j queue.Job, _ queue.Recipient) queue.Attempt {
			if j.Message.ID == bad {
				panic("bad message")
			}
			return queue.Attempt{Outcome: queue.Sent}
		})
		w.run(queue.Options{}, 30*time.Second)
		if got := w.told("delivered"); len(got) != 20 {
			t.Errorf("%d of 20 delivered beside the bad one", len(got))
		}
		w.stat(queue.Stat{Messages: 1, Waiting: 1})
		for e, err := range w.store.List(t.Context(), queue.Filter{}) {
			if r := e.Recipients[0]; err != nil || !r.Last.Ours || r.Tries != 1 {
				t.Errorf("the bad one: %+v, %v", r, err)
			}
		}
	})
}

func TestNoBusyLoop(t *testing.T) {
	for name, deliver := range map[string]func(context.Context, *queue.Trip) error{
		"error":          func(context.Context, *queue.Trip) error { return errors.New("no network") },
		"panic":          func(context.Context, *queue.Trip) error { panic("no network") },
		"nothing taken":  func(context.Context, *queue.Trip) error { return nil },
		"nothing booked": func(_ context.Context, t *queue.Trip) error { t.Next(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				for range 3 {
					w.put(queue.Message{}, "a.example")
				}
				trips := 0
				w.deliver = func(ctx context.Context, t *queue.Trip) error { trips++; return deliver(ctx, t) }
				w.run(queue.Options{}, h-time.Second)
				if trips < 30 || trips > 3*60 {
					t.Errorf("%d trips in an hour", trips)
				}
				w.stat(queue.Stat{Messages: 3, Waiting: 3})
			})
		})
	}
}

func TestDrain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for range 3 {
			w.put(queue.Message{}, "a.example", "b.example")
		}
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			j, _ := trip.Next()
			if trip.Domain() == "b.example" { // never ends by itself
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(20 * time.Second) // ends within the grace
			if _, ok := trip.Next(); ok {
				t.Error("a new job while draining")
			}
			return trip.Settle(j, map[int]queue.Attempt{j.Recipients[0].N: {Outcome: queue.Sent}})
		}
		w.run(queue.Options{Grace: 30 * time.Second}, 10*time.Second)
		if d := time.Since(w.start); d != 40*time.Second {
			t.Errorf("drained after %v", d)
		}
		w.stat(queue.Stat{Messages: 3, Waiting: 5})
		for e, err := range w.store.List(t.Context(), queue.Filter{Domain: "b.example"}) {
			if r := e.Recipients[0]; err != nil || r.Tries != 0 || time.Until(r.Next) > 0 {
				t.Errorf("what was broken off is due at once: %+v, %v", r, err)
			}
		}
	})
}

func TestResultsAfterTheGraceCount(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			j, _ := trip.Next()
			<-ctx.Done() // the 250 came at this moment
			return trip.Settle(j, map[int]queue.Attempt{0: {Outcome: queue.Sent}})
		}
		w.run(queue.Options{Grace: time.Second}, time.Second)
		w.stat(queue.Stat{})
	})
}

func TestLeaseIsRenewed(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		w.deliver = func(_ context.Context, trip *queue.Trip) error {
			j, ok := trip.Next()
			if !ok {
				t.Error("a second worker at one destination")
				return nil
			}
			time.Sleep(h)
			return trip.Settle(j, map[int]queue.Attempt{0: {Outcome: queue.Sent}})
		}
		w.run(queue.Options{}, 2*h)
		w.stat(queue.Stat{})
	})
}

func TestWorkersAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		for i := range 10 {
			w.put(queue.Message{}, fmt.Sprintf("d%d.example", i))
		}
		var mu sync.Mutex
		now, most := 0, 0
		send := w.each(always(queue.Attempt{Outcome: queue.Sent}))
		w.deliver = func(ctx context.Context, trip *queue.Trip) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return send(ctx, trip)
		}
		w.run(queue.Options{Workers: 3}, m)
		if most != 3 && most != 2 { // half of them, while nothing has been taken
			t.Errorf("%d at once, want 3", most)
		}
		w.stat(queue.Stat{})
	})
}

// Downtime ages nothing: mail that waited a day for a relay that was down has
// its whole life before it.
func TestDowntimeAgesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{Lifetime: 10 * h}, "a.example")
		w.deliver = w.each(always(greylisted))
		w.run(queue.Options{Retry: []time.Duration{h}}, 150*m)
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1000 * h)
		w.open()
		w.start, w.tries = time.Now(), nil
		w.run(queue.Options{Retry: []time.Duration{h}}, 5*h-m)
		w.wantTries(0, 1*h, 2*h, 3*h, 4*h)
		if got := w.told("failed"); len(got) != 0 {
			t.Errorf("expired while we were down: %q", got)
		}
		w.run(queue.Options{Retry: []time.Duration{h}}, 10*h)
		if got := w.told("failed"); len(got) != 1 || !strings.HasPrefix(got[0], "7h30m") {
			t.Errorf("failures: %q", got) // 150 minutes before, 7 h 30 min after
		}
	})
}

func TestUnhealthyStoreEndsTheRun(t *testing.T) {
	sick := sickStore{}
	err := queue.NewScheduler(sick, nil, nil, queue.Options{}, nil).Run(t.Context())
	if !errors.Is(err, queue.ErrUnhealthy) {
		t.Fatalf("run over a store that failed: %v", err)
	}
}

type sickStore struct{ queue.Work }

func (sickStore) Claim(context.Context, int, time.Duration) ([]queue.Lease, error) {
	return nil, fmt.Errorf("%w: input/output error", queue.ErrUnhealthy)
}

func (sickStore) Unreported(context.Context) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) { yield(queue.Job{}, queue.ErrUnhealthy) }
}

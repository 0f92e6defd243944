package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// world is a scheduler over a real store in memory, with a deliverer and a
// reporter that the test writes, all in fake time.
type world struct {
	t     *testing.T
	start time.Time
	mem   *vfs.MemFS
	store *disk.Store
	log   *slog.Logger

	mu     sync.Mutex
	events []string // "5m0s deferred 0: reason"
	tries  []time.Duration

	deliver func(ctx context.Context, t *queue.Trip) error
	report  func(queue.Event) error
}

func (w *world) Deliver(ctx context.Context, t *queue.Trip) error { return w.deliver(ctx, t) }

func (w *world) Report(_ context.Context, e queue.Event) error {
	w.mu.Lock()
	for _, r := range e.Recipients {
		w.events = append(w.events, fmt.Sprintf("%v %s %d: %s", w.now(), e.Kind, r.N, r.Reason))
	}
	w.mu.Unlock()
	if w.report != nil {
		return w.report(e)
	}
	return nil
}

// now is how long the test has run, to the minute.
func (w *world) now() time.Duration { return time.Since(w.start).Truncate(time.Minute) }

// told returns the events so far whose text contains s.
func (w *world) told(s string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.events), func(e string) bool { return !strings.Contains(e, s) })
}

// each makes a deliverer that gives every recipient of every job this attempt.
func (w *world) each(f func(queue.Job, queue.Recipient) queue.Attempt) func(context.Context, *queue.Trip) error {
	return func(_ context.Context, t *queue.Trip) error {
		for j, ok := t.Next(); ok; j, ok = t.Next() {
			w.mu.Lock()
			w.tries = append(w.tries, w.now())
			w.mu.Unlock()
			as := map[int]queue.Attempt{}
			for _, r := range j.Recipients {
				as[r.N] = f(j, r)
			}
			if err := t.Settle(j, as); err != nil {
				return err
			}
		}
		return nil
	}
}

func always(a queue.Attempt) func(queue.Job, queue.Recipient) queue.Attempt {
	return func(queue.Job, queue.Recipient) queue.Attempt { return a }
}

// simulate runs test in fake time.
func simulate(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, start: time.Now(), mem: vfs.NewMem(), log: slog.New(slog.DiscardHandler)}
		w.open()
		test(t, w)
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) open() {
	w.t.Helper()
	s, err := disk.Open(w.mem, "queue", disk.Options{Fatal: func(err error) { w.t.Error(err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
}

// run runs a scheduler for d, and until it has drained.
func (w *world) run(o queue.Options, d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	if err := queue.NewScheduler(w.store, w, w, o, w.log).WithoutJitter().Run(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(m queue.Message, domains ...string) queue.ID {
	w.t.Helper()
	d, err := w.store.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var rs []queue.Recipient
	for _, dom := range domains {
		rs = append(rs, queue.Recipient{Address: "u@" + dom, Domain: dom})
	}
	if _, err := d.Write([]byte("Subject: x\r\n\r\n")); err != nil {
		w.t.Fatal(err)
	}
	id, err := d.Commit(w.t.Context(), &m, rs)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) stat(want queue.Stat) {
	w.t.Helper()
	if got, err := w.store.Stat(w.t.Context()); err != nil || got != want {
		w.t.Fatalf("the store holds %+v, want %+v (%v)", got, want, err)
	}
}

func (w *world) wantTries(want ...time.Duration) {
	w.t.Helper()
	if !slices.Equal(w.tries, want) {
		w.t.Fatalf("tried after\n%v, want\n%v", w.tries, want)
	}
}

var (
	greylisted = queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "rcpt", Reply: queue.Reply{Code: 451, Status: "4.7.1", Text: "later"}}
	gate       = queue.Attempt{Outcome: queue.Deferred, Ours: true, Stage: "gate", Why: "PTR-EXISTS of wan1"}
)

const m, h = time.Minute, time.Hour

func TestLifeOfDeferredMail(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{Lifetime: 24 * h}, "a.example")
		w.deliver = w.each(always(greylisted))
		w.run(queue.Options{}, 30*h)
		w.wantTries(0, 5*m, 15*m, 35*m, 75*m, 135*m, 255*m, 495*m, 735*m, 975*m, 1215*m, 24*h)
		if got := w.told("delayed"); len(got) != 1 || !strings.HasPrefix(got[0], "4h15m0s ") {
			t.Errorf("delay notices: %q", got)
		}
		want := "24h0m0s failed 0: 4.4.7 delivery time expired: 451 4.7.1 from mx.example"
		if got := w.told("failed"); len(got) != 1 || got[0] != want {
			t.Errorf("failures: %q, want %q", got, want)
		}
		if got := w.told("deferred"); len(got) != 11 {
			t.Errorf("%d deferrals: %q", len(got), got)
		}
		w.stat(queue.Stat{})
	})
}

func TestNoDelayNoticeWhenNotWanted(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		w.deliver = w.each(always(greylisted))
		w.run(queue.Options{DelayNotice: -1, Retry: []time.Duration{h}, Lifetime: 6 * h}, 10*h)
		if got := w.told("delayed"); len(got) != 0 {
			t.Errorf("notices that nobody wants: %q", got)
		}
		if got := w.told("failed"); len(got) != 1 || !strings.HasPrefix(got[0], "6h0m0s ") {
			t.Errorf("failures: %q", got)
		}
	})
}

func TestDelayNoticeIsSentOnceEvenWhenTheReporterFailsFirst(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		w.deliver = w.each(always(greylisted))
		broken := true
		w.report = func(e queue.Event) error {
			if e.Kind == queue.WasDelayed && broken {
				broken = false
				return errors.New("no room for the notice")
			}
			return nil
		}
		w.run(queue.Options{Retry: []time.Duration{h}}, 20*h)
		if got := w.told("delayed"); len(got) != 2 || !strings.HasPrefix(got[1], "5h0m0s ") {
			t.Errorf("one that failed, then one that did not: %q", got)
		}
	})
}

func TestAttemptKnowsBetterWhen(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		a := greylisted
		a.Wait = 90 * m
		w.deliver = w.each(always(a))
		w.run(queue.Options{}, 4*h)
		w.wantTries(0, 90*m, 180*m)
	})
}

func TestOwnFaultNeverBounces(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		id := w.put(queue.Message{Lifetime: 6 * h}, "a.example")
		w.deliver = w.each(always(gate))
		w.run(queue.Options{}, 20*h)
		if got := w.told("failed"); len(got) != 0 {
			t.Fatalf("bounced on a fault of ours: %q", got)
		}
		if got := w.told("delayed"); len(got) != 1 {
			t.Errorf("delay notices: %q", got)
		}
		if got := w.told("held"); len(got) != 1 || !strings.HasPrefix(got[0], "6h") {
			t.Errorf("held: %q", got)
		}
		w.stat(queue.Stat{Messages: 1, Held: 1})
		for i := 1; i < len(w.tries); i++ {
			if d := w.tries[i] - w.tries[i-1]; d > 15*m {
				t.Fatalf("looked again after %v only", d)
			}
		}
		// A release and a gate that opens again: it has its whole life before it.
		if n, err := w.store.Update(t.Context(), queue.Filter{ID: id}, queue.Change{State: queue.Waiting}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		w.start, w.tries = time.Now(), nil
		w.deliver = w.each(always(greylisted))
		w.run(queue.Options{Retry: []time.Duration{h}}, 8*h)
		if got := w.told("failed"); len(got) != 1 || !strings.HasPrefix(got[0], "6h") {
			t.Errorf("failures: %q", got)
		}
	})
}

func TestBounceOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example", "a.example", "b.example")
		w.deliver = w.each(func(_ queue.Job, r queue.Recipient) queue.Attempt {
			if r.N == 0 {
				return queue.Attempt{Outcome: queue.Sent}
			}
			return queue.Attempt{Outcome: queue.Refused, Host: "mx.example", Reply: queue.Reply{Code: 550, Status: "5.1.1"}}
		})
		w.run(queue.Options{}, h)
		got := w.told("failed")
		slices.Sort(got)
		want := []string{"0s failed 1: 550 5.1.1 from mx.example", "0s failed 2: 550 5.1.1 from mx.example"}
		if !slices.Equal(got, want) {
			t.Errorf("failures: %q, want %q", got, want)
		}
		if got := w.told("delivered"); len(got) != 1 {
			t.Errorf("deliveries: %q", got)
		}
		w.stat(queue.Stat{})
	})
}

func TestFailureIsToldUntilItIsHeard(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example")
		w.deliver = w.each(always(queue.Attempt{Outcome: queue.Refused, Why: "no"}))
		calls := 0
		w.report = func(e queue.Event) error {
			if calls++; calls%2 == 1 {
				panic("reporter out of order")
			}
			return errors.New("queue full")
		}
		w.run(queue.Options{}, 3*m+time.Second)
		if got := w.told("failed"); len(got) != 4 { // at once, then every minute
			t.Errorf("told %d times: %q", len(got), got)
		}
		w.stat(queue.Stat{Messages: 1, Failed: 1})
		w.report = nil
		w.run(queue.Options{}, time.Second) // and at the next start
		if got := w.told("failed"); len(got) != 5 {
			t.Errorf("told %d times: %q", len(got), got)
		}
		w.stat(queue.Stat{})
	})
}

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
		if most != 3 {
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
		w.run(queue.Options{Retry: []time.Duration{h}}, 5*h)
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

func (sickStore) Unreported(context.Context, int) ([]queue.Job, error) {
	return nil, queue.ErrUnhealthy
}

package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/queue"
)

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

// Failures that cannot be told, however many, keep nobody else in the dark.
func TestFailureThatCannotBeToldHoldsUpNoOther(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.deliver = w.each(always(queue.Attempt{Outcome: queue.Refused, Why: "no"}))
		mute := map[queue.ID]bool{}
		for i := range 150 {
			id := w.put(queue.Message{}, "a.example")
			mute[id] = i < 120
		}
		w.report = func(e queue.Event) error { return errors.New("not now") }
		w.run(queue.Options{}, time.Second)
		w.stat(queue.Stat{Messages: 150, Failed: 150})
		w.report = func(e queue.Event) error {
			if mute[e.Message.ID] {
				return errors.New("never")
			}
			return nil
		}
		w.run(queue.Options{}, time.Second)
		w.stat(queue.Stat{Messages: 120, Failed: 120})
	})
}

// Where there is no room for one notice there is none for the next: the rest
// waits for the next round without being tried.
func TestFullQueueIsNotAskedAgainAndAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.deliver = w.each(always(queue.Attempt{Outcome: queue.Refused, Why: "no"}))
		for range 50 {
			w.put(queue.Message{}, "a.example")
		}
		full := true
		w.report = func(e queue.Event) error {
			if full {
				return fmt.Errorf("queue notice: %w", queue.ErrFull)
			}
			return nil
		}
		w.run(queue.Options{}, time.Second)
		w.mu.Lock()
		w.events = nil
		w.mu.Unlock()
		w.run(queue.Options{}, 3*m+time.Second) // at the start and every minute
		if got := w.told("failed"); len(got) != 4 {
			t.Errorf("asked %d times in 3 minutes", len(got))
		}
		full = false
		w.run(queue.Options{}, time.Second)
		w.stat(queue.Stat{})
	})
}

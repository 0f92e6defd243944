package queue_test

import (
	"context"
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
	lane    func(destination string) queue.Lane           // nil: each its own, with one connection
	slow    func(ctx context.Context, destination string) // before lane; may be nil
	report  func(queue.Event) error
}

func (w *world) Deliver(ctx context.Context, t *queue.Trip) error { return w.deliver(ctx, t) }

func (w *world) Lane(ctx context.Context, destination string) queue.Lane {
	if w.slow != nil {
		w.slow(ctx, destination)
	}
	if w.lane != nil {
		return w.lane(destination)
	}
	return queue.Lane{Name: destination, Connections: 1}
}

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
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.tries, want) {
		w.t.Fatalf("tried after\n%v, want\n%v", w.tries, want)
	}
}

var (
	greylisted = queue.Attempt{Outcome: queue.Deferred, Host: "mx.example", Stage: "rcpt", Reply: queue.Reply{Code: 451, Status: "4.7.1", Text: "later"}}
	gate       = queue.Attempt{Outcome: queue.Deferred, Ours: true, Stage: "gate", Why: "PTR-EXISTS of wan1"}
)

const m, h = time.Minute, time.Hour

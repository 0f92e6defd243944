package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Scheduler claims destinations that are due, has each worked on by a
// Deliverer, books what became of the mail, and has senders told.
type Scheduler struct {
	w      Work
	d      Deliverer
	r      Reporter
	o      Options
	log    *slog.Logger
	jitter func() float64
	failed chan struct{} // there may be failures to report
	lanes  *lanes
	under  sync.WaitGroup // way

	wakings wakings
	twice   atomic.Int64 // final dots without a word back
}

// NewScheduler starts nothing yet. A nil logger discards.
func NewScheduler(w Work, d Deliverer, r Reporter, o Options, log *slog.Logger) *Scheduler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{
		w: w, d: d, r: r, o: o.withDefaults(), log: log,
		jitter: rand.Float64, failed: make(chan struct{}, 1),
	}
	s.lanes = newLanes(s.o,
		func(t *Trip) { s.under.Go(func() { s.work(t) }) },
		func(t *Trip) { s.under.Go(func() { s.giveBack(t) }) })
	return s
}

// Run works until ctx ends, then drains: nothing new is claimed, deliveries
// under way get Options.Grace before their context ends, and what they did not
// settle is due again at once. It returns nil then, and an error when the store
// cannot go on.
func (s *Scheduler) Run(ctx context.Context) error {
	claims, stop := context.WithCancel(ctx)
	defer stop()
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	s.under.Go(func() { s.tellFailures(claims) })
	err := s.claim(claims, work)
	stop()
	for _, t := range s.lanes.end() {
		s.end(t)
	}
	grace := time.AfterFunc(s.o.Grace, abort)
	defer grace.Stop()
	s.under.Wait()
	return err
}

// Wake makes due what waits (Attempt.Awaits) for anything that come says has
// come about. It may be called at any time; what is in a worker's hands at that
// moment, and is about to be put off, is due again if that is what it waits for.
// come may be asked again later, and from anywhere.
func (s *Scheduler) Wake(ctx context.Context, come func(awaited string) bool) error {
	if err := s.w.Wake(ctx, s.wakings.next(come)); err != nil {
		return fmt.Errorf("wake mail: %w", err)
	}
	return nil
}

// Try has what the operator wants tried be tried at once, though its hosts are left
// alone; without destinations: everything.
func (s *Scheduler) Try(destinations ...string) { s.lanes.try(destinations) }

// deliver turns a panic into an error: one bad message must not stop the rest.
func (s *Scheduler) deliver(ctx context.Context, t *Trip) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("delivery panicked", "domain", t.lease.Destination, "err", fmt.Sprintf("%v\n%s", p, debug.Stack()))
			err = errPanic
		}
	}()
	return s.d.Deliver(ctx, t)
}

var errPanic = errors.New("the delivery panicked")

func (s *Scheduler) release(ctx context.Context, l Lease, rest time.Duration) {
	err := s.w.Release(context.WithoutCancel(ctx), l, rest)
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		s.log.Warn("lease not released", "domain", l.Destination, "err", err)
	}
}

// report hands an event on; a panic is an error like any other.
func (s *Scheduler) report(ctx context.Context, k Kind, m *Message, rs []Recipient) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("report panicked", "id", m.ID, "err", fmt.Sprintf("%v\n%s", p, debug.Stack()))
			err = fmt.Errorf("the reporter panicked: %v", p)
		}
	}()
	return s.r.Report(ctx, Event{Kind: k, Message: m, Recipients: rs, Head: s.head(ctx, m.ID)})
}

// wait says whether d went by before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

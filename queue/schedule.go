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

// ttl is how long a destination stays leased when its worker dies without a
// word; a living worker renews three times in it.
const ttl = 2 * time.Minute

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

	wakings wakings
	twice   atomic.Int64 // final dots without a word back
}

// NewScheduler starts nothing yet. A nil logger discards.
func NewScheduler(w Work, d Deliverer, r Reporter, o Options, log *slog.Logger) *Scheduler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		w: w, d: d, r: r, o: o.withDefaults(), log: log,
		jitter: rand.Float64, failed: make(chan struct{}, 1),
	}
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

	var wg sync.WaitGroup
	wg.Go(func() { s.tellFailures(claims) })
	s.lanes = newLanes(s.o, func(t *Trip) { wg.Go(func() { s.work(t) }) })
	err := s.claim(claims, work, &wg)
	stop()
	for _, t := range s.lanes.end() {
		s.end(t)
	}
	grace := time.AfterFunc(s.o.Grace, abort)
	defer grace.Stop()
	wg.Wait()
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

// Bounds of claiming.
const (
	claimAtOnce = 16
	// planAtOnce is how many destinations may be found their lane at once: that
	// asks DNS. The others are given back for a moment, so that names which DNS
	// does not answer keep nobody waiting.
	planAtOnce = 256
)

// claim brings each destination that is due to its lane.
func (s *Scheduler) claim(claims, work context.Context, wg *sync.WaitGroup) error {
	plans := make(chan struct{}, planAtOnce)
	for {
		leases, err := s.w.Claim(claims, claimAtOnce, ttl)
		switch {
		case claims.Err() != nil:
			for _, l := range leases {
				s.release(work, l, 0)
			}
			return nil
		case errors.Is(err, ErrUnhealthy):
			return fmt.Errorf("claim mail: %w", err)
		case err != nil:
			s.log.Warn("claim put off", "err", err)
			wait(claims, 10*time.Second)
		}
		for _, l := range leases {
			select {
			case plans <- struct{}{}:
				wg.Go(func() {
					defer func() { <-plans }()
					s.plan(claims, work, l)
				})
			default:
				s.release(work, l, laneFull)
			}
		}
	}
}

// plan has a trip to one destination wait for its worker.
func (s *Scheduler) plan(claims, work context.Context, l Lease) {
	of := s.lane(claims, l.Destination)
	ctx, cancel := context.WithCancel(work)
	t := &Trip{s: s, lease: l, claims: claims, ctx: ctx, cancel: cancel, open: map[ID]*handed{}}
	t.renewer.Go(func() { s.renew(ctx, cancel, l) })
	if after, ok := s.lanes.enter(t, of); !ok {
		t.rest = after
		s.end(t)
	}
}

// lane of a destination; by itself where it cannot be known.
func (s *Scheduler) lane(ctx context.Context, destination string) (of Lane) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("delivery panicked", "domain", destination, "err", fmt.Sprintf("%v\n%s", p, debug.Stack()))
			of = Lane{Name: destination}
		}
	}()
	return s.d.Lane(ctx, destination)
}

// work is one worker at one destination. The last one there ends the trip: what
// its Deliverer left behind is put off or given back, so that no destination is
// claimed again and again for nothing.
func (s *Scheduler) work(t *Trip) {
	t.worked(s.deliver(t.ctx, t))
	if !s.lanes.leave(t) {
		return
	}
	if err := t.finish(); err != nil {
		// The lease is left to run out: until then nobody tries in vain.
		s.log.Warn("destination left alone for a while", "domain", t.lease.Destination, "err", err)
		t.lost = true
	}
	t.rest = s.lanes.closed(t.lane)
	s.end(t)
}

// end gives back the destination of a trip, and its lease.
func (s *Scheduler) end(t *Trip) {
	t.cancel()
	t.renewer.Wait()
	if !t.lost {
		s.release(t.ctx, t.lease, t.rest)
	}
}

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

// renew keeps the lease while ctx lasts and ends ctx when it is lost.
func (s *Scheduler) renew(ctx context.Context, cancel context.CancelFunc, l Lease) {
	for wait(ctx, ttl/3) {
		err := s.w.Renew(ctx, l, ttl)
		if errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrUnhealthy) {
			s.log.Warn("delivery broken off", "domain", l.Destination, "err", err)
			cancel()
			return
		}
	}
}

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

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
	err := s.claim(claims, work, &wg)
	stop()
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

// claim gives each destination that is due a goroutine, at most Workers at once.
func (s *Scheduler) claim(claims, work context.Context, wg *sync.WaitGroup) error {
	slots := make(chan struct{}, s.o.Workers)
	for {
		select {
		case slots <- struct{}{}:
		case <-claims.Done():
			return nil
		}
		leases, err := s.w.Claim(claims, 1, ttl)
		switch {
		case claims.Err() != nil:
			for _, l := range leases {
				s.release(work, l)
			}
			return nil
		case errors.Is(err, ErrUnhealthy):
			return fmt.Errorf("claim mail: %w", err)
		case err != nil:
			s.log.Warn("claim put off", "err", err)
			wait(claims, 10*time.Second)
		}
		for _, l := range leases {
			wg.Go(func() {
				defer func() { <-slots }()
				s.travel(claims, work, l)
			})
		}
		if len(leases) == 0 {
			<-slots
		}
	}
}

// travel works on one destination. What its Deliverer leaves behind is put off
// or given back, so that no destination is claimed again and again for nothing.
func (s *Scheduler) travel(claims, work context.Context, l Lease) {
	ctx, cancel := context.WithCancel(work)
	var renewer sync.WaitGroup
	renewer.Go(func() { s.renew(ctx, cancel, l) })
	defer renewer.Wait()
	defer cancel()

	t := &Trip{s: s, lease: l, claims: claims, ctx: ctx, open: map[ID]*handed{}}
	err := s.deliver(ctx, t)
	if err := t.finish(err); err != nil {
		// The lease is left to run out: until then nobody tries in vain.
		s.log.Warn("destination left alone for a while", "domain", l.Destination, "err", err)
		return
	}
	s.release(ctx, l)
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

func (s *Scheduler) release(ctx context.Context, l Lease) {
	err := s.w.Release(context.WithoutCancel(ctx), l, 0)
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

package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Bounds of claiming.
const (
	claimAtOnce = 16
	// planAtOnce is how many destinations may be found their lane at once, and
	// planMost how long that may take: it may have to ask DNS. The others are given
	// back for a moment, so that names which DNS does not answer keep nobody waiting.
	planAtOnce = 256
	planMost   = 5 * time.Second
)

// claim brings each destination that is due to its lane.
func (s *Scheduler) claim(claims, work context.Context) error {
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
				s.under.Go(func() {
					defer func() { <-plans }()
					s.plan(claims, work, l)
				})
			default:
				s.release(work, l, s.lanes.full())
			}
		}
	}
}

// plan has a trip to one destination wait for its worker.
func (s *Scheduler) plan(claims, work context.Context, l Lease) {
	of := s.lane(claims, l.Destination)
	t := s.newTrip(l, claims, work)
	if !s.lanes.enter(t, of) {
		s.giveBack(t)
	}
}

// lane of a destination; one of its own where it cannot be known in time.
func (s *Scheduler) lane(ctx context.Context, destination string) (of Lane) {
	ctx, cancel := context.WithTimeout(ctx, planMost)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("delivery panicked", "domain", destination, "err", fmt.Sprintf("%v\n%s", p, debug.Stack()))
			of = Lane{Name: destination}
		}
	}()
	return s.d.Lane(ctx, destination)
}

// giveBack a destination that no worker has come to. While its hosts are left alone
// for long, its mail is put off, so that it says why it waits and its time runs out
// as that of any other.
func (s *Scheduler) giveBack(t *Trip) {
	s.ended(t, t.putOffWhileShut(brief))
	t.rest = max(t.rest, s.lanes.rest(t.lane))
	s.end(t)
}

// work is one worker at one destination. The last one there ends the trip: what
// its Deliverer left behind is put off or given back, so that no destination is
// claimed again and again for nothing.
func (s *Scheduler) work(t *Trip) {
	t.worked(s.deliver(t.ctx, t))
	if !s.lanes.leave(t) {
		return
	}
	s.ended(t, t.finish())
	t.rest = s.lanes.behind(t.lane)
	s.end(t)
}

// ended notes whether what a trip leaves behind is in order. Where it is not, the
// lease is left to run out: until then nobody tries in vain.
func (s *Scheduler) ended(t *Trip, err error) {
	if err != nil {
		s.log.Warn("destination left alone for a while", "domain", t.Domain(), "err", err)
		t.lost = true
	}
}

// end gives back the destination of a trip, and its lease.
func (s *Scheduler) end(t *Trip) {
	t.lease.end()
	if !t.lost {
		s.release(t.ctx, t.lease.Lease, t.rest)
	}
}

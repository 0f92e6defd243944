package preflight

import (
	"context"
	"sync"
	"time"
)

// One look at a sender is under way at a time: who wants another waits for that.

const (
	sightsAtOnce = 8   // looks that mail waits for, and as many that it does not
	maxFlights   = 500 // looks under way or in line; mail of others waits in the queue

	freshAfter = 10 * time.Second // a look is fresh for so long: who is refused may try again at once
)

// flights are the looks at senders that are under way, by key. sights.mu guards
// what is not said to be otherwise.
type flights struct {
	by     map[string]chan struct{} // closed when it is over
	over   bool                     // none begins any more
	first  chan struct{}            // places for those that mail waits for
	later  chan struct{}            // and for the others
	ctx    context.Context          // of all of them
	cancel context.CancelFunc
	all    sync.WaitGroup // those that are nobody's: Watch ends after them
}

func newFlights() *flights {
	f := &flights{by: map[string]chan struct{}{}, first: make(chan struct{}, sightsAtOnce), later: make(chan struct{}, sightsAtOnce)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// refresh returns what is known of a sender and, where it is time for a look or a fresh
// one is wanted, the one under way: it is over when the channel is closed.
func (s *sights) refresh(who Sender, fresh bool) (n *sight, flight <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, f := who.key(), s.flights
	n, listed := s.find(key)
	fresh = fresh && n != nil && time.Since(n.began) >= freshAfter
	if n != nil && !fresh && (listed && n.known() || !s.ready(n, time.Now())) {
		return n, nil
	}
	if ch, ok := f.by[key]; ok {
		return n, ch
	}
	if f.over || len(f.by) >= maxFlights {
		return n, nil
	}
	out, line := s.gate.out, f.first
	if s.stands(n) && !fresh {
		out, line = s.gate.paced, f.later
	}
	ch := make(chan struct{})
	f.by[key] = ch
	f.all.Go(func() {
		defer s.land(key)
		s.fly(who, out, line)
	})
	return n, ch
}

// fly looks at a sender when it is its turn.
func (s *sights) fly(who Sender, out Outside, line chan struct{}) {
	ctx := s.flights.ctx
	turn, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	select {
	case line <- struct{}{}:
		defer func() { <-line }()
	case <-turn.Done():
		return
	}
	var keys sync.WaitGroup
	keys.Go(func() { s.gate.keys.first(ctx, who, out) })
	s.gate.look(ctx, errand{who: []Sender{who}, out: out})
	keys.Wait()
}

// board notes that a look at these begins, but for those at whom somebody looks
// already. land ends it.
func (s *sights) board(all []Sender) (who []Sender, land func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range all {
		if _, ok := s.flights.by[w.key()]; !ok {
			s.flights.by[w.key()] = make(chan struct{})
			who = append(who, w)
		}
	}
	return who, func() {
		for _, w := range who {
			s.land(w.key())
		}
	}
}

func (s *sights) land(key string) {
	s.mu.Lock()
	close(s.flights.by[key])
	delete(s.flights.by, key)
	s.mu.Unlock()
	s.hint() // it may be due again
}

// ground ends the looks that are under way, and begins none any more.
func (s *sights) ground() {
	s.mu.Lock()
	s.flights.over = true
	s.mu.Unlock()
	s.flights.cancel()
	s.flights.all.Wait()
}

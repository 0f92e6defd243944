package disk

import (
	"context"
	"maps"
	"slices"

	"smtprelay/queue"
)

// What waits for the preflight may be very much, and may wait for long: it is
// put off and woken in the index alone.

// Park puts recipients off. What the operator held meanwhile stays held.
func (s *Store) Park(_ context.Context, l queue.Lease, rs ...queue.Result) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.leased(l); err != nil {
		return err
	}
	for _, r := range rs {
		e := s.index.entries[r.ID]
		if e == nil {
			continue // removed meanwhile
		}
		it := e.find(r.N)
		if it == nil || it.token != l.Token {
			continue
		}
		s.index.place(it, it.state, s.ran.now()+r.Delay, it.tries)
		if r.Attempt != nil {
			s.index.park(it, r.Attempt.Awaits)
		}
	}
	return nil
}

// Wake asks come without holding anything up.
func (s *Store) Wake(ctx context.Context, come func(awaited string) bool) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.index.awaits))
	s.mu.Unlock()
	for _, awaited := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if come(awaited) {
			if err := s.rouse(ctx, awaited); err != nil {
				return err
			}
		}
	}
	return nil
}

// atATime is how much mail is woken before somebody else has his turn.
const atATime = 500

// rouse makes due what waits for this, and what begins to wait meanwhile not.
func (s *Store) rouse(ctx context.Context, awaited string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.index.awaits[awaited]
	delete(s.index.awaits, awaited)
	woken, n := map[*destination]struct{}{}, 0
	for it := range all {
		if n++; n > atATime {
			s.index.refit(woken)
			clear(woken)
			n = 0
			s.mu.Unlock()
			err := ctx.Err()
			s.mu.Lock()
			if err != nil {
				return err
			}
		}
		if s.index.rouse(it, awaited, s.ran.now()) {
			woken[it.d] = struct{}{}
		}
	}
	s.index.refit(woken)
	return nil
}

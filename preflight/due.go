package preflight

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Which sender domain is looked at next: one whose mail waits before one whose
// mail does not, and among those the one that is due for longest.

// due are at most so many senders to be looked at now, no two of one name.
func (s *sights) due(now time.Time, most int) (who []Sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type candidate struct {
		*sight
		waits bool
	}
	var all []candidate
	s.watched(now, func(n *sight, waits bool) {
		if !s.ready(n, now) {
			return
		}
		all = append(all, candidate{n, waits})
		if len(all) < 4*most {
			return
		}
		slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Or(order(a.waits, b.waits), a.next.Compare(b.next)) })
		all = all[:most]
	})
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Or(order(a.waits, b.waits), a.next.Compare(b.next)) })
	names := map[string]bool{}
	for _, c := range all {
		if name := c.who.Name(); !names[name] && len(who) < most {
			names[name] = true
			who = append(who, c.who)
		}
	}
	return who
}

// next is when the next sender is due; zero if none ever is.
func (s *sights) next(now time.Time) (t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched(now, func(n *sight, _ bool) {
		at := n.next
		if s.ready(n, now) {
			at = now
		}
		if t.IsZero() || at.Before(t) {
			t = at
		}
	})
	return t
}

// ready tells whether it is time to look at a sender. s.mu is held.
func (s *sights) ready(n *sight, now time.Time) bool { return n.era != s.era || !n.next.After(now) }

// watched goes through those that are looked at by schedule, and at whom nobody
// looks now. s.mu is held.
func (s *sights) watched(now time.Time, f func(n *sight, waits bool)) {
	for key, heard := range s.waits {
		if now.Sub(heard) > waitsFor {
			delete(s.waits, key)
		}
	}
	for _, n := range s.listed {
		_, waits := s.waits[n.key]
		if _, under := s.flights.by[n.key]; !under {
			f(n, waits)
		}
	}
	for key := range s.waits {
		_, under := s.flights.by[key]
		if e := s.byKey[key]; e != nil && !under {
			f(e.Value.(*sight), true)
		}
	}
}

// hurry makes all due, those too at whom somebody is looking.
func (s *sights) hurry() {
	s.mu.Lock()
	s.era++
	s.mu.Unlock()
}

// now is the era of a look that begins.
func (s *sights) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.era
}

// waiting notes that mail of a sender waits.
func (s *sights) waiting(who Sender, now time.Time) {
	s.mu.Lock()
	_, known := s.waits[who.key()]
	if known || len(s.waits) < len(s.listed)+s.limit {
		s.waits[who.key()] = now
	}
	s.mu.Unlock()
	if !known {
		s.hint()
	}
}

// hint that something may be due earlier than Watch knows.
func (s *sights) hint() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// order puts true first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// inOrder sorts by the order of Checks, which is that of reports.
func inOrder(fs []Finding) {
	place := map[*Check]int{}
	for i, c := range Checks {
		place[c] = i
	}
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(place[a.Check]-place[b.Check], strings.Compare(a.Source, b.Source))
	})
}

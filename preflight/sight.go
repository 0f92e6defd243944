package preflight

import (
	lru "container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Sender domains that the configuration does not name are looked at when their
// first mail comes, and again when mail comes after the answers have expired.

const (
	maxSights    = 4_000 // sender domains remembered; the one unused for longest is forgotten
	sightsAtOnce = 8     // looks under way
)

type sights struct {
	gate  *Gate
	limit int
	turn  chan struct{}
	group singleflight.Group

	mu    sync.Mutex
	byKey map[string]*lru.Element // of *sight
	order *lru.List               // most recently used first
}

// sight is what is known of one sender. It is not changed; a later look puts
// another in its place.
type sight struct {
	key     string
	history History
	next    time.Time

	// What is not simply good; that no resolver answered counts as the sender's.
	senders map[string][]held
	pairs   map[pair][]held
}

func newSights(g *Gate) *sights {
	return &sights{gate: g, limit: maxSights, turn: make(chan struct{}, sightsAtOnce), byKey: map[string]*lru.Element{}, order: lru.New()}
}

// look returns what is known of a sender, asking if that is nothing or too
// old. nil: nothing was known when ctx ended; the look goes on without it.
func (s *sights) look(ctx context.Context, who Sender) *sight {
	key := who.Domain + " " + who.Envelope
	known := s.get(key)
	if known != nil && time.Now().Before(known.next) {
		return known
	}
	done := s.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runTime)
		defer cancel()
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return known, nil
		}
		return s.put(s.ask(ctx, key, who, known)), nil
	})
	select {
	case r := <-done:
		return r.Val.(*sight)
	case <-ctx.Done():
		return known
	}
}

// ask looks at the sender and its pairs. The findings of host and sources are
// made again on the way, as others wait for them, but the gate's own count.
func (s *sights) ask(ctx context.Context, key string, who Sender, known *sight) *sight {
	p := s.gate.plan
	p.Senders, p.SmartHosts = []Sender{who}, nil
	fs, _ := Run(ctx, &p, s.gate.out)
	var before History
	if known != nil {
		before = known.history
	}
	now := time.Now()
	h, hs := observe(before, &p, fs, now, known == nil)
	n := &sight{key: key, history: History{Entries: map[string]Entry{}}, senders: map[string][]held{}, pairs: map[pair][]held{}}
	var own []held
	for _, f := range hs {
		pairs := f.Check.Scope == ScopePair
		if !pairs && f.scope() != ScopeSender && f.Check != dnsReachable || f.Severity == Informational ||
			who.null() && f.Check != dnsReachable && !forNotice(f.Check.ID) {
			continue
		}
		own = append(own, f)
		n.history.Entries[f.key()] = h.Entries[f.key()]
		switch {
		case (f.Status == Pass || f.Status == Skip) && !f.Stale && !f.Settle.After(now):
		case pairs:
			of := pair{f.Source, f.Sender}
			n.pairs[of] = append(n.pairs[of], f)
		default:
			n.senders[who.Name()] = append(n.senders[who.Name()], f)
		}
	}
	n.next = schedule(n.history, own, p.Policy, now, rand.Float64())
	return n
}

// judge puts what is known of host and sources beside what is known of the sender.
func (s *sight) judge(base *judgement) *judgement {
	j := *base
	j.senders, j.pairs = s.senders, s.pairs
	return &j
}

// expire has a sender looked at anew when its next mail comes.
func (s *sights) expire(who Sender) {
	if known := s.get(who.Domain + " " + who.Envelope); known != nil {
		old := *known
		old.next = time.Time{}
		s.put(&old)
	}
}

func (s *sights) get(key string) *sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byKey[key]
	if !ok {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*sight)
}

func (s *sights) put(n *sight) *sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byKey[n.key]; ok {
		e.Value = n
		s.order.MoveToFront(e)
		return n
	}
	s.byKey[n.key] = s.order.PushFront(n)
	if s.order.Len() > s.limit {
		last := s.order.Back()
		s.order.Remove(last)
		delete(s.byKey, last.Value.(*sight).key)
	}
	return n
}

package preflight

import (
	lru "container/list"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// What is known of a sender domain is a sight. Those of the configuration are
// looked at by schedule and never forgotten. Others are looked at when their
// first mail comes, again when mail comes after the answers have expired, and by
// schedule while mail of theirs waits.

const (
	maxSights    = 4_000     // sender domains not configured; the one unused for longest is forgotten
	sightsAtOnce = 8         // first looks under way
	waitsFor     = time.Hour // mail that was last heard of then waits no more
	wholeReport  = 100       // sender domains; of more a report tells only what is not in order
)

type sights struct {
	gate  *Gate
	limit int
	turn  chan struct{}
	group singleflight.Group
	poke  chan struct{} // there may be something to look at earlier

	mu      sync.Mutex
	listed  []*sight                // by place in Plan.Senders
	place   map[string]int          // in listed, by key
	domains map[string][]int        // in listed, by domain
	byKey   map[string]*lru.Element // of *sight: the others
	order   *lru.List               // most recently used first
	waits   map[string]time.Time    // keys of those with mail waiting, and when it was last heard of
}

// sight is what is known of one sender. It is not changed; a later look puts
// another in its place.
type sight struct {
	key     string
	who     Sender
	history History
	next    time.Time
	looked  bool // since the program started
	silent  int  // looks in a row when no resolver answered
	verdict Verdict
	under   int // the look at host and sources that the verdict is of

	// What is not simply good; that no resolver answered counts as the sender's.
	senders map[string][]held
	pairs   map[pair][]held
	all     []held // nil when there are too many to be told
}

func newSights(g *Gate) *sights {
	s := &sights{
		gate: g, limit: maxSights, turn: make(chan struct{}, sightsAtOnce), poke: make(chan struct{}, 1),
		place: map[string]int{}, domains: map[string][]int{}, byKey: map[string]*lru.Element{}, order: lru.New(), waits: map[string]time.Time{},
	}
	for i, who := range g.plan.Senders {
		n := blank(who)
		s.place[n.key] = i
		s.domains[who.Domain] = append(s.domains[who.Domain], i)
		s.listed = append(s.listed, n)
	}
	return s
}

func (s Sender) key() string { return s.Domain + " " + s.envelope() }

// blank is a sender of whom nothing is known.
func blank(who Sender) *sight {
	return &sight{key: who.key(), who: who, senders: map[string][]held{who.Name(): unseen()}}
}

// known tells whether there is anything to go by.
func (n *sight) known() bool { return n.looked || len(n.history.Entries)+len(n.history.Past) > 0 }

// whole tells whether reports tell all of every sender.
func (s *sights) whole() bool { return len(s.listed) <= wholeReport }

// look returns what is known of a sender, asking if that is nothing or, of one
// that nobody else looks at, too old. nil: nothing was known when ctx ended; the
// look goes on without it.
func (s *sights) look(ctx context.Context, who Sender) *sight {
	key := who.key()
	old, listed := s.get(key)
	if old != nil && (listed && old.known() || time.Now().Before(old.next)) {
		return old
	}
	if ctx.Err() != nil {
		return old.informed()
	}
	done := s.group.DoChan(key, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		queue, cancel := context.WithTimeout(ctx, runTime)
		defer cancel()
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-queue.Done():
			return nil, nil
		}
		s.gate.look(ctx, errand{who: []Sender{who}, out: s.gate.out})
		s.hint()
		return nil, nil
	})
	select {
	case <-done:
		old, _ = s.get(key)
	case <-ctx.Done():
	}
	return old.informed()
}

// informed is nil where nobody has looked yet.
func (n *sight) informed() *sight {
	if n == nil || !n.known() && n.next.IsZero() {
		return nil
	}
	return n
}

// observe takes in what a look found of one sender and its pairs.
func (s *sights) observe(old *sight, base []held, fs []Finding, now time.Time, start bool) (*sight, []held) {
	p := s.gate.plan
	p.Senders, p.SmartHosts = []Sender{old.who}, nil
	h, hs := observeUnder(base, old.history, &p, fs, now, start || !old.looked)
	n := &sight{key: old.key, who: old.who, looked: true}
	n.next = schedule(h, hs, p.Policy, now, rand.Float64())
	n.keep(h, hs, now, s.whole())
	return n, hs
}

// keep what has to be remembered of a look.
func (n *sight) keep(h History, hs []held, now time.Time, whole bool) {
	n.history = h.fold(now)
	n.senders, n.pairs = map[string][]held{}, map[pair][]held{}
	for _, f := range hs {
		stale := f.Status == Pass && f.Stale && !f.Settle.After(now)
		of, at := n.senders[f.Sender], pair{f.Source, f.Sender}
		if f.Check.Scope == ScopePair {
			of = n.pairs[at]
		}
		switch {
		case f.Severity == Informational || f.Status == Skip:
			continue
		case f.Status == Pass && !f.Settle.After(now) && !stale:
			continue
		case stale && (f.Severity != Mandatory || slices.ContainsFunc(of, func(o held) bool { return o.Stale })):
			continue // one says it for all
		}
		f.Evidence = nil
		f.seen = f.Result
		if of = append(of, f); f.Check.Scope == ScopePair {
			n.pairs[at] = of
		} else {
			n.senders[f.Sender] = of
		}
	}
	if whole {
		n.all = hs
	}
}

// silenced is what stands when no resolver answered: nothing was learnt.
func (s *sights) silenced(old *sight, unreachable Finding, now time.Time) *sight {
	n := *old
	n.verdict = Verdict{}
	n.silent++
	n.next = now.Add(step(silentSteps, n.silent))
	if !n.known() {
		n.senders = map[string][]held{n.who.Name(): believed([]Finding{unreachable})}
	}
	return &n
}

// recall what an earlier run of the program knew of a sender: it stands as if
// nobody had answered since.
func (s *sights) recall(old *sight, h History, now time.Time) (n *sight, hs []held) {
	p := s.gate.plan
	p.Senders, p.SmartHosts = []Sender{old.who}, nil
	var fs []Finding
	for _, f := range h.recall() {
		f.Result = Result{Status: Unknown, Severity: f.Severity, Found: "not asked yet"}
		fs = append(fs, f.Finding)
	}
	_, hs = observe(h, &p, fs, now, false)
	c := *old
	c.keep(History{}, hs, now, s.whole())
	c.history = h
	return &c, hs
}

// judge puts what is known of host and sources beside what is known of the sender.
func (n *sight) judge(base *judgement) *judgement {
	j := *base
	j.senders, j.pairs = n.senders, n.pairs
	return &j
}

// judged is the sight with its verdict as host and sources stand.
func (n *sight) judged(base *judgement, looks int) *sight {
	c := *n
	c.under, c.verdict = looks, n.judge(base).senderVerdict(n.who.Name())
	c.verdict.blank = !n.known()
	for _, h := range n.told() {
		c.verdict.Findings = append(c.verdict.Findings, h.Finding)
	}
	return &c
}

// told is what a report tells: all, or else what is not simply good.
func (n *sight) told() []held {
	if n.all != nil {
		return n.all
	}
	hs := slices.Clone(n.senders[n.who.Name()])
	for _, p := range n.pairs {
		hs = append(hs, p...)
	}
	inOrder(hs)
	return hs
}

func (s *sights) get(key string) (n *sight, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.place[key]; ok {
		return s.listed[i], true
	}
	e, ok := s.byKey[key]
	if !ok {
		return nil, false
	}
	s.order.MoveToFront(e)
	return e.Value.(*sight), false
}

// put a sight in the place of what was known before.
func (s *sights) put(n *sight) (listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.place[n.key]; ok {
		s.listed[i] = n
		return true
	}
	if e, ok := s.byKey[n.key]; ok {
		e.Value = n
		s.order.MoveToFront(e)
		return false
	}
	s.byKey[n.key] = s.order.PushFront(n)
	if s.order.Len() > s.limit {
		last := s.order.Back()
		s.order.Remove(last)
		delete(s.byKey, last.Value.(*sight).key)
	}
	return false
}

package preflight

import (
	"cmp"
	lru "container/list"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// What is known of a sender domain is a sight. Those of the configuration are
// looked at by schedule and never forgotten. Others are looked at when their
// first mail comes, again when mail comes after the answers have expired, and by
// schedule while mail of theirs waits. Mail waits for the first look alone: later
// on what is known stands while somebody looks.

const (
	maxSights   = 4_000     // sender domains not configured; the one unused for longest is forgotten
	waitsFor    = time.Hour // mail that was last heard of then waits no more
	wholeReport = 100       // sender domains; of more a report tells only what is not in order
)

type sights struct {
	gate    *Gate
	limit   int
	flights *flights
	poke    chan struct{} // there may be something to look at earlier

	mu      sync.Mutex
	era     uint64                  // what was found by looks of an earlier one is about something else
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
	past    []Past    // what simply passes
	began   time.Time // the last look at it
	era     uint64    // of that look
	next    time.Time
	looked  bool // since the program started
	silent  int  // looks in a row when no resolver answered
	verdict Verdict
	under   int // the look at host and sources that the verdict is of

	// What is not simply good, the open ones first; that no resolver answered counts
	// as the sender's. There may be very many: a report shares the findings, and what
	// is remembered of them is not kept twice.
	found []Finding
	marks []mark    // of each
	open  []Finding // of found
	told  []Finding // in reports: all, or else open
}

// mark is what a held finding has besides, and its Entry.
type mark struct {
	stale  bool
	settle time.Time

	kept   bool // there is an Entry
	inputs string
	cached time.Duration
	odd    *odd // nil: nothing of it
}

// odd is what few entries have.
type odd struct {
	doubt         string
	first         time.Time
	looks, silent int
}

func newSights(g *Gate) *sights {
	s := &sights{
		gate: g, limit: maxSights, flights: newFlights(), poke: make(chan struct{}, 1),
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

func (s Sender) key() string { return s.Domain + " " + cmp.Or(s.Envelope, s.Domain) }

// nobody stands for what is about no sender.
func (s Sender) nobody() bool { return s.Domain == "" }

// blank is a sender of whom nothing is known.
func blank(who Sender) *sight {
	n := &sight{key: who.key(), who: who}
	n.found, n.marks = split(unseen())
	n.open = n.found
	return n
}

// known tells whether there is anything to go by.
func (n *sight) known() bool {
	return n.looked || len(n.past) > 0 || slices.ContainsFunc(n.marks, func(m mark) bool { return m.kept })
}

// history is what is remembered of the sender.
func (n *sight) history() History {
	h := History{Past: n.past}
	for i, m := range n.marks {
		if !m.kept {
			continue
		}
		if h.Entries == nil {
			h.Entries = map[string]Entry{}
		}
		f, o := n.found[i], odd{}
		if m.odd != nil {
			o = *m.odd
		}
		h.Entries[f.key()] = Entry{
			Inputs: m.inputs, Result: f.Result, WaitsFor: f.WaitsFor, Since: f.Since, Good: f.Good,
			Doubt: o.doubt, First: o.first, Looks: o.looks, Silent: o.silent, Cached: m.cached, Settle: m.settle,
		}
	}
	return h
}

// whole tells whether reports tell all of every sender.
func (s *sights) whole() bool { return len(s.listed) <= wholeReport }

// look returns what is known of a sender, and has it looked at where that is
// nothing or, of one that nobody else looks at, past its time; or where fresh is
// wanted and the last look is not. It waits for that look only where nothing stands
// meanwhile, or fresh is wanted. nil: nothing was known when ctx ended, or the time was
// up; the look goes on without it.
func (s *sights) look(ctx context.Context, who Sender, fresh bool, until time.Time) *sight {
	n, flight := s.refresh(who, fresh)
	if flight == nil || !fresh && s.stands(n) {
		return n.informed()
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	select {
	case <-flight:
		n, _ = s.get(who.key())
	case <-ctx.Done():
	}
	return n.informed()
}

// known is what is known of a sender; nil: nothing.
func (s *sights) known(who Sender) *sight {
	n, _ := s.get(who.key())
	return n.informed()
}

// stands tells whether what is known will do while it is looked at again: no
// verdict gets older than that of a sender who is looked at by schedule.
func (s *sights) stands(n *sight) bool {
	return n.informed() != nil && time.Since(n.began) <= s.gate.plan.Policy.RecheckMax
}

// informed is nil where nobody has looked yet.
func (n *sight) informed() *sight {
	if n == nil || !n.known() && n.next.IsZero() {
		return nil
	}
	return n
}

// observe takes in what a look found of one sender and its pairs.
func (s *sights) observe(old *sight, o onlook, fs []Finding) (*sight, []held) {
	p, now := *o.plan, o.now
	p.Senders, p.SmartHosts = []Sender{old.who}, nil
	h, hs := observeUnder(o.base, old.history(), &p, fs, now, o.start || !old.looked)
	if old.who.null() {
		h, hs = h.notice(hs)
	}
	s.gate.evidence.contradicted(hs, o.began)
	n := &sight{key: old.key, who: old.who, looked: true, began: o.began, era: o.era}
	n.next = schedule(h, hs, p.Policy, now, rand.Float64())
	n.keep(h, hs, now, s.whole())
	return n, hs
}

// onlook is a look while it is taken in.
type onlook struct {
	plan       *Plan  // as learnt
	base       []held // what is believed of host and sources
	began, now time.Time
	era        uint64 // when it began
	start      bool
}

// notice is what counts for the null sender.
func (h History) notice(hs []held) (History, []held) {
	hs = slices.DeleteFunc(hs, func(f held) bool {
		drop := !forNotice(f.Check.ID)
		if drop {
			delete(h.Entries, f.key())
		}
		return drop
	})
	return h, hs
}

// keep what has to be remembered of a look.
func (n *sight) keep(h History, hs []held, now time.Time, whole bool) {
	h = h.fold(now)
	n.past = h.Past
	var open, rest []held
	stale := map[string]bool{} // by source; "" is the sender's own
	for _, f := range hs {
		of := ""
		if f.Check.Scope == ScopePair {
			of = f.Source
		}
		switch good := f.Status == Pass && !f.Settle.After(now) && len(f.ContradictedBy) == 0; {
		case f.Severity == Informational || f.Status == Skip || good && !f.Stale:
			rest = append(rest, f)
			continue
		case good && (f.Severity != Mandatory || stale[of]): // one says it for all
			rest = append(rest, f)
			continue
		case good:
			stale[of] = true
		}
		open = append(open, f)
	}
	rest = slices.DeleteFunc(rest, func(f held) bool { _, kept := h.Entries[f.key()]; return !kept })
	n.found, n.marks = split(append(open, rest...))
	for i := range n.found {
		n.found[i].Evidence = nil
		if e, ok := h.Entries[n.found[i].key()]; ok {
			m := &n.marks[i]
			m.kept, m.inputs, m.cached = true, e.Inputs, e.Cached
			if o := (odd{e.Doubt, e.First, e.Looks, e.Silent}); o != (odd{}) {
				m.odd = &o
			}
		}
	}
	share(n.found)
	n.open = n.found[:len(open):len(open)]
	if n.told = n.open; whole {
		n.told, _ = split(hs)
	}
}

// share has findings that say the same keep it once.
func share(fs []Finding) {
	said := map[string]string{}
	for i := range fs {
		f := &fs[i]
		for _, text := range []*string{&f.Found, &f.Expected, &f.Remedy.Title, &f.Remedy.Who, &f.Remedy.Zone, &f.Remedy.Message, &f.Remedy.Setting} {
			if same, ok := said[*text]; ok {
				*text = same
			}
			said[*text] = *text
		}
		for _, o := range fs[:i] {
			if slices.Equal(f.Remedy.Records, o.Remedy.Records) {
				f.Remedy.Records = o.Remedy.Records
			}
			if slices.Equal(f.Remedy.Steps, o.Remedy.Steps) {
				f.Remedy.Steps = o.Remedy.Steps
			}
			if slices.Equal(f.Remedy.Servers, o.Remedy.Servers) {
				f.Remedy.Servers = o.Remedy.Servers
			}
		}
	}
}

// split into exact lists: what is kept is kept for long.
func split(hs []held) (fs []Finding, ms []mark) {
	if len(hs) == 0 {
		return nil, nil
	}
	fs, ms = make([]Finding, len(hs)), make([]mark, len(hs))
	for i, h := range hs {
		fs[i], ms[i] = h.Finding, mark{stale: h.Stale, settle: h.Settle}
	}
	return fs, ms
}

// silenced is what stands when no resolver answered: nothing was learnt.
func (s *sights) silenced(old *sight, unreachable Finding, o onlook) *sight {
	n := *old
	n.verdict = Verdict{}
	n.began, n.era = o.began, o.era
	n.silent++
	n.next = o.now.Add(step(silentSteps, n.silent))
	if !n.known() {
		n.found, n.marks = split(believed([]Finding{unreachable}))
		n.open = n.found
	}
	return &n
}

// recall what an earlier run of the program knew of a sender: it stands as if
// nobody had answered since.
func (s *sights) recall(old *sight, plan *Plan, h History, now time.Time) (n *sight, hs []held) {
	p := *plan
	p.Senders, p.SmartHosts = []Sender{old.who}, nil
	var fs []Finding
	for _, f := range h.recall() {
		f.Result = Result{Status: Unknown, Severity: f.Severity, Found: "not asked yet"}
		fs = append(fs, f.Finding)
	}
	_, hs = observe(h, &p, fs, now, false)
	c := *old
	c.keep(h.unfold(), hs, now, s.whole())
	return &c, hs
}

// held are the findings that are not simply good.
func (n *sight) held() []held {
	hs := make([]held, len(n.open))
	for i, f := range n.open {
		hs[i] = held{Finding: f, Stale: n.marks[i].stale, Settle: n.marks[i].settle, seen: &n.open[i].Result}
	}
	return hs
}

func (s *sights) get(key string) (n *sight, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(key)
}

// find is get with s.mu held.
func (s *sights) find(key string) (n *sight, listed bool) {
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

// put a sight in the place of what was known before. Of two looks at the same time
// the one that began later counts.
func (s *sights) put(n *sight) (listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, listed := s.find(n.key)
	switch {
	case old != nil && old.began.After(n.began):
	case listed:
		s.listed[s.place[n.key]] = n
	case old != nil:
		s.byKey[n.key].Value = n
	default:
		s.byKey[n.key] = s.order.PushFront(n)
		if s.order.Len() > s.limit {
			last := s.order.Back()
			s.order.Remove(last)
			delete(s.byKey, last.Value.(*sight).key)
		}
	}
	return listed
}

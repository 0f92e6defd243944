package preflight

import (
	"math/rand/v2"
	"slices"
	"time"
)

// From what a look found to what the gate says: what is believed of host and
// sources, of each sender, and what that comes to.

// believe what may be believed of findings, and say what is told of them, and
// whether one changed of whom no report tells. g.mu is held.
func (g *Gate) believe(e errand, fs []Finding, o onlook) (hs []held, news bool) {
	now := o.now
	own := map[string][]Finding{}
	for _, f := range fs {
		own[f.Sender] = append(own[f.Sender], f)
	}
	silent := slices.IndexFunc(fs, noResolver)
	reached := silent < 0
	if e.base {
		g.found, g.learnt = own[""], g.plan.Learn(g.out.Observed, now)
		g.history, g.base = observe(g.history, g.learnt, g.found, now, e.start)
		g.evidence.contradicted(g.base, o.began)
		g.looked, g.soon = now, time.Time{}
		g.next = schedule(g.history, g.base, g.plan.Policy, now, rand.Float64())
		g.looks++
		hs = append(hs, g.base...)
	} else if !reached && !slices.ContainsFunc(g.found, noResolver) {
		g.next = earlier(g.next, now) // the whole host has to be looked at
	}
	o.plan, o.base = g.learnt, g.base
	for _, who := range e.who {
		old, _ := g.sights.get(who.key())
		if old == nil {
			old = blank(who)
		}
		n, told := old, []held(nil)
		if reached || e.base && !old.known() {
			n, told = g.sights.observe(old, o, own[who.Name()])
		} else {
			n = g.sights.silenced(old, fs[silent], o)
		}
		if g.sights.put(n) {
			hs = append(hs, told...)
			continue
		}
		was, is := old.judged(g.now, 0).verdict, n.judged(g.now, 0).verdict
		news = news || was.blank || !treated(was, is)
	}
	return hs, news
}

// noResolver is the finding that no resolver answers.
func noResolver(f Finding) bool { return f.Check == dnsReachable && f.Status == Unknown }

// compose makes a judgement of what is believed. Only those senders are judged
// anew whom a look was about. g.mu is held, or nobody else knows the gate.
func (g *Gate) compose(now time.Time) *judgement {
	j := weigh(g.learnt, g.base, now)
	s := g.sights
	s.mu.Lock()
	j.report.Senders = make([]Verdict, 0, len(s.listed))
	for i, n := range s.listed {
		if n.under != g.looks || n.verdict.Name == "" {
			n = n.judged(j, g.looks)
			s.listed[i] = n
		}
		j.report.Senders = append(j.report.Senders, n.verdict)
	}
	if s.whole() {
		s.pairsOf(j.report.Sources)
	}
	s.mu.Unlock()
	j.overall()
	return j
}

// pairsOf puts findings of pairs under their sources too.
func (s *sights) pairsOf(sources []Verdict) {
	for i := range sources {
		v := &sources[i]
		for _, n := range s.listed {
			for _, f := range n.told {
				if f.Source == v.Name {
					v.Findings = append(v.Findings, f)
				}
			}
		}
		inOrder(v.Findings)
	}
}

// open is what has to be told again once a day.
func (g *Gate) open(yield func(held) bool) {
	g.mu.RLock()
	hs := g.base
	g.mu.RUnlock()
	tell := func(hs []held) bool {
		return !slices.ContainsFunc(hs, func(h held) bool { return open(h.Finding) && !yield(h) })
	}
	if !tell(hs) {
		return
	}
	g.sights.mu.Lock()
	defer g.sights.mu.Unlock()
	for _, n := range g.sights.listed {
		if n.known() && !tell(n.held()) {
			return
		}
	}
}

package preflight

import (
	"context"
	"slices"
	"sync"
	"time"
)

// startSteps are the waits between the looks of a start while DNS is silent.
var startSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 5 * time.Second, 10 * time.Second}

const (
	startAtOnce = 64 // sender domains looked at before there are listeners
	watchAtOnce = 8  // then
	saveAtLeast = time.Minute
)

// Start looks for the first time and believes what it sees. While nothing is
// known it looks again, for StartupWait at most. Of very many sender domains it
// looks at the first few: the others stand as an earlier run of the program left
// them until Watch has come by, or until their mail does.
func (g *Gate) Start(ctx context.Context) *Report {
	g.remember(ctx)
	var live sync.WaitGroup
	live.Go(func() { g.keys.look(ctx, time.Now(), startAtOnce, g.out) })
	defer func() {
		live.Wait()
		g.keep(ctx)
	}()

	who := g.plan.Senders[:min(len(g.plan.Senders), startAtOnce)]
	r := g.look(ctx, errand{base: true, who: who, start: true, out: g.out})
	patience, cancel := context.WithTimeout(ctx, g.plan.Policy.StartupWait)
	defer cancel()
	for n := 1; r.Overall == Unknown && pause(patience, step(startSteps, n)); n++ {
		r = g.look(patience, errand{base: true, who: who, start: true, out: g.out})
	}
	return r
}

// remember what an earlier run of the program knew.
func (g *Gate) remember(ctx context.Context) {
	if g.memory == nil {
		return
	}
	h, err := g.memory.Load(ctx)
	if err != nil {
		g.log.Warn("preflight history unreadable", "err", err)
		return
	}
	now := time.Now()
	g.keys.recall(h.Live)
	g.out.Observed.recall(h.Observed, &g.plan, now)
	plan := g.plan.Learn(g.out.Observed, now)
	parts := h.bySender()
	hs := parts[""].recall()
	j := weigh(plan, hs, now)
	for _, who := range g.plan.Senders {
		part, ok := parts[who.Name()]
		if !ok {
			continue
		}
		n, told := g.sights.recall(blank(who), plan, part, now)
		g.sights.put(n)
		g.journal.recallFindings(told)
		v := n.judged(j, 0).verdict
		j.report.Senders = append(j.report.Senders, v)
	}
	g.journal.recall(j.report, hs)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history, g.learnt = parts[""], plan
}

// Watch looks again whenever it is time or somebody asks for it, until ctx ends.
func (g *Gate) Watch(ctx context.Context) error {
	defer g.keep(ctx)
	defer g.sights.ground()
	for {
		base, sender, key := g.schedule(time.Now())
		asking, alive := g.rest(ctx, time.Until(first(base, sender, key, g.evidence.next())))
		if !alive {
			return nil
		}
		g.review(ctx, time.Now())
		g.round(ctx, asking)
		g.save(ctx, false)
	}
}

// round looks at what is due, and at all where somebody is asking: of very many
// sender domains at the first few, and at the others as they come.
func (g *Gate) round(ctx context.Context, asking []chan<- *Report) {
	now, asked := time.Now(), len(asking) > 0
	if asked {
		g.sights.hurry()
		g.keys.hurry(now)
	}
	base, sender, key := g.schedule(now)
	e, most := errand{base: asked || !now.Before(base), out: g.paced}, watchAtOnce
	if asked { // a person waits
		e.out, most = g.out, startAtOnce
	}
	land := func() {}
	if asked || !sender.IsZero() && !now.Before(sender) {
		e.who, land = g.sights.board(g.sights.due(now, most))
	}
	if e.base || len(e.who) > 0 {
		g.look(ctx, e)
	}
	land()
	for _, one := range asking {
		one <- g.Report()
	}
	if asked || !key.IsZero() && !now.Before(key) {
		g.save(ctx, g.keys.look(ctx, now, most, e.out))
	}
}

// schedule says when what is to be looked at; zero: never. While no resolver
// answers, sender domains have time until it does.
func (g *Gate) schedule(now time.Time) (base, sender, key time.Time) {
	g.mu.RLock()
	base = g.due()
	dead := slices.ContainsFunc(g.found, noResolver)
	g.mu.RUnlock()
	if sender, key = g.sights.next(now), g.keys.next(); dead {
		sender = time.Time{}
	}
	return base, sender, key
}

// first of the moments that are not zero.
func first(ts ...time.Time) (t time.Time) {
	for _, x := range ts {
		if !x.IsZero() && (t.IsZero() || x.Before(t)) {
			t = x
		}
	}
	return t
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

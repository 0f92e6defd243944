package preflight

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
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
		g.save(ctx, true)
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
	defer g.save(ctx, true)
	for {
		base, sender, key := g.schedule()
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
		g.sights.hurry(now)
		g.keys.hurry(now)
	}
	base, sender, key := g.schedule()
	e, most := errand{base: asked || !now.Before(base), out: g.out}, watchAtOnce
	if asked {
		most = startAtOnce
	}
	if asked || !sender.IsZero() && !now.Before(sender) {
		e.who = g.sights.due(now, most)
	}
	if !asked && (!e.base || !g.sights.whole()) { // with few domains nothing needs to wait
		e.out = g.paced
	}
	if e.base || len(e.who) > 0 {
		g.look(ctx, e)
	}
	for _, one := range asking {
		one <- g.Report()
	}
	switch {
	case asked:
		g.save(ctx, g.keys.look(ctx, now, most, g.out))
	case !key.IsZero() && !now.Before(key):
		g.save(ctx, g.keys.look(ctx, now, most, g.paced))
	}
}

// schedule says when what is to be looked at; zero: never. While no resolver
// answers, sender domains have time until it does.
func (g *Gate) schedule() (base, sender, key time.Time) {
	now, free := time.Now(), g.budget.free()
	g.mu.RLock()
	base = g.due()
	dead := slices.ContainsFunc(g.found, func(f Finding) bool { return f.Check == dnsReachable && f.Status == Unknown })
	g.mu.RUnlock()
	if sender, key = g.sights.next(now), g.keys.next(); dead {
		sender = time.Time{}
	}
	late := func(t time.Time) time.Time {
		if t.IsZero() || t.After(free) {
			return t
		}
		return free
	}
	return base, late(sender), late(key)
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

// errand is what a look is about.
type errand struct {
	base  bool     // host, sources and smart hosts
	who   []Sender // no two of one name
	start bool
	out   Outside
}

// look runs checks once and takes in what they say.
func (g *Gate) look(ctx context.Context, e errand) *Report {
	began := time.Now()
	p, known := g.part(e)
	fs, questions := runUnder(ctx, known, p, e.out)
	if ctx.Err() != nil && !e.start {
		return g.Report() // we are stopping: what was cut short means nothing
	}
	now := time.Now()
	g.mu.Lock()
	hs, news := g.believe(e, fs, began, now)
	before, after := g.now, g.compose(now)
	r := after.report
	if !e.start {
		r.runs()
	}
	r.Run, r.Host = runName(began), hostName()
	r.Took, r.Questions = now.Sub(began), questions
	r.Next = first(g.due(), g.sights.next(now))
	g.now = after
	news = !same(before.report, r) || news
	if news {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	g.mu.Unlock()

	if g.tellLearnt(before.plan, after.plan) && !e.start {
		g.sights.hurry(now) // what was found of senders is about another address
		g.sights.hint()
	}
	g.journal.write(r, hs)
	g.save(ctx, news)
	return r
}

// part of the plan that a look is about, and what it takes as known.
func (g *Gate) part(e errand) (*Plan, []Finding) {
	p, known := g.plan, []Finding(nil)
	if !e.base {
		g.mu.RLock()
		p, known = *g.learnt, g.found
		g.mu.RUnlock()
		p.SmartHosts = nil
	}
	p.suggest, p.Senders = p.Senders, e.who
	return &p, known
}

// tellLearnt logs the addresses that were learnt since, and tells whether there are any.
func (g *Gate) tellLearnt(before, after *Plan) (news bool) {
	for _, s := range after.Sources {
		if old := before.source(s.Name); s.learned != nil && old.Public != s.Public {
			news = true
			g.log.Info("address learnt", "source", s.Name, "addr", s.Public, "remedy", fmt.Sprintf("public = %q", s.Public))
		}
	}
	return news
}

// same tells whether mail is treated alike under both reports.
func same(a, b *Report) bool {
	return a.Overall == b.Overall && a.Action == b.Action && slices.EqualFunc(a.Sources, b.Sources, treated) &&
		slices.EqualFunc(a.Senders, b.Senders, treated) && slices.EqualFunc(a.SmartHosts, b.SmartHosts, treated)
}

func treated(v, w Verdict) bool {
	return v.Name == w.Name && v.Status == w.Status && v.Action == w.Action && v.Stale == w.Stale && slices.Equal(v.Because, w.Because)
}

// runName tells runs apart in the log.
func runName(at time.Time) string {
	return strings.ToUpper(strconv.FormatInt(at.UnixMilli(), 36))
}

func hostName() string {
	name, _ := os.Hostname() // only told, never used as a name of ours
	return name
}

// patientTrier asks a smart host that works only once a day, and one that
// refuses our password not at every look: accounts get locked that way.
type patientTrier struct {
	Trier
	pause time.Duration

	mu   sync.Mutex
	last map[string]pastTrial
}

type pastTrial struct {
	Trial
	until time.Time
}

func (t *patientTrier) Try(ctx context.Context, s SmartHost) Trial {
	now := time.Now()
	t.mu.Lock()
	past, known := t.last[s.Name]
	t.mu.Unlock()
	if known && now.Before(past.until) {
		return past.Trial
	}
	trial := t.Trier.Try(ctx, s)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case trial.Err != "" || trial.TLSErr != "" || trial.AuthErr != "" && !trial.Refused:
		delete(t.last, s.Name)
	case trial.Refused:
		t.last[s.Name] = pastTrial{trial, now.Add(t.pause)}
	default:
		t.last[s.Name] = pastTrial{trial, now.Add(24 * time.Hour)}
	}
	return trial
}

package preflight

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// startSteps are the waits between the looks of a start while DNS is silent.
var startSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 5 * time.Second, 10 * time.Second}

// Start looks for the first time and believes what it sees. While nothing is
// known it looks again, for StartupWait at most.
func (g *Gate) Start(ctx context.Context) *Report {
	g.remember(ctx)
	var live sync.WaitGroup
	live.Go(func() { g.keys.look(ctx, time.Now()) })
	defer func() {
		live.Wait()
		g.save(ctx)
	}()

	r := g.look(ctx, true)
	patience, cancel := context.WithTimeout(ctx, g.plan.Policy.StartupWait)
	defer cancel()
	for n := 1; r.Overall == Unknown && pause(patience, step(startSteps, n)); n++ {
		r = g.look(patience, true)
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
	hs := h.recall()
	g.keys.recall(h.Live)
	g.out.Observed.recall(h.Observed, &g.plan, time.Now())
	g.journal.recall(judge(&g.plan, hs, time.Now()).report, hs)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history = h
}

// Watch looks again whenever it is time or somebody asks for it, until ctx ends.
func (g *Gate) Watch(ctx context.Context) error {
	for {
		next, key := g.next(), g.keys.next()
		if !key.IsZero() && key.Before(next) {
			next = key
		}
		if named := g.evidence.next(); !named.IsZero() && named.Before(next) {
			next = named
		}
		asking, alive := g.rest(ctx, time.Until(next))
		if !alive {
			return nil
		}
		now := time.Now()
		g.review(ctx, now)
		if len(asking) > 0 || !now.Before(g.next()) {
			g.look(ctx, false)
		}
		for _, one := range asking {
			one <- g.Report()
			key = now
		}
		if len(asking) > 0 {
			g.keys.hurry(now)
		}
		if !key.IsZero() && !now.Before(key) {
			g.keys.look(ctx, now)
			g.save(ctx)
		}
	}
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

// look runs all checks once and takes in what they say.
func (g *Gate) look(ctx context.Context, start bool) *Report { return g.lookAt(ctx, &g.plan, start) }

// lookAt looks at a part of the plan. What that does not speak of stays as it is.
func (g *Gate) lookAt(ctx context.Context, part *Plan, start bool) *Report {
	began := time.Now()
	fs, questions := Run(ctx, part, g.out)
	if ctx.Err() != nil && !start {
		return g.Report() // we are stopping: what was cut short means nothing
	}
	now := time.Now()
	plan := g.plan.Learn(g.out.Observed, now)
	g.mu.Lock()
	h, hs := observe(g.history, plan, fs, now, start)
	g.evidence.contradicted(hs, began)
	if part != &g.plan {
		h, hs = h.beside(g.history), beside(hs, g.held)
	}
	g.held = hs
	before, after := g.now, judge(plan, hs, now)
	r := after.report
	if !start {
		r.runs()
	}
	r.Run, r.Host = runName(began), hostName()
	r.Took, r.Questions = now.Sub(began), questions
	r.Next = schedule(h, hs, g.plan.Policy, now, rand.Float64())
	if part == &g.plan {
		g.soon = time.Time{}
	} else if before.report.Next.Before(r.Next) {
		r.Next = before.report.Next // the rest was looked at before, and is due by that
	}
	g.now, g.history = after, h
	if !same(before.report, r) {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	g.mu.Unlock()

	for _, s := range plan.Sources {
		if old := before.plan.source(s.Name); s.learned != nil && old.Public != s.Public {
			g.log.Info("address learnt", "source", s.Name, "addr", s.Public, "remedy", fmt.Sprintf("public = %q", s.Public))
		}
	}
	g.journal.write(r, hs)
	g.save(ctx)
	return r
}

func (g *Gate) save(ctx context.Context) {
	if g.memory == nil {
		return
	}
	g.mu.RLock()
	h := g.history
	g.mu.RUnlock()
	h.Live, h.Observed = g.keys.published(), g.out.Observed.state()
	if err := g.memory.Save(context.WithoutCancel(ctx), h); err != nil {
		g.log.Warn("preflight history not kept", "err", err)
	}
}

// same tells whether mail is treated alike under both reports.
func same(a, b *Report) bool {
	alike := func(v, w Verdict) bool {
		return v.Name == w.Name && v.Status == w.Status && v.Action == w.Action && v.Stale == w.Stale && slices.Equal(v.Because, w.Because)
	}
	return a.Overall == b.Overall && a.Action == b.Action && slices.EqualFunc(a.Sources, b.Sources, alike) &&
		slices.EqualFunc(a.Senders, b.Senders, alike) && slices.EqualFunc(a.SmartHosts, b.SmartHosts, alike)
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

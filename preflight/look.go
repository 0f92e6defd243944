package preflight

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errand is what a look is about.
type errand struct {
	base  bool     // host, sources and smart hosts
	who   []Sender // no two of one name
	start bool
	out   Outside
}

// look runs checks once and takes in what they say.
func (g *Gate) look(ctx context.Context, e errand) *Report {
	began, era := time.Now(), g.sights.now()
	p, known := g.part(e)
	fs, questions := runUnder(ctx, known, p, e.out)
	if ctx.Err() != nil && !e.start {
		return g.Report() // we are stopping: what was cut short means nothing
	}
	now := time.Now()
	g.telling.Lock() // in the order in which it came to be
	g.mu.Lock()
	hs, news := g.believe(e, fs, onlook{began: began, now: now, era: era, start: e.start})
	before, after := g.now, g.compose(now)
	r := after.report
	if !e.start {
		r.runs()
	}
	r.Run, r.Host = runName(began), hostName()
	r.Took, r.Questions = now.Sub(began), questions
	r.Next = first(g.due(), g.sights.next(now))
	g.now = after
	kept := !same(before.report, r)
	if kept || news {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	g.mu.Unlock()

	if g.tellLearnt(before.plan, after.plan) && !e.start {
		g.sights.hurry() // what was found of senders is about another address
		g.sights.hint()
	}
	g.journal.write(r, hs, e.base)
	g.telling.Unlock()
	g.save(ctx, kept)
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

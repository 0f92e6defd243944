package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// subject is a check and whom it speaks of, by place in the plan; -1 is nobody.
type subject struct {
	check                     *Check
	source, sender, smartHost int
}

type task struct {
	subject
	finding Finding
	known   bool // before the run
	done    chan struct{}
	second  bool // it, or what it needs, passed by the second opinion: the resolver's picture is old
}

func subjects(c *Check, p *Plan) (all []subject) {
	switch c.Scope {
	case ScopeHost:
		return []subject{{c, -1, -1, -1}}
	case ScopeSource:
		for i := range p.Sources {
			all = append(all, subject{c, i, -1, -1})
		}
	case ScopeSender:
		for i := range p.Senders {
			all = append(all, subject{c, -1, i, -1})
		}
	case ScopeZone:
		for i := range p.Sources {
			all = append(all, subject{c, i, -1, -1})
		}
		for i := range p.Senders {
			all = append(all, subject{c, -1, i, -1})
		}
	case ScopePair:
		for i := range p.Senders {
			for k := range p.Sources {
				all = append(all, subject{c, k, i, -1})
			}
		}
	case ScopeSmartHost:
		for i := range p.SmartHosts {
			all = append(all, subject{c, -1, -1, i})
		}
	}
	return all
}

// needed is the task of another check that speaks of the same subject, nil if
// there is none.
func (r *run) needed(c *Check, s subject) *task {
	s.check = c
	if c.Scope != ScopeSource && c.Scope != ScopePair && c.Scope != ScopeZone {
		s.source = -1
	}
	if c.Scope != ScopeSender && c.Scope != ScopePair && c.Scope != ScopeZone {
		s.sender = -1
	}
	if c.Scope != ScopeSmartHost {
		s.smartHost = -1
	}
	return r.index[s]
}

// do runs one check once all that it needs have passed.
func (r *run) do(ctx context.Context, t *task) {
	defer close(t.done)
	f := &t.finding
	if why := r.moot(t); why != "" {
		f.Result = skip(why)
	} else if f.WaitsFor, why = r.await(t); f.WaitsFor != "" || why != "" {
		f.Result = skip(why)
	} else {
		f.Result = r.look(ctx, t)
	}
	if byID(f.Because) != nil {
		f.WaitsFor, f.Because = f.Because, ""
	}
	f.Severity = severity(f.Check, f.Severity, r.plan.Policy.Severity)
}

// moot says why a check does not apply to the plan at all.
func (r *run) moot(t *task) string {
	if why := r.plan.strange(t); why != "" {
		return why
	}
	switch {
	case r.plan.SmartHostOnly && t.check.Scope != ScopeSmartHost && !(t.check == dnsReachable && r.plan.namesSmartHost()):
		return "smart host"
	case r.plan.Policy.Private && t.check.Outward:
		return "private"
	}
	return ""
}

// namesSmartHost tells whether DNS is needed to find a smart host.
func (p *Plan) namesSmartHost() bool {
	for i := range p.SmartHosts {
		if named(&p.SmartHosts[i]) {
			return true
		}
	}
	return false
}

// await waits for the checks that this one needs. The first that did not pass
// is named by its own root: what it waits for, or why it does not apply.
func (r *run) await(t *task) (waitsFor, because string) {
	for _, id := range t.check.Needs {
		c := byID(id)
		if c == dnsReachable && t.smartHost >= 0 && !named(&r.plan.SmartHosts[t.smartHost]) {
			continue
		}
		n := r.needed(c, t.subject)
		if n == nil {
			continue
		}
		<-n.done
		t.second = t.second || n.second
		switch f := n.finding; {
		case f.Status == Pass:
		case f.Status != Skip:
			return id, ""
		default:
			return f.WaitsFor, f.Because
		}
	}
	return "", ""
}

// look runs the check, and once more where its failure may be old. What rests on
// a check that was saved that way looks at the authoritative servers from the first.
func (r *run) look(ctx context.Context, t *task) Result {
	limit := checkTime
	if strings.HasPrefix(t.check.ID, "SPF-") || slices.Contains(authChecks, t.check) {
		limit = spfTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if t.second && !t.check.Final {
		res, p, _ := r.overZones(ctx, t)
		r.attest(ctx, res.Evidence, p.answers)
		return res
	}
	res, p := r.examine(ctx, t, r.dns)
	if r.doubtful(t, res, p) {
		return r.again(ctx, t, res, p)
	}
	if res.Status == Pass {
		r.disputes.end(t)
	}
	return res
}

// examine runs the check itself over one view of DNS. One that panics has learnt nothing.
func (r *run) examine(ctx context.Context, t *task, view dns.Resolver) (res Result, p *Probe) {
	p = &Probe{Plan: r.plan, run: r, dns: view}
	if t.source >= 0 {
		p.Source = &r.plan.Sources[t.source]
	}
	if t.sender >= 0 {
		p.Sender = &r.plan.Senders[t.sender]
	}
	if t.smartHost >= 0 {
		p.SmartHost = &r.plan.SmartHosts[t.smartHost]
	}
	p.earlier = func() []Finding { return r.earlier(t) }
	defer func() {
		if e := recover(); e != nil {
			res = Result{Status: Unknown, Found: fmt.Sprintf("the check itself broke: %v", e)}
		}
	}()
	res = t.check.Run(ctx, p)
	res.Remedy = p.possible(res.Remedy)
	res.Evidence, res.TTL, res.NegTTL = p.evidence()
	return res, p
}

// earlier waits for the checks before this one that speak of its source alone.
func (r *run) earlier(t *task) (fs []Finding) {
	for _, other := range r.tasks {
		if other == t {
			break
		}
		if other.source == t.source && other.sender < 0 && other.source >= 0 {
			<-other.done
			fs = append(fs, other.finding)
		}
	}
	return fs
}

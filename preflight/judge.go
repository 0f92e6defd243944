package preflight

import (
	"slices"
	"time"
)

// From findings to verdicts. A subject's verdict is the worst that one of its
// findings says of it; the overall verdict asks whether mail can leave at all.

// Judge says what the findings mean for each source, sender domain and smart
// host, and for the whole. It is pure and keeps no history: what stands, stands.
func Judge(p *Plan, fs []Finding, at time.Time) *Report {
	hs := believed(fs)
	for i := range hs {
		hs[i].Since = at
	}
	r := judge(p, hs, at).report
	if p.Foreign {
		r.disown()
	}
	return r
}

// judgement keeps, beside the report, what the gate asks for one message.
type judgement struct {
	plan       *Plan
	policy     Policy
	at         time.Time
	report     *Report
	host       []held
	sources    map[string][]held
	senders    map[string][]held
	pairs      map[pair][]held
	smartHosts map[string][]held

	reach    standing            // of what nothing can be known without
	standing map[string]standing // of each source; findings of the host count for every one
}

type pair struct{ source, sender string }

func judge(p *Plan, hs []held, at time.Time) *judgement {
	j := weigh(p, hs, at)
	for _, s := range p.Senders {
		v := j.senderVerdict(s.Name())
		v.Findings = pick(hs, func(f Finding) bool { return f.Sender == v.Name })
		j.report.Senders = append(j.report.Senders, v)
	}
	j.overall()
	return j
}

// weigh is judge without the sender domains and the whole.
func weigh(p *Plan, hs []held, at time.Time) *judgement {
	j := &judgement{
		plan: p, policy: p.Policy.Defaults(len(p.SmartHosts) > 0), at: at,
		report:  &Report{At: at, Plan: p},
		sources: map[string][]held{}, senders: map[string][]held{},
		pairs: map[pair][]held{}, smartHosts: map[string][]held{},
	}
	hs = slices.Clone(hs)
	for i := range hs {
		hs[i].Severity = j.policy.severity(hs[i].Finding)
		h := hs[i]
		switch h.scope() {
		case ScopeHost:
			j.host = append(j.host, h)
			j.report.HostFindings = append(j.report.HostFindings, h.told())
		case ScopeSource:
			j.sources[h.Source] = append(j.sources[h.Source], h)
		case ScopeSender:
			j.senders[h.Sender] = append(j.senders[h.Sender], h)
		case ScopePair:
			j.pairs[pair{h.Source, h.Sender}] = append(j.pairs[pair{h.Source, h.Sender}], h)
		case ScopeSmartHost:
			j.smartHosts[h.SmartHost] = append(j.smartHosts[h.SmartHost], h)
		}
	}
	j.reach = stand(j.resolver())
	j.standing = make(map[string]standing, len(p.Sources))
	for _, s := range p.Sources {
		j.standing[s.Name] = stand(j.host, j.sources[s.Name])
		j.report.Sources = append(j.report.Sources, j.sourceVerdict(s.Name, hs))
	}
	for _, s := range p.SmartHosts {
		j.report.SmartHosts = append(j.report.SmartHosts, j.smartHostVerdict(s.Name))
	}
	return j
}

// source is how a source of the plan stands.
func (j *judgement) source(name string) standing { return j.standing[name] }

// sender is how a sender domain stands by itself, before its pairs. Of the
// host's findings only those speak to it without which nothing can be known.
func (j *judgement) sender(name string, counts func(id string) bool) standing {
	return stand(j.resolver(), only(j.senders[name], counts))
}

func (j *judgement) pair(source, sender string, counts func(id string) bool) standing {
	return stand(only(j.pairs[pair{source, sender}], counts))
}

func (j *judgement) resolver() []held {
	return only(j.host, func(id string) bool { return id == "DNS-REACHABLE" })
}

func only(hs []held, counts func(id string) bool) []held {
	if counts == nil {
		return hs
	}
	return slices.DeleteFunc(slices.Clone(hs), func(h held) bool { return !counts(h.Check.ID) })
}

func (j *judgement) verdict(name string, s standing, action Action) Verdict {
	if s.settling(j.at) {
		action = "settling"
	}
	return Verdict{Name: name, Status: s.Status, Because: s.Because, Stale: s.Stale, Action: string(action)}
}

func (j *judgement) sourceVerdict(name string, hs []held) Verdict {
	s := j.source(name)
	v := j.verdict(name, s, j.policy.onSource(s.Status))
	if j.plan.SmartHostOnly {
		v.Action = string(ActSmartHost)
	}
	v.Findings = pick(hs, func(f Finding) bool { return f.Source == name })
	return v
}

func (j *judgement) senderVerdict(name string) Verdict {
	s := j.senderWithPairs(name, nil)
	v := j.verdict(name, s, j.policy.onSender(s.Status))
	if j.plan.SmartHostOnly {
		v.Action = string(ActSmartHost)
	}
	return v
}

func (j *judgement) smartHostVerdict(name string) Verdict {
	s := stand(j.resolver(), j.smartHosts[name])
	v := j.verdict(name, s, ActSmartHost)
	if !s.usable() {
		v.Action = string(ActHold)
	}
	for _, h := range j.smartHosts[name] {
		v.Findings = append(v.Findings, h.told())
	}
	return v
}

func pick(hs []held, mine func(Finding) bool) (fs []Finding) {
	for _, h := range hs {
		if mine(h.Finding) {
			fs = append(fs, h.told())
		}
	}
	return fs
}

// senderWithPairs is a sender's standing. A pair that fails takes that source
// away from that sender only: the sender is degraded then, and stands as its
// best source does. Sources that failed by themselves are nobody's any more.
func (j *judgement) senderWithPairs(name string, counts func(id string) bool) standing {
	own := j.sender(name, counts)
	var all, live []standing
	for _, s := range j.plan.Sources {
		st := j.pair(s.Name, name, counts)
		all = append(all, st)
		if j.source(s.Name).Status != Fail {
			live = append(live, st)
		}
	}
	if len(live) == 0 {
		live = all
	}
	pairs := best(live)
	if pairs.usable() {
		pairs = lower(pairs, all)
	}
	return merge(own, pairs)
}

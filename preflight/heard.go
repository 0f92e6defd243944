package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Remote evidence. What receivers say is worth a look, at once; it never makes
// a verdict, because anybody can run a receiver. Where the check still passes
// and the world insists, the finding says so: a name server may give others
// another answer, or mail leave from another address.

// Reply is what a remote said to us, and about whose mail.
type Reply struct {
	Host   string // exchanger, by name
	Stage  string // greet, ehlo, mail, rcpt, data, dot
	Code   int
	Status string // "5.7.25", or ""
	Text   string
	Source string // that it was said to; of no other is anything learnt
	Mail   Mail

	Addr     netip.Addr // of the exchanger
	EHLO     string     // the name that we gave there
	Envelope []string   // addresses that we said there
}

// Heard takes in a 4xx or 5xx. It never waits: what it names is looked at by
// Watch.
func (g *Gate) Heard(r Reply) {
	c, known := Classify(Operator(r.Host), r.Stage, r.Code, r.Status, r.Text)
	if !known || g.plan.SmartHostOnly || !c.Of(r) {
		return
	}
	i := slices.IndexFunc(g.plan.Sources, func(s Source) bool { return s.Name == r.Source })
	if i < 0 {
		return // a smart host's word is about what reached it, not about our source
	}
	another := g.anotherAddress(r)
	who, listed := g.sender(r.Mail)
	w := voice{operator: Operator(r.Host), said: strings.TrimSpace(fmt.Sprint(r.Code, " ", r.Status)), at: time.Now()}
	for _, id := range c.Checks {
		switch f, ok := about(byID(id), r.Source, who); {
		case !ok || another && f.Source != "":
		case f.Sender == "":
			g.evidence.hear(f, Sender{}, true, w)
		default:
			g.evidence.hear(f, who, listed, w)
		}
	}
	g.evidence.wake()
}

// anotherAddress tells whether a reply names an address that is not the one we
// judge the source by: it says nothing of that one. Met sees to the other.
func (g *Gate) anotherAddress(r Reply) bool {
	p := g.judgement().plan
	ours := p.egress(p.source(r.Source))
	seen, ok := Echo(r.Text, r.Addr, true, slices.Concat(r.Envelope, []string{r.EHLO})...)
	return ok && ours.IsValid() && seen != ours
}

// about is the finding that a check makes of this source and sender.
func about(c *Check, source string, who Sender) (Finding, bool) {
	if c == nil || c.Scope == ScopeSmartHost {
		return Finding{}, false
	}
	f := Finding{Check: c}
	if c.Scope == ScopeSource || c.Scope == ScopePair || c.Scope == ScopeZone { // of zones, that of the address
		f.Source = source
	}
	if c.Scope == ScopeSender || c.Scope == ScopePair {
		if f.Sender = who.Name(); f.Sender == "" {
			return Finding{}, false // the null sender has no domain to blame
		}
	}
	return f, true
}

// Instead is asked about a message that its receiver refused, from every source
// that may send it, for want of something that a check is about: what the policy
// does when such a check fails, although it passes here. Sending all the same is
// no choice, that was tried.
func (g *Gate) Instead(named []string) Route {
	p := g.plan.Policy
	do, why := []Action{p.onSource(Fail)}, "refused for what is ours"
	if len(named) > 0 {
		do, why = nil, "refused for "+strings.Join(named, ", ")
	}
	for _, id := range named {
		do = append(do, p.onRefused(byID(id)))
	}
	held := func(a Action) bool { return a == ActHold || a == ActRefuse || a == ActReject }
	if len(g.plan.SmartHosts) == 0 || slices.ContainsFunc(do, held) {
		return Route{Wait: time.Minute, Why: why}
	}
	return Route{SmartHost: true, Why: why}
}

// onRefused is what happens to mail when this check fails.
func (p Policy) onRefused(c *Check) Action {
	if c != nil && (c.Scope == ScopeSender || c.Scope == ScopePair) {
		return p.onSender(Fail)
	}
	return p.onSource(Fail)
}

// review looks again at what remotes have named: the sources, and the sender
// domains that it is about.
func (g *Gate) review(ctx context.Context, now time.Time) {
	listed, others := g.evidence.take(now)
	rest := slices.DeleteFunc(slices.Concat(listed, others), Sender.nobody)
	e := errand{base: len(rest) < len(listed)+len(others), out: g.paced}
	for e.base || len(rest) > 0 {
		e.who, rest = distinct(rest)
		g.look(ctx, e)
		e.base = false
	}
}

// distinct takes out a few senders, the first of each name: one look can tell those
// apart.
func distinct(all []Sender) (who, rest []Sender) {
	names := map[string]bool{}
	for _, s := range all {
		if name := s.Name(); names[name] || len(who) == watchAtOnce {
			rest = append(rest, s)
		} else {
			names[name] = true
			who = append(who, s)
		}
	}
	return who, rest
}

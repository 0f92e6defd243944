package preflight

import (
	"context"
	"fmt"
	"strings"
)

var ptrNotGeneric = &Check{
	ID:       "PTR-NOT-GENERIC",
	Scope:    ScopeSource,
	Title:    "the address's name is one of our own",
	Severity: Recommended,
	Change:   "^",
	Why:      "a name made by a provider for one of its customers is that of a home computer or a machine just rented: GMX, Outlook, T-Online and others refuse it, filters score it",
	Needs:    []string{"PTR-FORWARD-CONFIRMED"},
	Words: Words{
		How:      "Scores each name that leads back. +3 where it is made of the address, +3 for a word such as dyn, dhcp, pool or dsl, +3 for the ending of a known hoster, +2 for a part of the address beside such a word, +1 for client, host, static and the like, -2 for mail, mx, smtp, out. From 3 on it fails; what counted is shown.",
		Found:    `192-0-2-25.dyn.isp.example.org looks like a provider's default (the address +3, "dyn" +3)`,
		Expected: "a name of your own",
		Mend:     "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
		Do:       Replace,
		Ask:      "whoever runs the reverse zone: the provider of the address as a rule",
		Basis:    "No standard demands it; the score follows what rspamd, SpamAssassin and Haraka do.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		addr := p.addr()
		best := ""
		for _, f := range p.forwards(ctx) {
			if !f.confirms(addr) {
				continue
			}
			if score, hits := generic(addr, f.name); score >= genericFrom {
				return fail(p.ownName(ctx), "a name of your own", "%s looks like a provider's default (%s)", f.name, rules(hits))
			}
			if best == "" {
				best = f.name
			}
		}
		return pass("%s is no provider's default", best)
	},
}

// rules lists the rules that a name meets: `the address +3, "dyn" +3`.
func rules(hits []scored) string {
	var all []string
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%s %+d", h.what, h.points))
	}
	return strings.Join(all, ", ")
}

// ownName gives the address a name in a domain that is ours: what we call
// ourselves, unless that is the provider's name too.
func (p *Probe) ownName(ctx context.Context) Remedy {
	name := p.wanted()
	if score, _ := generic(p.addr(), name); score >= genericFrom {
		name = p.mailName()
	}
	if score, _ := generic(p.addr(), name); score >= genericFrom {
		name = ""
	}
	r := p.nameTo(ctx, p.names(ctx), Replace, name)
	if name == "" {
		r.Steps = append(r.Steps, "Choose a name in a domain of yours, point it to the address, and have the address named so.")
		return r
	}
	p.agreeing(ctx, &r, name)
	if name != p.ehlo() {
		r.Setting, r.Under = fmt.Sprintf("ehlo = %q", name), sourceNamed(p.Source)
	}
	return r
}

// agreeing adds to the naming of an address the record that leads back, if none does
// or an alias does.
func (p *Probe) agreeing(ctx context.Context, r *Remedy, name string) {
	a := p.aside(ctx, name, family(p.addr()))
	if definite(a) && (!holds(a, p.addr()) || len(a.Chain) > 0) {
		r.Records = append(r.Records, p.pointing(ctx, a).Records...)
		r.Steps = append(r.Steps, "The address record of "+name+" is for whoever runs the zone of that name.")
	}
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"smtprelay/preflight/dns"
)

var ehloChecks = []*Check{ehloSet, ehloFQDN, ehloPublicName, ehloAddr, ehloAddrPublic, ehloNotAlias, ehloMatchesPTR}

var ehloSet = &Check{
	ID:       "EHLO-SET",
	Scope:    ScopeSource,
	Title:    "the source has an EHLO name",
	Severity: Mandatory,
	Change:   "=",
	Why:      "the name we greet with is the first thing a receiver compares; the machine's own name is a guess",
	Ref:      "RFC 5321 section 4.1.1.1",
	Needs:    []string{"DNS-REACHABLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.Source.EHLO != "" {
			return pass("EHLO %s", p.Source.EHLO)
		}
		return fail(p.naming(ctx), "a name", "no `ehlo` for source %s", p.Source.Name)
	},
}

// naming suggests an EHLO name: that of the address if it leads back to it.
func (p *Probe) naming(ctx context.Context) Remedy {
	r := Remedy{Title: "Set the EHLO name of " + p.Source.Name, Who: "you, under the [[source]] named " + p.Source.Name}
	name := ""
	for _, s := range p.Plan.naming() {
		n := "mail." + s.Domain
		if _, special := p.Plan.specialName(n); dns.IsHostname(n) && !special && n != p.ehlo() {
			name = n
			break
		}
	}
	if addr := p.addr(); addr.IsValid() {
		ptr := p.aside(ctx, dns.Reverse(addr), dns.TypePTR)
		for _, n := range p.valid(ptr) {
			if n != p.ehlo() && holds(p.aside(ctx, n, family(addr)), addr) {
				name = n
				r.Steps = []string{fmt.Sprintf("%s already has this name, and the name leads back to it.", addr)}
				break
			}
		}
	}
	if name != "" {
		r.Setting = fmt.Sprintf("ehlo = %q", name)
	}
	return r
}

// literal tells whether an EHLO argument is an address instead of a name.
func literal(ehlo string) bool {
	_, err := netip.ParseAddr(strings.Trim(ehlo, "[]"))
	return err == nil || strings.HasPrefix(ehlo, "[")
}

var ehloFQDN = &Check{
	ID:       "EHLO-FQDN",
	Scope:    ScopeSource,
	Title:    "the EHLO name is fully qualified",
	Severity: Mandatory,
	Change:   "=",
	Why:      "Postfix's common settings and Gmail (501 5.5.4) refuse a greeting that is no complete host name",
	Ref:      "RFC 5321 section 2.3.5",
	Needs:    []string{"EHLO-SET"},
	Run: func(ctx context.Context, p *Probe) Result {
		ehlo := p.Source.EHLO
		if literal(ehlo) {
			return skip("an address literal is for EHLO-PUBLIC-NAME to judge")
		}
		if p.ehlo() != "" {
			return pass("%s is fully qualified", ehlo)
		}
		if name, err := dns.Canonical(ehlo); err == nil && !strings.Contains(name, ".") {
			return fail(p.naming(ctx), "fully qualified", "%q has no domain", ehlo)
		}
		return fail(p.naming(ctx), "fully qualified", "%q is not a host name: letters, digits, inner hyphens and dots", ehlo)
	},
}

var ehloPublicName = &Check{
	ID:       "EHLO-PUBLIC-NAME",
	Scope:    ScopeSource,
	Title:    "the EHLO name can stand in public DNS",
	Severity: Mandatory,
	Change:   "=",
	Why:      "a greeting that no receiver can look up is what infected home machines send; filters score or refuse it",
	Ref:      "RFC 5321 section 2.3.5; RFC 6761 section 6",
	Needs:    []string{"EHLO-SET"},
	Run: func(ctx context.Context, p *Probe) Result {
		if literal(p.Source.EHLO) {
			return fail(p.naming(ctx), "a public name", "%s is an address, not a name", p.Source.EHLO)
		}
		ehlo := p.ehlo()
		if ehlo == "" {
			return awaits("EHLO-FQDN")
		}
		if rule, special := p.Plan.specialName(ehlo); special {
			if strings.HasPrefix(rule, "example.") {
				return fail(p.naming(ctx), "a public name", "%s: %s is for examples only (RFC 2606)", ehlo, rule)
			}
			return fail(p.naming(ctx), "a public name", "%s: .%s is never in public DNS", ehlo, rule)
		}
		return pass("%s is a public name", ehlo)
	},
}

var ehloAddr = &Check{
	ID:       "EHLO-ADDR",
	Scope:    ScopeSource,
	Title:    "the EHLO name points to the source",
	Severity: Mandatory,
	Change:   "=",
	Why:      "receivers look the greeting up: a name that is unknown or is somebody else's costs points or the message",
	Ref:      "RFC 5321 section 4.1.4",
	Needs:    []string{"EGRESS-PUBLIC", "EHLO-PUBLIC-NAME"},
	Run: func(ctx context.Context, p *Probe) Result {
		addr := p.addr()
		f := forward{p.ehlo(), p.ask(ctx, p.ehlo(), family(addr))}
		switch {
		case f.confirms(addr):
			return pass("%s is %s", f.name, addr)
		case !definite(f.answer):
			return unknown("contains "+addr.String(), f.answer)
		}
		return fail(p.pointing(ctx, f.answer), "contains "+addr.String(), "%s", f)
	},
}

var ehloAddrPublic = &Check{
	ID:       "EHLO-ADDR-PUBLIC",
	Scope:    ScopeSource,
	Title:    "the EHLO name has public addresses only",
	Severity: Recommended,
	Change:   "^",
	Why:      "a private address beside the public one shows a split view, and a receiver may see only that one",
	Ref:      "RFC 6890 section 2.2.2",
	Needs:    []string{"EHLO-PUBLIC-NAME"},
	Run: func(ctx context.Context, p *Probe) Result {
		r := Remedy{Title: "Remove the address that is not public from " + p.ehlo(), Who: "whoever runs the zone of " + p.ehlo()}
		var found []string
		for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
			a := p.ask(ctx, p.ehlo(), t)
			if !definite(a) {
				return unknown("public only", a)
			}
			for _, other := range addrs(a) {
				if what, special := p.Plan.special(other); special {
					found = append(found, fmt.Sprintf("%s is %s", other, what))
					r.Records = append(r.Records, record(Remove, a.Name, typeName(t), other.String()))
				}
			}
		}
		if len(found) == 0 {
			return pass("%s has public addresses only", p.ehlo())
		}
		return fail(r, "public only", "%s has an address that is not: %s", p.ehlo(), list(found))
	},
}

var ehloNotAlias = &Check{
	ID:       "EHLO-NOT-ALIAS",
	Scope:    ScopeSource,
	Title:    "the EHLO name is no alias",
	Severity: Recommended,
	Change:   "x",
	Why:      "the greeting is to be the primary name of the host; what is checked of an alias differs between receivers",
	Ref:      "RFC 5321 section 2.3.5",
	Needs:    []string{"EHLO-PUBLIC-NAME"},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.ask(ctx, p.ehlo(), dns.TypeA)
		switch {
		case len(a.Chain) > 0:
			return fail(p.unaliasing(ctx, a, true), "an address record", "%s is an alias of %s", p.ehlo(), a.Chain[0])
		case !definite(a):
			return unknown("an address record", a)
		}
		return pass("%s is no alias", p.ehlo())
	},
}

var ehloMatchesPTR = &Check{
	ID:       "EHLO-MATCHES-PTR",
	Scope:    ScopeSource,
	Title:    "the EHLO name is the address's name",
	Severity: Mandatory,
	Change:   "=",
	Why:      "GMX wants the reverse name as the greeting, Fastmail and many filters compare the two",
	Ref:      "RFC 1912 section 2.1; RFC 5321 section 4.1.4",
	Needs:    []string{"PTR-EXISTS", "EHLO-PUBLIC-NAME"},
	Run: func(ctx context.Context, p *Probe) Result {
		a, ehlo := p.names(ctx), p.ehlo()
		if slices.Contains(hosts(a), ehlo) {
			return pass("EHLO and PTR are both %s", ehlo)
		}
		sev, open := p.mismatch(ctx, a)
		if open != nil {
			return unknown(ehlo, open)
		}
		r := p.renaming(ctx, a, Replace)
		for _, f := range p.forwards(ctx) {
			if f.confirms(p.addr()) {
				r.Setting = fmt.Sprintf("ehlo = %q", f.name)
				r.Steps = append(r.Steps, "The setting is the other way: only if that name is yours.")
				break
			}
		}
		res := fail(r, ehlo, "PTR %s, EHLO %s", list(hosts(a)), ehlo)
		res.Severity = sev
		return res
	},
}

// mismatch is how much it matters that the names differ, by Policy.EHLOMatch. The
// looser policies ask of the EHLO name that it points here all the same, and may
// come upon a question without an answer.
func (p *Probe) mismatch(ctx context.Context, ptr *dns.Answer) (Severity, *dns.Answer) {
	loose := p.Plan.Policy.EHLOMatch == "forward"
	if p.Plan.Policy.EHLOMatch == "org" {
		loose = slices.ContainsFunc(p.valid(ptr), func(n string) bool { return organisation(n) == organisation(p.ehlo()) })
	}
	if !loose {
		return Mandatory, nil
	}
	a := p.ask(ctx, p.ehlo(), family(p.addr()))
	switch {
	case holds(a, p.addr()):
		return Recommended, nil
	case !definite(a):
		return "", a
	}
	return Mandatory, nil
}

// organisation is the name that was registered, as far as a list can tell.
func organisation(name string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return org
	}
	return name
}

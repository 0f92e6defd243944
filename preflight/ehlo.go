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
	Words: Words{
		How:      "Looks whether the source has `ehlo`. The machine's own name is never taken in its place. The name of the address is suggested if it leads back, else mail under the first sender domain.",
		Found:    "no `ehlo` for source wan4",
		Expected: "a name",
		Mend:     `ehlo = "mail.example.net"`,
		Ask:      "you, under the [[source]]",
		Quote:    "The argument clause contains the fully-qualified domain name of the SMTP client, if one is available.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.Source.EHLO != "" {
			return pass("EHLO %s", p.Source.EHLO)
		}
		return fail(p.naming(ctx), "a name", "no `ehlo` for source %s", p.Source.Name)
	},
}

// naming suggests an EHLO name: that of the address if it leads back to it.
func (p *Probe) naming(ctx context.Context) Remedy {
	r := Remedy{Title: "Set the EHLO name of " + p.Source.Name, Who: "you, under " + sourceNamed(p.Source), Under: sourceNamed(p.Source)}
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
	if name == "" {
		r.Steps = []string{"Choose a name in a domain of yours, point it to the address, and have the address named so."}
		return r
	}
	r.Setting = fmt.Sprintf("ehlo = %q", name)
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
	Words: Words{
		How:      "Looks at the letters of the name: it needs a domain, and labels of letters, digits and inner hyphens. For a name that fails no question is sent. An address in brackets is left to EHLO-PUBLIC-NAME.",
		Found:    `"mail" has no domain`,
		Expected: "fully qualified",
		Mend:     `ehlo = "mail.example.net"`,
		Ask:      "you, under the [[source]]",
		Quote:    "Only resolvable, fully-qualified domain names (FQDNs) are permitted when domain names are used in SMTP.",
	},
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
	Words: Words{
		How:      "Fails for an address in place of a name, for a name under a top level that public DNS never holds (.local, .lan, .internal, .test and others), and for the names of the example configuration. No question is sent.",
		Found:    "mail.corp.local: .local is never in public DNS",
		Expected: "a public name",
		Mend:     `ehlo = "mail.example.net"`,
		Ask:      "you, under the [[source]]",
		Quote:    "Only resolvable, fully-qualified domain names (FQDNs) are permitted when domain names are used in SMTP.",
	},
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
	Words: Words{
		How:      "Asks for the addresses of the EHLO name: A for an IPv4 source, AAAA for an IPv6 one, following aliases. The source's address has to be among them; others beside it do no harm. A definite answer without it fails, none at all leaves it unknown.",
		Found:    "mail.example.net is 192.0.2.99",
		Expected: "contains 192.0.2.25",
		Mend:     "mail.example.net. 3600 IN A 192.0.2.25",
		Do:       Replace,
		Ask:      "whoever runs the zone of the EHLO name",
		Quote:    "An SMTP server MAY verify that the domain name argument in the EHLO command actually corresponds to the IP address of the client.",
		Basis:    "The same section forbids to refuse mail for that alone; receivers do so all the same.",
	},
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
	Ref:      "RFC 1918 section 3; RFC 6890 section 2.2.2",
	Needs:    []string{"EHLO-PUBLIC-NAME"},
	Words: Words{
		How:       "Asks for A and AAAA of the EHLO name. An address among them that is not public fails it; either question without answer leaves it unknown.",
		Found:     "mail.example.net is 10.0.0.5 too, private address space (RFC 1918)",
		Expected:  "public only",
		Mend:      "mail.example.net. 3600 IN A 10.0.0.5",
		Do:        Remove,
		Ask:       "whoever runs the zone of the EHLO name",
		Quote:     "Indirect references to such addresses should be contained within the enterprise.",
		Receivers: "None is known to refuse for it alone; one that picks this address finds another machine or none.",
	},
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
					found = append(found, fmt.Sprintf("%s too, %s", other, what))
					r.Records = append(r.Records, record(Remove, a.Name, typeName(t), other.String()))
				}
			}
		}
		if len(found) == 0 {
			return pass("%s has public addresses only", p.ehlo())
		}
		return fail(r, "public only", "%s is %s", p.ehlo(), list(found))
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
	Words: Words{
		How:       "Asks for A of the EHLO name and looks whether the way to it begins with a CNAME, which fails.",
		Found:     "mail.example.net is an alias of srv1.example.net",
		Expected:  "an address record",
		Mend:      "mail.example.net. 3600 IN A 192.0.2.25",
		Do:        Replace,
		Ask:       "whoever runs the zone of the EHLO name",
		Quote:     "The domain name given in the EHLO command MUST be either a primary host name (a domain name that resolves to an address RR) or, if the host has no name, an address literal ...",
		Receivers: "None is known to refuse for it alone.",
	},
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
	Ref:      "RFC 5321 section 4.1.4",
	Needs:    []string{"PTR-EXISTS", "EHLO-PUBLIC-NAME"},
	Words: Words{
		How:       "Compares the EHLO name with every name of the address, label by label, in whichever case. One that is equal passes, and where none is it fails. How much that counts is said by `ehlo_match`: in full (strict); as a recommendation where the EHLO name leads to the address (forward), and where it is of one organisation with a PTR name as well (org).",
		Found:     "PTR gw.isp.example.org, EHLO mail.example.net",
		Expected:  "mail.example.net",
		Mend:      "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
		Do:        Replace,
		Ask:       "whoever runs the reverse zone; for the EHLO name you",
		Basis:     `It lets a server compare the name with the address; that both are of one name no standard demands. GMX's e-mail policy: "The Reverse DNS entry should be used as the HELO when sending emails."`,
		Receivers: "GMX, web.de and Fastmail ask for it; filters score it.",
		Varies:    `recommended under ehlo_match = "forward", or "org" where both names are of one organisation, as long as the EHLO name leads to the address`,
	},
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
			if score, _ := generic(p.addr(), f.name); f.confirms(p.addr()) && score < genericFrom { // a name that can be ours
				r.Setting, r.Under = fmt.Sprintf("ehlo = %q", f.name), sourceNamed(p.Source)
				r.Instead = "only if " + f.name + " is a name of yours"
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

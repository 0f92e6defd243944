package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

var observedChecks = []*Check{egressObserved, egressStable}

var egressObserved = &Check{
	ID:       "EGRESS-OBSERVED",
	Scope:    ScopeSource,
	Title:    "mail servers see the address that we think we have",
	Severity: Mandatory,
	Change:   "v",
	Why:      "everything else is judged by this address: if mail leaves from another, receivers judge that one",
	Needs:    []string{"EGRESS-PUBLIC"},
	Here:     true,
	Outward:  true,
	Words: Words{
		How:       `Collects for 24 hours what mail servers say of us in their answers to EHLO, Gmail and Outlook.com among them, and with discovery = "active" also what STUN and DNS services say. One party is never believed. Two that agree on another address than ours fail it, one that sees ours passes it, and otherwise it is skipped.`,
		Found:     "gmail.com and outlook.com saw 198.51.100.7",
		Expected:  "192.0.2.25",
		Mend:      `public = "198.51.100.7"`,
		Ask:       "you, or whoever runs the router",
		Basis:     "No standard demands it. Everything else here is asked for this address.",
		Receivers: "All judge the address that they see.",
		Varies:    "recommended where no mail server has said so, only services that are asked over UDP",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		switch {
		case !p.Plan.discovers():
			return skip(`discovery = "off"`)
		}
		p.inquire(ctx)
		return p.compare(p.run.seen.views(p.Source.key(), time.Now()))
	},
}

// compare holds what others saw against what we think.
func (p *Probe) compare(vs []view) Result {
	ours := p.addr()
	var agree, differ []string
	var others []view
	asked, mail := false, false
	for _, v := range vs {
		says := fmt.Sprintf("%s saw %s", both(v.operators), v.addr)
		mail = mail || v.mail
		if v.addr == ours {
			agree = append(agree, v.operators...)
			continue
		}
		others, asked = append(others, v), asked || v.asked
		differ = append(differ, says)
	}
	all := list(differ)
	switch {
	case len(others) == 0 && len(agree) > 0:
		return pass("%s saw %s", both(agree), ours)
	case len(vs) == 0:
		return skip("no mail server has said yet which address it sees")
	}
	contradicted := len(agree) == 0 && len(others) > 1 && asked
	for _, v := range others {
		contradicted = contradicted || v.believed()
	}
	if !contradicted {
		return skip("one party is not believed: " + all)
	}
	res := fail(p.rerouting(others), ours.String(), "%s", all)
	if !mail {
		res.Severity = Recommended // UDP may leave by another address than mail
	}
	return res
}

// rerouting has mail leave from the address that DNS knows, or has DNS know the other.
func (p *Probe) rerouting(others []view) Remedy {
	ours := p.addr()
	r := Remedy{
		Title: fmt.Sprintf("Have mail of %s leave from %s", p.Source.Name, ours),
		Who:   "you, or whoever runs the router",
		Steps: []string{fmt.Sprintf("The address translation for connections to port 25 (SNAT, policy routing) has to give them %s.", ours)},
	}
	if len(others) == 1 {
		r.Setting, r.Under = fmt.Sprintf("public = %q", others[0].addr), sourceNamed(p.Source)
		r.Instead = "if the address seen is to stay (PTR, A and SPF have to be made anew for it)"
	} else {
		r.Steps = append(r.Steps, "It leaves from several addresses: each connection may get another one.")
	}
	return r
}

// inquire asks the world about the source.
func (p *Probe) inquire(ctx context.Context) Round {
	for i := range p.Plan.Sources {
		if &p.Plan.Sources[i] == p.Source {
			return p.run.inquire(ctx, i)
		}
	}
	return Round{}
}

var egressStable = &Check{
	ID:       "EGRESS-STABLE",
	Scope:    ScopeSource,
	Title:    "the address stays the same",
	Severity: Recommended,
	Change:   "x",
	Why:      "an address that changes has no name, no reputation and no place in SPF for as long as it lasts",
	Ref:      "RFC 8981 section 3.4",
	Needs:    []string{"EGRESS-KNOWN"},
	Here:     true,
	Words: Words{
		How:       "Asks the system whether the bind address is a temporary IPv6 address, which fails. Then looks for other addresses that this source has sent from in the last 30 days, by the relay's own record: each of them fails it.",
		Found:     "it is 192.0.2.25, and was 198.51.100.9 until 2026-11-18",
		Expected:  "one address in 30 days",
		Mend:      `bind = "2001:db8::25"`,
		Ask:       "the provider of the connection; for a temporary address you",
		Quote:     "When a temporary address becomes deprecated, a new one MUST be generated.",
		Receivers: "Orange asks for a static address; all lose what they knew of the old one.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		if bind, err := netip.ParseAddr(p.Source.Bind); err == nil && bind.Is6() && p.temporary(bind) {
			return fail(Remedy{
				Title:   "Bind " + p.Source.Name + " to an address that stays",
				Who:     "you",
				Setting: `bind = "2001:db8::25"`,
				Under:   sourceNamed(p.Source) + ", a static address of the machine in place of this one",
				Steps: []string{
					"With systemd-networkd: IPv6PrivacyExtensions=no.",
				},
			}, "a stable address", "%s is an IPv6 privacy address, and will be replaced", bind)
		}
		var past []string
		seen := map[netip.Addr]bool{p.addr(): true}
		for _, u := range p.run.seen.used(time.Now()) {
			if u.Source == p.Source.configured() && !seen[u.Addr] {
				seen[u.Addr] = true
				past = append(past, fmt.Sprintf("%s until %s", u.Addr, u.Last.UTC().Format(time.DateOnly)))
			}
		}
		if len(past) == 0 {
			return pass("%s has not changed", p.addr())
		}
		return fail(Remedy{
			Title: "Keep one address for " + p.Source.Name,
			Who:   "the provider of the connection",
			Steps: []string{"Ask for a static address, or send through a smart host ([[smarthost]]). Thirty days after the last change this passes by itself."},
		}, "one address in 30 days", "it is %s, and was %s", p.addr(), list(past))
	},
}

func (p *Probe) temporary(a netip.Addr) bool {
	if p.run.out.Temporary != nil {
		return p.run.out.Temporary(a)
	}
	return temporaryAddr(a)
}

var ehloStable = &Check{
	ID:       "EHLO-STABLE",
	Scope:    ScopeSource,
	Title:    "the address greets with one name",
	Severity: Recommended,
	Change:   "x",
	Why:      "GMX puts off mail of an address that calls itself now this, now that (450)",
	Needs:    []string{"EGRESS-PUBLIC", "EHLO-PUBLIC-NAME"},
	Here:     true,
	Words: Words{
		How:       "Gathers the EHLO names of all sources with this address, and those that the relay used from it in the last 30 days by its own record. One passes, more fail.",
		Found:     "2 names for 192.0.2.25: mail.example.net, old.example.net (until 2026-11-24)",
		Expected:  "1",
		Mend:      `ehlo = "mail.example.net"`,
		Ask:       "you, under [[source]]",
		Basis:     "No standard demands it.",
		Receivers: "GMX answers 450 to an address whose EHLO name changes.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		names, keep := []string{p.ehlo()}, ""
		seen := map[string]bool{p.ehlo(): true}
		for i := range p.Plan.Sources {
			o := &p.Plan.Sources[i]
			name, err := dns.Canonical(o.EHLO)
			if err != nil || p.Plan.egress(o) != p.addr() {
				continue
			}
			keep = cmp.Or(keep, name) // that of the first, for all of them
			if !seen[name] {
				seen[name] = true
				names = append(names, fmt.Sprintf("%s (%s)", name, o.Name))
			}
		}
		for _, u := range p.run.seen.used(time.Now()) {
			if u.Addr == p.addr() && !seen[u.EHLO] {
				seen[u.EHLO] = true
				names = append(names, fmt.Sprintf("%s (until %s)", u.EHLO, u.Last.UTC().Format(time.DateOnly)))
			}
		}
		if len(names) == 1 {
			return pass("%s greets as %s", p.addr(), p.ehlo())
		}
		return fail(Remedy{
			Title:   fmt.Sprintf("Keep one EHLO name for %s", p.addr()),
			Who:     "you, under [[source]]",
			Setting: fmt.Sprintf("ehlo = %q", cmp.Or(keep, p.ehlo())),
			Under:   "every [[source]] of this address",
			Steps:   []string{"A name that was used before is forgotten thirty days after its last mail."},
		}, "1", "%d names for %s: %s", len(names), p.addr(), strings.Join(names, ", "))
	},
}

package preflight

import (
	"context"
	"fmt"
	"slices"

	"smtprelay/preflight/dns"
)

var zoneChecks = []*Check{dnsView, dnsAuthConsistent}

var dnsView = &Check{
	ID:       "DNS-VIEW",
	Scope:    ScopeSource,
	Title:    "the resolver sees the EHLO name as the world does",
	Severity: Recommended,
	Change:   "x",
	Why:      "receivers see the public view; what a resolver with a view of its own says proves nothing about theirs",
	Ref:      "RFC 9499 section 6",
	Needs:    []string{"EHLO-PUBLIC-NAME"},
	Final:    true,
	Words: Words{
		How:       "Asks for A and AAAA of the EHLO name twice: through the resolver, and at the zone's own servers. It fails where the resolver answers with authority of its own, or with an address that is not public, and the others say something else. A mere difference is an old answer, and passes.",
		Found:     "A of mail.example.net: inside 10.0.0.5, outside 192.0.2.25 (split view)",
		Expected:  "same",
		Mend:      `servers = ["127.0.0.1:53"]`,
		Ask:       "whoever runs this machine and its network; the setting goes under [dns]",
		Basis:     "It demands nothing, but has the words for it: view, split DNS.",
		Receivers: "None sees our view.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Asker == nil {
			return skip("authoritative servers are not asked")
		}
		old := ""
		for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
			inside := p.ask(ctx, p.ehlo(), t)
			outside, _ := p.run.zones.memo.Query(ctx, p.ehlo(), t)
			switch {
			case !definite(inside):
				return unknown("same", inside)
			case !definite(outside):
				return skip(outcome(outside))
			case sameWord(inside, outside):
			case len(outside.Mute) > 0:
				return skip(unheard(outside))
			case p.ownView(inside, outside):
				r := betterResolver("Ask a resolver that has the public view")
				r.Steps = []string{fmt.Sprintf("dig %s %s", p.ehlo(), t), fmt.Sprintf("dig %s %s +trace", p.ehlo(), t)}
				return fail(r, "same", "%s of %s: inside %s, outside %s (split view)", t, p.ehlo(), outcome(inside), outcome(outside))
			default:
				old = fmt.Sprintf(" (cached answers still old, up to %s)", spoken(max(inside.TTL, inside.NegTTL)))
			}
		}
		return pass("inside and outside are the same%s", old)
	},
}

// ownView tells a resolver's view of its own from an old answer in its cache: it
// answers with authority, or with an address that the world has no use for.
func (p *Probe) ownView(inside, outside *dns.Answer) bool {
	return inside.Auth || slices.ContainsFunc(inside.Records, func(r dns.RR) bool {
		_, special := p.Plan.special(r.Addr)
		return special && !holds(outside, r.Addr)
	})
}

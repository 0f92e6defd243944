package preflight

import (
	"context"
	"fmt"
)

var ipv6Checks = []*Check{ipv6Source}

var ipv6Source = &Check{
	ID:       "IPV6-SOURCE",
	Scope:    ScopeSource,
	Title:    "the IPv6 source can be used",
	Severity: Informational,
	Change:   "x",
	Why:      "Gmail and Microsoft 365 are stricter over IPv6 than over IPv4: a source that is not in order is better left off",
	Needs:    []string{"EGRESS-KNOWN"},
	Words: Words{
		How:      "Looks at the findings of an IPv6 source. If a mandatory one fails or is unknown the source is switched off, IPv4 goes on, and this names the first of them. It passes otherwise, and is skipped for IPv4. IPv6 is never used without a [[source]] of its own.",
		Found:    "IPv6 off: PTR-EXISTS",
		Expected: "all mandatory checks of the source pass",
		Mend:     "Repair IPv6 from 2001:db8::25, or leave it off",
		Ask:      "you",
		Basis:    "No standard demands it; it is how the relay keeps to what Gmail and Microsoft 365 ask of IPv6.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		addr := p.addr()
		if addr.Unmap().Is4() {
			return skip("an IPv4 source")
		}
		for _, f := range p.earlier() {
			if f.Severity == Mandatory && (f.Status == Fail || f.Status == Unknown) {
				return fail(Remedy{
					Title: fmt.Sprintf("Repair IPv6 from %s, or leave it off", addr),
					Who:   "you",
					Steps: []string{
						"Repair what " + f.Check.ID + " says; until then nothing leaves from this address.",
						"Or take the [[source]] named " + p.Source.Name + " out of the configuration.",
					},
				}, "all mandatory checks of the source pass", "IPv6 off: %s", f.Check.ID)
			}
		}
		return pass("mail may leave from %s", addr)
	},
}

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
	Ref:      "RFC 6724 section 5",
	Needs:    []string{"EGRESS-KNOWN"},
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

package preflight

import (
	"context"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

var hostChecks = []*Check{dnsReachable}

var dnsReachable = &Check{
	ID:       "DNS-REACHABLE",
	Scope:    ScopeHost,
	Title:    "a resolver answers",
	Severity: Mandatory,
	Change:   "=",
	Why:      "without DNS nothing can be said about a receiver or about ourselves, and no mail can be routed",
	Ref:      "RFC 5321 section 5.1",
	Words: Words{
		How:       "Asks the resolvers for the name servers of the root, twice all round, 8 s at most. Any definite answer passes. Silence makes this unknown, never a failure, and every other check waits for it.",
		Found:     "no resolver answered (SERVFAIL)",
		Expected:  "an answer",
		Mend:      `servers = ["127.0.0.1:53"]`,
		Ask:       "whoever runs this machine and its network; the setting goes under [dns]",
		Quote:     "... a DNS lookup MUST be performed to resolve the domain name ...",
		Receivers: "None: without DNS no mail finds its way to them.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.ask(ctx, ".", dns.TypeNS)
		if definite(a) {
			return pass("%s answers", a.Server)
		}
		r := unknown("an answer", a)
		r.Found = fmt.Sprintf("%s (%s)", p.nobody(), outcome(a))
		r.Remedy = Remedy{
			Title:   "Reach a resolver",
			Who:     "whoever runs this machine and its network",
			Setting: ownResolver,
			Steps:   []string{"dig . ns"},
		}
		return r
	},
}

// nobody names the resolvers of which none gave an answer to use.
func (p *Probe) nobody() string {
	var names []string
	if p.run.out.Resolvers != nil {
		for _, r := range p.run.out.Resolvers() {
			names = append(names, strings.TrimSuffix(r.String(), ":53"))
		}
	}
	switch len(names) {
	case 0:
		return "no resolver answered"
	case 1:
		return names[0] + " gave no answer"
	}
	return "none of " + list(names) + " gave an answer"
}

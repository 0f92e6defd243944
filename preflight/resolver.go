package preflight

import (
	"context"
	"fmt"

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
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.ask(ctx, ".", dns.TypeNS)
		if definite(a) {
			return pass("%s answers", a.Server)
		}
		r := unknown("an answer", a)
		r.Found = fmt.Sprintf("no resolver answered (%s)", outcome(a))
		r.Remedy = Remedy{
			Title:   "Reach a resolver",
			Who:     "whoever runs this machine and its network",
			Setting: `[dns] servers = ["127.0.0.1"]`,
			Steps:   []string{"dig . ns"},
		}
		return r
	},
}

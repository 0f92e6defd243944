package preflight

import (
	"context"
	"slices"

	"smtprelay/preflight/dns"
)

var senderSOA = &Check{
	ID:       "SENDER-SOA",
	Scope:    ScopeSender,
	Title:    "the sender's domains exist to whoever asks for their SOA",
	Severity: Recommended,
	Change:   "x",
	Why:      "Yahoo asks for the SOA of the domains in MAIL FROM and From, and refuses what does not exist; a zone of its own is not wanted, an answer is",
	Needs:    []string{"SENDER-RESOLVES"},
	Words: Words{
		How:      "Asks for the SOA of the domains of MAIL FROM and From. Whatever exists passes, a zone of its own is not needed. NXDOMAIN and an alias that leads nowhere fail.",
		Found:    "gone.example.net does not exist (NXDOMAIN)",
		Expected: "NOERROR",
		Mend:     "gone.example.net. 3600 IN MX 10 mx.gone.example.net.",
		Do:       Add,
		Ask:      "whoever runs the zone of the domain",
		Basis:    "No standard demands it. Yahoo's list of error codes says that it asks for SOA, and answers 451 or 554 where that fails.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		const expected = "NOERROR"
		names := slices.Compact([]string{p.envelope(), p.Sender.Domain})
		for _, name := range names {
			switch a := p.ask(ctx, name, dns.TypeSOA); a.Outcome {
			case dns.Temp:
				return unknown(expected, a)
			case dns.NoName, dns.Broken:
				return fail(p.receiving(a, Add), expected, "%s does not exist (%s)", name, outcome(a))
			}
		}
		return pass("%s answered", list(names))
	},
}

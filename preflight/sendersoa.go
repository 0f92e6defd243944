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
	Ref:      "RFC 5321 section 2.3.5",
	Needs:    []string{"SENDER-RESOLVES"},
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

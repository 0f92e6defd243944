package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// What RFC 7208 section 3.4 has room for.
const (
	spfText   = 450 // name and text
	spfAnswer = 512 // a whole answer over UDP, RFC 1035 section 4.2.1
)

var spfSize = &Check{
	ID:       "SPF-SIZE",
	Scope:    ScopeSender,
	Title:    "the SPF record fits into a small answer",
	Severity: Recommended,
	Change:   "x",
	Why:      "an answer over 512 octets needs EDNS or TCP, and a firewall in between that lets neither through makes SPF a temporary error",
	Ref:      "RFC 7208 section 3.4",
	Needs:    []string{"SPF-SINGLE"},
	Words: Words{
		How:       "Adds up name and record, which are to have 450 octets at most, and all TXT records at the name as one answer, which is to have 512. Either one beyond fails; the terms that take the most room are named.",
		Found:     "474 octets of name and record",
		Expected:  "<=450",
		Mend:      "Shorten the SPF record of example.net",
		Ask:       "whoever runs the zone of the domain",
		Quote:     "The published SPF record for a given domain name SHOULD remain small enough that the results of a query for it will fit within 512 octets.",
		Receivers: "Those behind a firewall that lets neither EDNS nor TCP through.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		own := len(n.Domain) + len(n.Records[0])
		whole := answerSize(n.Answer)
		expected, found := fmt.Sprintf("<=%d", spfText), fmt.Sprintf("%d octets of name and record", own)
		r := n.sparing("Shorten the SPF record of " + n.Domain)
		switch {
		case own > spfText:
			r.Steps = append([]string{"Drop what no longer sends for you, name networks instead of addresses, or move terms to a record of their own and include that."}, longest(n.Terms)...)
		case whole > spfAnswer:
			expected, found = fmt.Sprintf("<=%d", spfAnswer), fmt.Sprintf("%d octets of TXT in one answer, %d of them the SPF record", whole, len(n.Records[0]))
			r.Title = "Make room among the TXT records of " + n.Domain
			r.Steps = []string{fmt.Sprintf("%d other TXT records stand beside it: delete the tokens of services that have long been verified.", len(n.Answer.Records)-1)}
		default:
			return pass("%d octets, %d in the whole answer", own, whole)
		}
		if n.fits(p.better(ctx, n).Text) {
			r = p.spfRemedy(ctx, n)
		}
		return fail(r, expected, "%s", found)
	},
}

// answerSize is what a TXT answer takes on the wire without EDNS: header, question,
// and each record with its name compressed, its strings of 255 octets at most.
func answerSize(a *dns.Answer) int {
	size := 12 + len(a.Question) + 2 + 4
	for _, c := range a.Chain {
		size += 12 + len(c) + 2
	}
	for _, r := range a.Records {
		size += 12 + len(r.Text) + len(r.Text)/256 + 1
	}
	return size
}

// longest are the terms that take the most room.
func longest(terms spfRecord) (all []string) {
	terms = slices.Clone(terms)
	slices.SortStableFunc(terms, func(a, b spfTerm) int { return len(b.Text) - len(a.Text) })
	for _, t := range terms[:min(3, len(terms))] {
		all = append(all, fmt.Sprintf("%s takes %d octets", t.Text, len(t.Text)+1))
	}
	return all
}

var spfLeftovers = &Check{
	ID:       "SPF-LEFTOVERS",
	Scope:    ScopeSender,
	Title:    "no records of SPF's forerunners are left",
	Severity: Informational,
	Change:   "x",
	Why:      "nobody reads type SPF and Sender ID any more; a record that nobody reads is one that nobody corrects",
	Ref:      "RFC 7208 section 3.1",
	Needs:    []string{"SPF-SENDER-PRESENT"},
	Words: Words{
		How:       "Asks for TXT and for the old type SPF (99) of the MAIL FROM domain. A text that begins with spf2.0/ (Sender ID), or a record of that type, fails. No answer for the old type skips it.",
		Found:     "spf2.0/pra ip4:192.0.2.25 -all; type SPF: v=spf1 ip4:198.51.100.1 -all",
		Expected:  "none",
		Mend:      `example.net. 3600 IN TXT "spf2.0/pra ip4:192.0.2.25 -all"`,
		Do:        Remove,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "SPF records MUST be published as a DNS TXT (type 16) Resource Record (RR) [RFC1035] only.",
		Receivers: "None reads them any more.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		txt, old := p.ask(ctx, p.envelope(), dns.TypeTXT), p.ask(ctx, p.envelope(), dns.TypeSPF)
		r := Remedy{Title: "Delete the old SPF records of " + p.envelope(), Who: "whoever runs the zone of " + txt.Name}
		var found []string
		for _, rr := range txt.Records {
			if strings.HasPrefix(compact(rr.Text), "spf2.0/") {
				found = append(found, rr.Text)
				r.Records = append(r.Records, record(Remove, txt.Name, "TXT", Quote(rr.Text)))
			}
		}
		for _, rr := range old.Records {
			found = append(found, "type SPF: "+rr.Text)
			r.Records = append(r.Records, record(Remove, old.Name, "SPF", Quote(rr.Text)))
		}
		switch {
		case len(found) > 0:
			return fail(r, "none", "%s", strings.Join(found, "; "))
		case !definite(txt):
			return unknown("none", txt)
		case !definite(old): // servers that choke on the old type say nothing of anything else
			return skip("no answer for type SPF")
		}
		return pass("none")
	},
}

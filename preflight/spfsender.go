package preflight

import (
	"context"
	"fmt"
	"strings"

	"blitiri.com.ar/go/spf"
)

var spfSenderChecks = []*Check{spfSenderPresent, spfSenderPass, spfSingle, spfSyntax, spfTargets,
	spfLookupCount, spfVoidCount, spfNotPermissive, spfNoPTR, spfSize, spfLeftovers}

var spfSenderPresent = &Check{
	ID:       "SPF-SENDER-PRESENT",
	Scope:    ScopeSender,
	Title:    "the sender domain has an SPF record",
	Severity: Mandatory,
	Change:   "=",
	Why:      "Gmail and Yahoo refuse mail without SPF or DKIM; the record names the servers that may send for a domain and keeps bounces of forged mail away",
	Ref:      "RFC 7208 section 3",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:      `Asks for TXT of the MAIL FROM domain and looks for a record that begins with exactly v=spf1. A definite answer without one fails; a text that only resembles one is shown. spf = "off" skips it.`,
		Found:    "example.net has no SPF record (NODATA)",
		Expected: "one",
		Mend:     `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
		Do:       Add,
		Ask:      "whoever runs the zone of the domain",
		Quote:    `An SPF record is a DNS record that declares which hosts are, and are not, authorized to use a domain name for the "HELO" and "MAIL FROM" identities.`,
		Varies:   `recommended under spf = "warn"`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.Plan.Policy.SPF == "off" {
			return skip(`spf = "off"`)
		}
		if len(p.spfSources()) == 0 {
			return skip("no source has a public address")
		}
		n := p.spfTree(ctx, p.envelope())
		switch {
		case len(n.Records) > 0:
			return pass("%s", n.Records[0])
		case !definite(n.Answer):
			r := unknown("one", n.Answer)
			r.Severity = p.spfSeverity()
			return r
		}
		f := fail(p.spfRemedy(ctx, n), "one", "%s has no SPF record (%s)", n.Domain, noRecord(n.Answer))
		if len(n.Near) > 0 {
			f.Found = fmt.Sprintf("%s has no SPF record: %q does not begin with exactly v=spf1", n.Domain, n.Near[0])
		}
		f.Severity = p.spfSeverity()
		return f
	},
}

var spfSenderPass = &Check{
	ID:       "SPF-SENDER-PASS",
	Scope:    ScopePair,
	Title:    "the sender domain's SPF record lets the source pass",
	Severity: Mandatory,
	Change:   "=",
	Why:      "Gmail (5.7.26, 5.7.27), Microsoft 365 (5.7.23), GMX, Orange and Mimecast refuse mail from a server that the sender's domain does not name",
	Ref:      "RFC 7208 section 2.4",
	Needs:    []string{"SPF-SENDER-PRESENT", "EGRESS-PUBLIC"},
	Words: Words{
		How:      "Computes SPF (check_host of RFC 7208) as a receiver does, for each source's address and the MAIL FROM domain, with the source's EHLO name. Only pass passes; fail, softfail, neutral and permerror all fail, temperror leaves it unknown. The remedy is the record that stands, with what is missing put in.",
		Found:    "softfail for 192.0.2.25: no term before ~all matches",
		Expected: "pass",
		Mend:     `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ip4:198.51.100.0/24 ~all"`,
		Do:       Replace,
		Ask:      "whoever runs the zone of the domain",
		Quote:    `SPF verifiers MUST check the "MAIL FROM" identity if a "HELO" check either has not been performed or has not reached a definitive policy result ...`,
		Varies:   `recommended under spf = "warn"`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		addr, domain := p.addr(), p.envelope()
		res := p.evaluate(ctx, addr, p.Source.EHLO, domain, false)
		var r Result
		switch res.Result {
		case spf.Pass:
			return pass("pass for %s (%s)", addr, p.because(ctx, domain, addr, res))
		case spf.TempError:
			r = p.undecided(domain, res)
		default:
			r = fail(p.spfRemedy(ctx, p.spfTree(ctx, domain)), "pass", "%s for %s: %s", res.Result, addr, p.because(ctx, domain, addr, res))
		}
		r.Severity = p.spfSeverity()
		return r
	},
}

var spfSingle = &Check{
	ID:       "SPF-SINGLE",
	Scope:    ScopeSender,
	Title:    "the sender domain has one SPF record",
	Severity: Mandatory,
	Change:   "=",
	Why:      "two records count as an error, whatever they say",
	Ref:      "RFC 7208 section 4.5",
	Needs:    []string{"SPF-SENDER-PRESENT"},
	Words: Words{
		How:       "Counts the TXT records of the MAIL FROM domain that begin with v=spf1. More than one fails: evaluators give permerror whatever they say. The remedy merges them into one.",
		Found:     "2 SPF records, which is permerror",
		Expected:  "1",
		Mend:      `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:_spf.example.org -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     `If the resultant record set includes more than one record, check_host() produces the "permerror" result.`,
		Receivers: "Whoever checks SPF: to them the domain has none that is of use.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		if len(n.Records) > 1 {
			return fail(p.spfRemedy(ctx, n), "1", "%d SPF records, which is permerror", len(n.Records))
		}
		return pass("%s has one SPF record", n.Domain)
	},
}

var spfSyntax = &Check{
	ID:       "SPF-SYNTAX",
	Scope:    ScopeSender,
	Title:    "the SPF record can be parsed",
	Severity: Mandatory,
	Change:   "=",
	Why:      "one bad term makes the whole record an error, even if it stands behind the one that matches",
	Ref:      "RFC 7208 section 4.6",
	Needs:    []string{"SPF-SINGLE"},
	Words: Words{
		How:       "Parses the record whole, past the term that matches. Each term that cannot be read is named with its place, and for common slips what was meant.",
		Found:     `term 1 (octet 8) "ipv4:192.0.2.25": unknown mechanism`,
		Expected:  "valid",
		Mend:      `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     `The syntax of the record is validated first, and if there are any syntax errors anywhere in the record, check_host() returns immediately with the result "permerror" ...`,
		Receivers: "Whoever checks SPF.",
		Varies:    "recommended where all that is wrong is read as a modifier nobody knows (`a=mail.example.net`), which evaluators pass over",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		var found, meant []string
		mild := true
		for i, t := range n.Terms {
			if t.Fault == "" {
				continue
			}
			found = append(found, fmt.Sprintf("term %d (octet %d) %q: %s", i+1, t.At+1, t.Text, t.Fault))
			if t.Fixed != "" {
				meant = append(meant, fmt.Sprintf("%s was meant: %s", t.Text, t.Fixed))
			}
			mild = mild && t.Mild
		}
		if len(found) == 0 {
			return pass("%d terms, all valid", len(n.Terms))
		}
		r := p.spfRemedy(ctx, n)
		r.Steps = append(r.Steps, meant...)
		f := fail(r, "valid", "%s", strings.Join(found, "; "))
		if mild {
			f.Severity = Recommended
		}
		return f
	},
}

var spfTargets = &Check{
	ID:       "SPF-TARGETS",
	Scope:    ScopeSender,
	Title:    "whatever the SPF record includes has a record",
	Severity: Mandatory,
	Change:   "v",
	Why:      "including a domain without a record is an error of the whole evaluation",
	Ref:      "RFC 7208 section 6.1; RFC 7208 section 5.2",
	Needs:    []string{"SPF-SINGLE"},
	Words: Words{
		How:       "Looks up the target of every include and redirect, and of those within. Each needs exactly one record, and none may lead back to where it came from. A definite lack fails; a target without answer leaves it unknown.",
		Found:     "include:nospf.example.org has no SPF record (NXDOMAIN)",
		Expected:  "one record each",
		Mend:      `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain; for what lies within, that domain",
		Quote:     `... if no SPF record is found, or if the <target-name> is malformed, the result is a "permerror" rather than "none".`,
		Receivers: "Whoever checks SPF.",
		Varies:    "recommended where the fault lies behind the term that matches our addresses, so that it is not reached yet",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		faults, open := n.faults()
		if len(faults) == 0 {
			if open != nil {
				return unknown("one record each", open)
			}
			if len(n.Kids) == 0 {
				return pass("it includes nothing")
			}
			return pass("%s", n.tree())
		}
		r := p.spfRemedy(ctx, n)
		if len(p.dead(ctx, n)) == 0 { // the fault is in somebody else's record
			r = Remedy{
				Title: "Have a record that " + n.Domain + " includes put right",
				Who:   "whoever runs the domain named",
				Steps: []string{"Until it is repaired, take the term out of the record, or move it behind the terms that name your servers."},
			}
		}
		f := fail(r, "one record each", "%s", strings.Join(faults, "; "))
		f.Severity = Recommended // behind our match it only waits to hurt
		for _, res := range p.evaluations(ctx, false) {
			if res.Result == spf.PermError {
				f.Severity = ""
			}
		}
		return f
	},
}

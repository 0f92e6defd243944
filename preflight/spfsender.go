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
	Ref:      "RFC 7208 section 5.2; RFC 7208 section 6.1",
	Needs:    []string{"SPF-SINGLE"},
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

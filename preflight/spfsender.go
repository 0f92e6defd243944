package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"blitiri.com.ar/go/spf"
)

var spfSenderChecks = []*Check{spfSenderPresent, spfSenderPass, spfSingle, spfSyntax, spfTargets,
	spfLookupCount, spfVoidCount, spfNotPermissive, spfNoPTR}

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
			return pass("pass for %s (%s)", addr, reason(res))
		case spf.TempError:
			r = p.undecided(domain, res)
		default:
			text := fmt.Sprintf("%s for %s: %s", res.Result, addr, reason(res))
			if res.Result == spf.SoftFail || res.Result == spf.Fail {
				text = fmt.Sprintf("%s: %s matches no term before the last", res.Result, addr)
			}
			r = fail(p.spfRemedy(ctx, p.spfTree(ctx, domain)), "pass", "%s", text)
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
			return pass("%d terms lead to other records", len(n.Kids))
		}
		r := p.spfRemedy(ctx, n)
		if len(n.dead()) == 0 { // the fault is in somebody else's record
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

var spfLookupCount = &Check{
	ID:       "SPF-LOOKUPS",
	Scope:    ScopeSender,
	Title:    "the SPF record needs 10 look-ups at most",
	Severity: Mandatory,
	Change:   "v",
	Why:      "beyond ten look-ups the evaluation is an error and the record is worth nothing",
	Ref:      "RFC 7208 section 4.6.4",
	Needs:    []string{"SPF-SINGLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		far := p.evaluate(ctx, spfNobody, p.spfSources()[0].EHLO, p.envelope(), true)
		most, dynamic, wide := far.Lookups, 0, errors.Is(far.Err, spf.ErrTooManyMXRecords)
		for _, res := range p.evaluations(ctx, true) {
			dynamic = max(dynamic, res.Lookups)
			wide = wide || errors.Is(res.Err, spf.ErrTooManyMXRecords)
		}
		r := Remedy{
			Title: "Let the SPF record of " + p.envelope() + " need fewer look-ups",
			Who:   "whoever runs the zone of " + p.envelope(),
			Steps: []string{"ip4 and ip6 terms cost nothing: put them first.", "Drop includes of services that no longer send for you."},
		}
		for _, b := range p.spfTree(ctx, p.envelope()).Kids {
			if b.Node != nil {
				cost := p.evaluate(ctx, spfNobody, "", b.Node.Domain, true).Lookups
				r.Steps = append(r.Steps, fmt.Sprintf("%s costs %d", b.Term.Text, cost+1))
			}
		}
		const atMost = "<=10"
		switch {
		case wide:
			return fail(r, atMost, "an `mx` term with more than 10 exchangers")
		case dynamic > spfLookups:
			return fail(r, atMost, "%d of 10 look-ups", dynamic)
		}
		f := fail(r, atMost, "%d of 10 look-ups in the whole record", most)
		switch {
		case most > spfLookups:
			f.Severity = Recommended
		case most >= spfLookups-1:
			f.Severity = Informational
		default:
			return pass("%d of 10 look-ups", most)
		}
		return f
	},
}

var spfVoidCount = &Check{
	ID:       "SPF-VOID",
	Scope:    ScopeSender,
	Title:    "the SPF record names what exists",
	Severity: Mandatory,
	Change:   "v",
	Why:      "more than two look-ups that find nothing are an error of the whole evaluation",
	Ref:      "RFC 7208 section 4.6.4",
	Needs:    []string{"SPF-SINGLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		far := p.evaluate(ctx, spfNobody, p.spfSources()[0].EHLO, p.envelope(), true)
		worst := far
		latent := true
		for _, res := range p.evaluations(ctx, true) {
			if len(res.Voids) > spfVoids {
				latent = false
			}
			if len(res.Voids) > len(worst.Voids) {
				worst = res
			}
		}
		if len(worst.Voids) <= spfVoids {
			return pass("%d of 2 look-ups find nothing", len(worst.Voids))
		}
		n := p.spfTree(ctx, p.envelope())
		r := p.spfRemedy(ctx, n)
		if !n.names(worst.Voids) { // the dead names stand in somebody else's record
			r.Records = nil
			r.Steps = []string{"Dead names: " + list(worst.Voids) + ". Take them out, or the include that leads to them."}
		}
		f := fail(r, "<=2", "%d of 2 look-ups find nothing: %s", len(worst.Voids), list(worst.Voids))
		if latent {
			f.Severity = Recommended
		}
		return f
	},
}

// names tells whether enough of the void names stand in this record itself that
// it can be healed by dropping them.
func (n *spfNode) names(voids []string) bool {
	left := len(voids)
	for _, v := range voids {
		for _, t := range n.Terms {
			if (t.Name == "a" || t.Name == "mx") && strings.EqualFold(strings.TrimSuffix(t.Domain, "."), v) {
				left--
				break
			}
		}
	}
	return left <= spfVoids
}

var spfNotPermissive = &Check{
	ID:       "SPF-NOT-PERMISSIVE",
	Scope:    ScopeSender,
	Title:    "the SPF record excludes somebody",
	Severity: Recommended,
	Change:   "^",
	Why:      "a record that lets everybody send, or a large part of the internet, is worth nothing; Gmail calls it suspicious (4.7.24)",
	Ref:      "RFC 7208 section 8.2",
	Needs:    []string{"SPF-SINGLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		end := ""
		for _, t := range n.Terms {
			switch {
			case tooWide(t):
				return fail(p.spfRemedy(ctx, n), "at least /16 (IPv4), /32 (IPv6)", "%s is a large part of the internet", t.Text)
			case t.Fault != "":
			case !t.Modifier && t.Name == "all" && end == "":
				end = t.Text
				if t.Qualifier == '+' || t.Qualifier == '?' {
					return fail(p.spfRemedy(ctx, n), "~all or -all", "%s", t.Text)
				}
			case t.Modifier && t.Name == "redirect" && end == "":
				end = t.Text
			}
		}
		if end == "" {
			return fail(p.spfRemedy(ctx, n), "~all or -all", "neither all nor redirect: everybody else is neutral")
		}
		return pass("ends in %s", end)
	},
}

var spfNoPTR = &Check{
	ID:       "SPF-NO-PTR",
	Scope:    ScopeSender,
	Title:    "the SPF record does without ptr",
	Severity: Recommended,
	Change:   "x",
	Why:      "ptr is slow and unreliable, and large receivers ignore it",
	Ref:      "RFC 7208 section 5.5",
	Needs:    []string{"SPF-SINGLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		for _, t := range n.Terms {
			if !t.Modifier && t.Name == "ptr" {
				return fail(p.spfRemedy(ctx, n), "no ptr", "%s", t.Text)
			}
		}
		return pass("no ptr")
	},
}

package preflight

import (
	"context"
	"errors"
	"fmt"

	"blitiri.com.ar/go/spf"
)

var spfLookupCount = &Check{
	ID:       "SPF-LOOKUPS",
	Scope:    ScopeSender,
	Title:    "the SPF record needs 10 look-ups at most",
	Severity: Mandatory,
	Change:   "v",
	Why:      "beyond ten look-ups the evaluation is an error and the record is worth nothing",
	Ref:      "RFC 7208 section 4.6.4",
	Needs:    []string{"SPF-SINGLE"},
	Words: Words{
		How:       "Counts the terms that cost a look-up (include, a, mx, ptr, exists, redirect) on the way to the term that matches each of our addresses, and in the whole record, by an address that nobody lists. More than 10, or an mx with more than 10 exchangers, is permerror.",
		Found:     "11 of 10 look-ups, 11 in the whole record",
		Expected:  "<=10",
		Mend:      "ip4 and ip6 terms cost nothing: put them first.",
		Ask:       "whoever runs the zone of the domain",
		Quote:     "SPF implementations MUST limit the total number of those terms to 10 during SPF evaluation, to avoid unreasonable load on the DNS.",
		Receivers: "Whoever checks SPF.",
		Varies:    "recommended where only the whole record needs more than 10; informational at 9 and 10",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		if n.circular() {
			return awaits("SPF-TARGETS") // in a circle there is no end to the counting
		}
		far := p.evaluate(ctx, spfNobody, p.spfSources()[0].EHLO, p.envelope(), true)
		most, dynamic, wide := max(far.Lookups, n.cost()), 0, errors.Is(far.Err, spf.ErrTooManyMXRecords)
		for _, res := range p.evaluations(ctx, true) {
			dynamic = max(dynamic, res.Lookups)
			wide = wide || errors.Is(res.Err, spf.ErrTooManyMXRecords)
		}
		const atMost = "<=10"
		if wide {
			r := n.sparing("Give the SPF record of " + n.Domain + " no `mx` with more than 10 exchangers")
			r.Steps = []string{"Name their networks by ip4 and ip6 terms instead."}
			return fail(r, atMost, "an `mx` term with more than 10 exchangers")
		}
		most = max(most, dynamic)
		if most <= spfFew {
			return pass("%d of 10 look-ups, %d in the whole record", dynamic, most)
		}
		f := fail(p.fewerLookups(ctx, n, most), atMost, "%d of 10 look-ups in the whole record, %d for our addresses", most, dynamic)
		switch {
		case dynamic > spfLookups:
			f.Found = fmt.Sprintf("%d of 10 look-ups, %d in the whole record", dynamic, most)
		case most > spfLookups:
			f.Severity = Recommended
		default:
			f.Severity = Informational
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
	Words: Words{
		How:       "Counts the look-ups of SPF that find nothing (NXDOMAIN or NODATA), for each of our addresses and for one that nobody lists. More than 2 is permerror. The names are shown.",
		Found:     "3 of 2 look-ups find nothing: web.example.net, mx1.example.net, mx2.example.net",
		Expected:  "<=2",
		Mend:      `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     `SPF implementations SHOULD limit "void lookups" to two.`,
		Receivers: "Whoever checks SPF and keeps to that limit.",
		Varies:    "recommended where our own addresses match before the third",
	},
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
		if _, left := p.costs(ctx, n.Domain, p.better(ctx, n).Text); len(left) > spfVoids {
			r = n.sparing("Have the names that do not exist taken out of what " + n.Domain + " includes")
			r.Who = "whoever runs the records that it includes: " + n.tree()
			r.Steps = []string{"They are " + list(left) + ".", "Until that is done, take out the include that leads to them, if it is a service that no longer sends for you."}
		}
		f := fail(r, "<=2", "%d of 2 look-ups find nothing: %s", len(worst.Voids), list(worst.Voids))
		if latent {
			f.Severity = Recommended
		}
		return f
	},
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
	Words: Words{
		How:      "Looks at the record itself. +all and ?all fail, and so does a record that ends in neither all nor redirect. Networks wider than /16 (IPv4) or /32 (IPv6) that pass fail too.",
		Found:    "+all lets everybody send",
		Expected: "~all or -all",
		Mend:     `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
		Do:       Replace,
		Ask:      "whoever runs the zone of the domain",
		Quote:    `A "neutral" result indicates that although a policy for the identity was discovered, there is no definite assertion (positive or negative) about the client.`,
	},
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
				switch t.Qualifier {
				case '+':
					return fail(p.spfRemedy(ctx, n), "~all or -all", "%s lets everybody send", t.Text)
				case '?':
					return fail(p.spfRemedy(ctx, n), "~all or -all", "%s says nothing of anybody else", t.Text)
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
	Title:    "the SPF record does without ptr and %{p}",
	Severity: Recommended,
	Change:   "x",
	Why:      "ptr and the macro %{p} are slow and unreliable, and many receivers ignore them: the same record gives different results",
	Ref:      "RFC 7208 section 5.5; RFC 7208 section 7.2",
	Needs:    []string{"SPF-SINGLE"},
	Words: Words{
		How:       "Looks for a ptr term, and for the macro %{p}, in the record itself. The remedy names our addresses in place of ptr.",
		Found:     "ptr asks for the names of the address",
		Expected:  "no ptr, and no %{p}",
		Mend:      `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "This mechanism SHOULD NOT be published.",
		Receivers: "Large receivers pass the term over, says the same section.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.envelope())
		for _, t := range n.Terms {
			if t.namesClient() {
				return fail(p.spfRemedy(ctx, n), "no ptr, and no %{p}", "%s asks for the names of the address", t.Text)
			}
		}
		return pass("no ptr, and no %%{p}")
	},
}

package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// A record that asks for too much loses what lets nobody in. What lets somebody in
// stays: whose services are still in use, only their user knows.

// spfFew look-ups leave room for one service more.
const spfFew = spfLookups - 2

// costs are the look-ups that a record would need in all, and the names at which it
// would find nothing, if it stood at the domain.
func (p *Probe) costs(ctx context.Context, domain, text string) (lookups int, voids []string) {
	aside := &Probe{Plan: p.Plan, run: p.run, dns: p.dns, instead: map[string]string{domain: text}}
	for _, nobody := range []netip.Addr{spfNobody, spfNobody6} {
		res := aside.evaluate(ctx, nobody, "", domain, true)
		lookups = max(lookups, res.Lookups)
		if len(res.Voids) > len(voids) {
			voids = res.Voids
		}
	}
	if n := aside.spfTree(ctx, domain); !n.circular() {
		lookups = max(lookups, n.cost())
	}
	return lookups, voids
}

// fewerLookups is the remedy of a record that needs so many.
func (p *Probe) fewerLookups(ctx context.Context, n *spfNode, most int) Remedy {
	s := p.better(ctx, n)
	left, _ := p.costs(ctx, n.Domain, s.Text)
	if left <= spfFew || left <= spfLookups && most > spfLookups {
		return p.spfRemedy(ctx, n)
	}
	r := n.sparing("Let the SPF record of " + n.Domain + " need fewer look-ups")
	r.Steps = []string{"ip4 and ip6 terms cost nothing: put them first.", "Drop includes of services that no longer send for you."}
	if tree := n.tree(); tree != "" {
		r.Steps = append(r.Steps, "What it includes, with the look-ups of each: "+tree+".")
	}
	return r
}

// sparing is a remedy without a record: what is to go, only the user of it knows.
func (n *spfNode) sparing(title string) Remedy {
	return Remedy{Title: title, Who: "whoever runs the zone of " + n.Answer.Name}
}

// idle says why a term of a record lets nobody in, "" if it may.
func (p *Probe) idle(ctx context.Context, n *spfNode, t spfTerm) string {
	domain, err := dns.Canonical(cmp.Or(t.Domain, n.Domain))
	if t.Modifier || strings.Contains(t.Domain, "%") || err != nil {
		return ""
	}
	none := func(of dns.Type) bool { return absent(p.aside(ctx, domain, of)) }
	switch t.Name {
	case "a":
		if none(dns.TypeA) && none(dns.TypeAAAA) {
			return domain + " has no address"
		}
	case "mx":
		if none(dns.TypeMX) {
			return domain + " has no MX record"
		}
	case "exists":
		if none(dns.TypeA) {
			return domain + " has no A record"
		}
	case "include":
		i := slices.IndexFunc(n.Kids, func(b spfBranch) bool { return b.Term.Text == t.Text })
		switch {
		case i < 0:
		case n.Kids[i].Loop:
			return "it leads in a circle"
		case n.Kids[i].Node != nil && p.barren(ctx, n.Kids[i].Node):
			return "the record of " + domain + " lets nobody in"
		}
	}
	return ""
}

// barren tells whether a record lets nobody in.
func (p *Probe) barren(ctx context.Context, n *spfNode) bool {
	return len(n.Records) == 1 && !slices.ContainsFunc(n.Terms, func(t spfTerm) bool {
		return t.Fault != "" || t.Modifier && t.Name == "redirect" || !t.Modifier && t.Qualifier == '+' && p.idle(ctx, n, t) == ""
	})
}

// fits tells whether a record in the place of those of the domain would have room
// (RFC 7208 section 3.4).
func (n *spfNode) fits(text string) bool {
	a := *n.Answer
	a.Records = slices.DeleteFunc(slices.Clone(a.Records), func(r dns.RR) bool { return isSPF(r.Text) })
	a.Records = append(a.Records, dns.RR{Text: text})
	return len(n.Domain)+len(text) <= spfText && answerSize(&a) <= spfAnswer
}

// packed is a record with the networks put together that make up larger ones, and
// without those inside others. Only those before the first term that lets nobody in
// are touched: among these the order does not matter.
func packed(text string) string {
	terms := parseSPF(text)
	end := slices.IndexFunc(terms, func(t spfTerm) bool { return t.Qualifier != '+' || t.Modifier || t.Name == "all" })
	if end < 0 {
		end = len(terms)
	}
	var nets []netip.Prefix
	var others []string
	for _, t := range terms[:end] {
		if t.Prefix.IsValid() {
			nets = append(nets, t.Prefix.Masked())
		} else {
			others = append(others, t.Text)
		}
	}
	all := []string{"v=spf1"}
	for _, net := range merged(nets) {
		term := ipTerm(net.Addr())
		if !net.IsSingleIP() {
			term += fmt.Sprintf("/%d", net.Bits())
		}
		all = append(all, term)
	}
	all = append(all, others...)
	for _, t := range terms[end:] {
		all = append(all, t.Text)
	}
	return strings.Join(all, " ")
}

// merged are the fewest networks with the same addresses.
func merged(nets []netip.Prefix) (all []netip.Prefix) {
	slices.SortFunc(nets, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	for _, net := range nets {
		all = append(all, net)
		for len(all) > 1 {
			one, ok := sum(all[len(all)-2], all[len(all)-1])
			if !ok {
				break
			}
			all = append(all[:len(all)-2], one)
		}
	}
	return all
}

// sum is the network that two make up, the first not after the second, if they do and
// it is none that the record would be doubted for.
func sum(a, b netip.Prefix) (netip.Prefix, bool) {
	if a.Contains(b.Addr()) {
		return a, true
	}
	if a.Bits() != b.Bits() || a.Bits() == 0 {
		return a, false
	}
	up := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
	return up, up.Contains(b.Addr()) && !wide(up)
}

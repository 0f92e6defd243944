package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"

	"smtprelay/preflight/dns"
)

// The evaluator says what the result is, not which term made it so. We look for
// that ourselves, and say it only where it fits the result.

// because says what made an evaluation of the domain come out as it did.
func (p *Probe) because(ctx context.Context, domain string, addr netip.Addr, r spfResult) string {
	path, sign, sure := p.match(ctx, p.spfTree(ctx, domain), addr)
	fits := map[byte]spf.Result{'+': spf.Pass, '-': spf.Fail, '~': spf.SoftFail, '?': spf.Neutral}[sign] == r.Result
	if !sure || !fits || len(path) == 0 {
		return reason(r)
	}
	last := path[len(path)-1]
	if strings.EqualFold(strings.TrimLeft(last, "+-~?"), "all") {
		return "no term before " + strings.Join(path, " > ") + " matches"
	}
	return strings.Join(path, " > ") + " matches"
}

// match is the way to the first term of a record that matches an address, through
// what it includes, and that term's sign in this record. Not sure: a macro, an error
// or an answer that did not come stands in the way.
func (p *Probe) match(ctx context.Context, n *spfNode, addr netip.Addr) (path []string, sign byte, sure bool) {
	if len(n.Records) != 1 || slices.ContainsFunc(n.Terms, func(t spfTerm) bool { return t.Fault != "" && !t.Mild }) {
		return nil, 0, false
	}
	for _, t := range n.Terms {
		if t.Modifier {
			continue
		}
		below, hit, sure := p.hits(ctx, n, t, addr)
		if !sure {
			return nil, 0, false
		}
		if hit {
			return append([]string{t.Text}, below...), t.Qualifier, true
		}
	}
	for _, b := range n.Kids {
		if b.Term.Modifier && !b.Meant {
			if b.Node == nil {
				return nil, 0, false
			}
			path, sign, sure = p.match(ctx, b.Node, addr)
			return append([]string{b.Term.Text}, path...), sign, sure
		}
	}
	return nil, '?', true
}

// hits tells whether one mechanism matches, and by what of the record it includes.
func (p *Probe) hits(ctx context.Context, n *spfNode, t spfTerm, addr netip.Addr) (below []string, hit, sure bool) {
	domain, err := dns.Canonical(cmp.Or(t.Domain, n.Domain))
	if strings.Contains(t.Domain, "%") || err != nil {
		return nil, false, false
	}
	switch t.Name {
	case "all":
		return nil, true, true
	case "ip4", "ip6":
		return nil, t.Prefix.Masked().Contains(addr), true
	case "include":
		i := slices.IndexFunc(n.Kids, func(b spfBranch) bool { return b.Term.At == t.At && !b.Meant })
		if i < 0 || n.Kids[i].Node == nil {
			return nil, false, false
		}
		below, sign, sure := p.match(ctx, n.Kids[i].Node, addr)
		return below, sign == '+', sure
	case "a":
		hit, sure = p.near(ctx, t, domain, addr)
		return nil, hit, sure
	case "mx":
		a := p.ask(ctx, domain, dns.TypeMX)
		if !definite(a) || len(a.Records) > spfLookups {
			return nil, false, false
		}
		for _, h := range hosts(a) {
			if hit, sure := p.near(ctx, t, h, addr); hit || !sure {
				return nil, hit, sure
			}
		}
		return nil, false, true
	}
	return nil, false, false // ptr and exists: the evaluator's word has to do
}

// near tells whether a host has an address in the network that the term means.
func (p *Probe) near(ctx context.Context, t spfTerm, host string, addr netip.Addr) (hit, sure bool) {
	a := p.ask(ctx, host, family(addr))
	if !definite(a) {
		return false, false
	}
	for _, other := range addrs(a) {
		bits := t.Bits4
		if other.Is6() {
			bits = t.Bits6
		}
		if netip.PrefixFrom(other, bits).Masked().Contains(addr) {
			return true, true
		}
	}
	return false, true
}

// cost is how many look-ups a record needs in all, if no term matches (RFC 7208
// section 4.6.4). The addresses of exchangers do not count.
func (n *spfNode) cost() (sum int) {
	for _, t := range n.Terms {
		switch {
		case t.Modifier || t.Fault != "":
		case t.Name == "all":
			return sum // what stands behind is never looked at, a redirect neither
		case t.Name == "a" || t.Name == "mx" || t.Name == "ptr" || t.Name == "exists":
			sum++
		case t.Name == "include":
			sum += n.branchCost(t)
		}
	}
	for _, t := range n.Terms {
		if t.Modifier && t.Name == "redirect" && t.Fault == "" {
			return sum + n.branchCost(t)
		}
	}
	return sum
}

func (n *spfNode) branchCost(t spfTerm) int {
	for _, b := range n.Kids {
		if b.Term.At == t.At && b.Node != nil && !b.Meant {
			return 1 + b.Node.cost()
		}
	}
	return 1
}

// tree lists what a record leads to, with what each costs: "include:a 3 (include:b 1)".
func (n *spfNode) tree() string {
	var all []string
	for _, b := range n.Kids {
		if b.Meant {
			continue
		}
		s := fmt.Sprintf("%s %d", b.Term.Text, n.branchCost(b.Term))
		if b.Node != nil && b.Node.tree() != "" {
			s += " (" + b.Node.tree() + ")"
		}
		all = append(all, s)
	}
	const shown = 8
	if len(all) > shown {
		all = append(all[:shown], fmt.Sprintf("%d more", len(all)-shown))
	}
	return strings.Join(all, ", ")
}

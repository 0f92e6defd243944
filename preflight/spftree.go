package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

const spfNodes = 64 // records of one tree that are read

// spfNode is a domain's SPF record with those that it includes and redirects to.
type spfNode struct {
	Domain  string
	Answer  *dns.Answer
	Records []string // its SPF records; exactly one is right
	Near    []string // TXT records that were meant to be one
	Terms   spfRecord
	Kids    []spfBranch
}

// spfBranch is a term that leads to another record. Node is nil for one that
// is not followed: a macro decides at each message where it leads.
type spfBranch struct {
	Term  spfTerm
	Loop  bool
	Meant bool // not what the record says, but what it will say when its typing error is mended
	Node  *spfNode
}

// spfTree reads the record of a domain and those behind it.
func (p *Probe) spfTree(ctx context.Context, domain string) *spfNode {
	left := spfNodes
	return p.spfNode(ctx, domain, nil, &left)
}

func (p *Probe) spfNode(ctx context.Context, domain string, above []string, left *int) *spfNode {
	*left--
	n := &spfNode{Domain: domain, Answer: p.ask(ctx, domain, dns.TypeTXT)}
	n.Records = spfTexts(n.Answer)
	if text, ok := p.instead[domain]; ok {
		n.Records = []string{text}
	}
	for _, r := range n.Answer.Records {
		if t := strings.ToLower(strings.TrimLeft(r.Text, " \t\"")); !isSPF(r.Text) && (strings.HasPrefix(t, "v=spf") || strings.HasPrefix(t, "spf1")) {
			n.Near = append(n.Near, r.Text)
		}
	}
	terms := spfRecord(nil)
	switch {
	case len(n.Records) == 1:
		n.Terms = parseSPF(n.Records[0])
		terms = n.Terms
	case above == nil: // that they are several is to be mended, then what they lead to counts
		for _, r := range n.Records {
			terms = append(terms, parseSPF(r)...)
		}
	}
	top := above == nil
	above = append(slices.Clip(above), domain)
	for _, t := range terms {
		meant := top && t.Fixed != ""
		if meant {
			t = parseTerm(t.Fixed)
		}
		if !t.leads() || t.Fault != "" {
			continue
		}
		b := spfBranch{Term: t, Meant: meant}
		to, err := dns.Canonical(t.Domain)
		switch {
		case strings.Contains(t.Domain, "%") || err != nil || *left <= 0:
		case slices.Contains(above, to):
			b.Loop = true
		default:
			b.Node = p.spfNode(ctx, to, above, left)
		}
		n.Kids = append(n.Kids, b)
	}
	return n
}

// spfTexts are the SPF records of a TXT answer.
func spfTexts(a *dns.Answer) (all []string) {
	for _, r := range a.Records {
		if isSPF(r.Text) {
			all = append(all, r.Text)
		}
	}
	return all
}

// leads tells whether a term makes another record part of this one. A redirect
// beside an `all` is never followed (RFC 7208 section 6.1), but faulty all the same.
func (t spfTerm) leads() bool {
	return !t.Modifier && t.Name == "include" || t.Modifier && t.Name == "redirect"
}

// fault is what is wrong with the record that a branch leads to; open is a
// question without answer that hides it.
func (b spfBranch) fault() (what string, open *dns.Answer) {
	n := b.Node
	switch {
	case b.Loop:
		return fmt.Sprintf("%s leads in a circle", b.Term.Text), nil
	case n == nil:
		return "", nil
	case !definite(n.Answer):
		return "", n.Answer
	case len(n.Records) == 0:
		return fmt.Sprintf("%s has no SPF record (%s)", b.Term.Text, noRecord(n.Answer)), nil
	case len(n.Records) > 1:
		return fmt.Sprintf("%s has %d SPF records", b.Term.Text, len(n.Records)), nil
	}
	for _, t := range n.Terms {
		if t.Fault != "" && !t.Mild {
			return fmt.Sprintf("%s has %q: %s", b.Term.Text, t.Text, t.Fault), nil
		}
	}
	return "", nil
}

func noRecord(a *dns.Answer) string {
	if a.Outcome == dns.Present {
		return "no v=spf1 TXT"
	}
	return outcome(a)
}

// faults are those of all branches, with the way to them.
func (n *spfNode) faults() (all []string, open *dns.Answer) {
	for _, b := range n.Kids {
		if b.Meant {
			continue
		}
		what, o := b.fault()
		if what != "" {
			all = append(all, what)
		}
		if b.Node != nil && o == nil {
			var below []string
			below, o = b.Node.faults()
			for _, f := range below {
				all = append(all, b.Term.Text+" > "+f)
			}
		}
		if open == nil {
			open = o
		}
	}
	return all, open
}

// circular tells whether a branch leads back to where it came from.
func (n *spfNode) circular() bool {
	return slices.ContainsFunc(n.Kids, func(b spfBranch) bool { return !b.Meant && (b.Loop || b.Node != nil && b.Node.circular()) })
}

// dead are the branches of a record that can only be cut off.
func (p *Probe) dead(ctx context.Context, n *spfNode) map[string]string {
	all := map[string]string{}
	for _, b := range n.Kids {
		switch {
		case b.Loop, b.Node != nil && b.Node.circular() && p.barren(ctx, b.Node):
			all[b.Term.Text] = "it leads in a circle"
		case b.Node != nil && definite(b.Node.Answer) && len(b.Node.Records) == 0:
			all[b.Term.Text] = b.Node.Domain + " has no SPF record"
		}
	}
	return all
}

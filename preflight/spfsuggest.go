package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// suggestion is an SPF record with all that is wrong with the given ones put
// right, which lets our addresses pass before anything is looked up.
type suggestion struct {
	Text string
	Left []string // terms that had to go, and why
}

// suggestSPF keeps the terms of the records in their order, as a union. unwanted
// says why a term is to go, "" to keep it; of one that was put right, Mild tells
// whether evaluators passed over what stood there.
func suggestSPF(records []string, addrs []netip.Addr, unwanted func(spfTerm) string) (s suggestion) {
	var u merger
	for _, a := range addrs {
		u.terms = append(u.terms, ipTerm(a))
	}
	for _, rec := range records {
		terms := parseSPF(rec)
		closed := slices.ContainsFunc(terms, func(t spfTerm) bool { return t.Name == "all" && !t.Modifier && t.Fault == "" })
		for _, t := range terms {
			meant := t.Fixed != ""
			if meant {
				mild := t.Mild
				t = parseTerm(t.Fixed)
				t.Mild = mild
			}
			why := t.Fault
			if why == "" {
				why = unwanted(t)
			}
			if why != "" {
				s.Left = append(s.Left, fmt.Sprintf("%s is left out: %s", t.Text, why))
			} else {
				u.take(t, !closed || meant)
			}
		}
	}
	u.close(&s)
	return s
}

// merger is a record being put together.
type merger struct {
	terms, modifiers []string
	all              string
	redirects        []spfTerm // those that are followed
}

// take adds a term, unless it is there. A redirect that stood beside an `all` of
// its own record was never followed (RFC 7208 section 6.1): it stays what it is.
func (u *merger) take(t spfTerm, followed bool) {
	switch {
	case t.Name == "all" && !t.Modifier:
		u.all = stricter(u.all, t.Text)
	case t.Modifier && t.Name == "redirect" && followed:
		if !slices.ContainsFunc(u.redirects, func(o spfTerm) bool { return strings.EqualFold(o.Domain, t.Domain) }) {
			u.redirects = append(u.redirects, t)
		}
	case t.Modifier:
		once := t.Name == "redirect" || t.Name == "exp"
		if !slices.Contains(u.modifiers, t.Text) && !(once && hasModifier(u.modifiers, t.Name+"=")) {
			u.modifiers = append(u.modifiers, t.Text)
		}
	default:
		u.add(t.Text)
	}
}

func (u *merger) add(term string) {
	if !slices.ContainsFunc(u.terms, func(other string) bool { return sameTerm(other, term) }) {
		u.terms = append(u.terms, term)
	}
}

// close ends the record. There is room for one redirect, and only where no `all`
// stands: any other becomes an include, which lets the same senders in.
func (u *merger) close(s *suggestion) {
	switch {
	case u.all == "" && len(u.redirects) == 1:
		u.modifiers = append(u.modifiers, u.redirects[0].Text)
	default:
		for _, r := range u.redirects {
			u.add("include:" + r.Domain)
			s.Left = append(s.Left, fmt.Sprintf("%s has become include:%s: beside `all` a redirect is not followed", r.Text, r.Domain))
		}
		u.add(cmp.Or(u.all, "~all"))
	}
	s.Text = strings.Join(slices.Concat([]string{"v=spf1"}, u.terms, u.modifiers), " ")
}

func hasModifier(all []string, prefix string) bool {
	return slices.ContainsFunc(all, func(m string) bool { return strings.HasPrefix(strings.ToLower(m), prefix) })
}

// sameTerm compares two terms with an optional plus before them.
func sameTerm(a, b string) bool {
	return strings.EqualFold(strings.TrimPrefix(a, "+"), strings.TrimPrefix(b, "+"))
}

// stricter is the stricter of two all terms; one that lets everybody in, or says
// nothing of anybody, becomes ~all.
func stricter(a, b string) string {
	if b[0] == '-' || a == "-all" {
		return "-all"
	}
	return "~all"
}

package preflight

import (
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
// says why a term is to go, "" to keep it.
func suggestSPF(records []string, addrs []netip.Addr, unwanted func(spfTerm) string) (s suggestion) {
	var terms, modifiers []string
	last, hasRedirect := "", false
	for _, a := range addrs {
		terms = append(terms, ipTerm(a))
	}
	for _, rec := range records {
		for _, t := range parseSPF(rec) {
			if t.Fixed != "" {
				t = parseTerm(t.Fixed)
			}
			why := t.Fault
			if why == "" {
				why = unwanted(t)
			}
			switch {
			case why != "":
				s.Left = append(s.Left, fmt.Sprintf("%s is left out: %s", t.Text, why))
			case t.Name == "all" && !t.Modifier:
				last = stricter(last, t.Text)
			case t.Modifier && t.Name == "redirect":
				if !hasRedirect {
					modifiers = append(modifiers, t.Text)
				}
				hasRedirect = true
			case t.Modifier:
				if !slices.Contains(modifiers, t.Text) && !(t.Name == "exp" && hasModifier(modifiers, "exp=")) {
					modifiers = append(modifiers, t.Text)
				}
			case !slices.ContainsFunc(terms, func(other string) bool { return sameTerm(other, t.Text) }):
				terms = append(terms, t.Text)
			}
		}
	}
	if last == "" && !hasRedirect {
		last = "~all"
	}
	if last != "" {
		terms = append(terms, last)
	}
	s.Text = strings.Join(slices.Concat([]string{"v=spf1"}, terms, modifiers), " ")
	return s
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

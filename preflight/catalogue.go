package preflight

import (
	"fmt"
	"io"
	"strings"
)

var scopes = []struct {
	scope Scope
	title string
	intro string
}{
	{ScopeHost, "The host", "Counts for every source."},
	{ScopeSource, "Each source", "An address that mail leaves from, and the name it greets with."},
	{ScopeSender, "Each sender domain", "The domain of MAIL FROM and of the header From."},
	{ScopeZone, "Each source and each sender domain, for their zones", "Counts where its zone counts: those of the EHLO name and of the address for the source, those of a sender domain for that domain."},
	{ScopePair, "Each source and sender domain", "A failure takes that source away from that sender only."},
	{ScopeSmartHost, "Each smart host", "A relay that takes our mail."},
}

var changes = map[string]string{
	"=": "fixed",
	"v": "may be lowered",
	"^": "may be raised",
	"x": "may be lowered or raised",
}

// WriteCatalogue prints the checks as a document: docs/checks.md.
func WriteCatalogue(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Checks

What the preflight looks at, in the order of its reports. This page is printed by the
program from the checks themselves; ` + "`relay preflight --explain ID`" + ` says the same of one.

A *mandatory* check that fails stops direct delivery from that source, or of that sender
domain. A *recommended* one degrades the verdict, an *informational* one never counts.
An answer that did not come makes a check unknown, never a failure. A check that needs
another waits for it, so that one fault is one finding.
`)
	for _, s := range scopes {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.title, s.intro)
		for _, c := range Checks {
			if c.Scope == s.scope {
				c.describe(&b)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Check) describe(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n", c.ID)
	fmt.Fprintf(b, "%s. %s.\n\n", upperFirst(c.Title), upperFirst(c.Why))
	change := changes[c.Change]
	if setting := follows[c.ID]; setting != "" {
		change = "follows `" + setting + "`"
	}
	fmt.Fprintf(b, "%s, %s. %s.", upperFirst(string(c.Severity)), change, c.Ref)
	if len(c.Needs) > 0 {
		fmt.Fprintf(b, " Needs %s.", strings.Join(c.Needs, ", "))
	}
	b.WriteString("\n")
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

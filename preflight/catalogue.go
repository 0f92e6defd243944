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

// WriteCatalogue prints the checks as a document: docs/checks.md.
func WriteCatalogue(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Checks

What the preflight looks at, in the order of its reports. This page is printed by the
program from the checks themselves; ` + "`relay preflight --explain ID`" + ` says the same of one,
and tells whoever has not met them yet what PTR, A, EHLO, MX, SPF, DKIM and DMARC are.

A *mandatory* check that fails stops direct delivery from that source, or of that sender
domain. A *recommended* one degrades the verdict, an *informational* one never counts.
An answer that did not come makes a check unknown, never a failure. A check that needs
another waits for it, so that one fault is one finding. A definite failure that DNS told is
asked for once more at the zone's own servers before it is believed. Where receivers say
otherwise of what passes, it is printed as a recommendation, whatever its severity.

Names and addresses are examples: the server is mail.example.net, 192.0.2.25, and sends for
example.net. Of a standard's words one sentence is quoted, of replies those that are known.
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
	item := func(label, what string) { fmt.Fprintf(b, "- *%s:* %s\n", label, what) }
	item("How", c.How)
	item("Found", code(c.Found)+", *expected:* "+code(c.Expected)+".")
	item("Mended by", strings.TrimPrefix(mendWords[c.Do]+": ", ": ")+code(c.Mend)+". It is for "+sentenceEnd(c.Ask))
	item("Rests on", c.rests())
	item("Receivers", c.actors())
	item("Severity", c.rights())
	if len(c.Needs) > 0 {
		item("Waits for", strings.Join(c.Needs, ", ")+".")
	}
}

// code sets text as it is printed apart, whatever marks it has of its own.
func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

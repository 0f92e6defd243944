package preflight

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Explain prints all there is to say of a check, or of a notion that several
// checks are about (PTR, EHLO, MX, ...). An id that is neither is an UnknownID.
func Explain(w io.Writer, id string, o TextOptions) error {
	o.Width = cmp.Or(o.Width, 80)
	t := &text{o: o}
	switch c, n := byID(idOf(id)), notionOf(idOf(id)); {
	case c != nil:
		t.check(c)
	case n != nil:
		t.notion(n)
	default:
		return UnknownID(id)
	}
	_, err := w.Write(t.b.Bytes())
	return err
}

func idOf(text string) string { return strings.ToUpper(strings.TrimSpace(text)) }

func (t *text) check(c *Check) {
	t.right(" "+c.ID, string(c.Severity))
	t.gap()
	t.para(1, "Passes when "+sentenceEnd(c.Title)+" "+sentence(upperFirst(c.Why)))
	t.gap()
	t.field("How", c.How)
	t.field("Found", c.Found)
	t.field("Expected", c.Expected)
	t.field("Mended by", mendWords[c.Do])
	t.gap()
	t.line("     " + clean(c.Mend, t.o.ASCII))
	t.gap()
	t.field("By", c.Ask)
	t.field("Rests on", c.rests())
	t.field("Severity", c.rights())
	if len(c.Needs) > 0 {
		t.field("Waits for", strings.Join(c.Needs, ", "))
	}
	t.field("Receivers", cmp.Or(c.Receivers, "These refuse or put off mail for it, in such words:"))
	for _, s := range c.sayings() {
		t.gap()
		t.para(11, strings.TrimSpace(s.who()+", "+s.codes+" "+s.status))
		for _, words := range s.says[:min(len(s.says), 2)] {
			t.para(13, fmt.Sprintf("%q", words))
		}
		t.para(13, "-> "+s.do)
	}
}

// mendWords say what to do with the record that mends a finding: one that is to go, or
// to stand alone, must not be added.
var mendWords = map[Change]string{
	Add:     "adding this record",
	Replace: "this record, instead of what stands there",
	Remove:  "deleting this record",
}

// field is a label, and what it is about beside it.
func (t *text) field(label, what string) {
	lead := fmt.Sprintf(" %-9s ", label)
	lines := wrap(clean(what, t.o.ASCII), t.o.Width-width(lead)-1)
	if len(lines) == 0 {
		lines = []string{""}
	}
	for _, l := range lines {
		t.line(lead + l)
		lead = strings.Repeat(" ", width(lead))
	}
}

func sentenceEnd(s string) string { return strings.TrimSuffix(s, ".") + "." }

// rests is what the check rests on: a standard and its words, or what else.
func (c *Check) rests() string {
	first, others, more := strings.Cut(c.Ref, "; ")
	s := first
	if c.Quote != "" {
		s += ": \"" + c.Quote + "\""
	}
	if more {
		s += "; also " + others
	}
	if s != "" && !strings.HasSuffix(s, `."`) {
		s += "."
	}
	return strings.TrimSpace(s + " " + c.Basis)
}

var changes = map[string]string{
	"=": `fixed; on_fail = "warn" under [preflight] sends in spite of every failure`,
	"v": "may be lowered",
	"^": "may be raised",
	"x": "may be lowered or raised",
}

// rights is the severity, when it is another, and what the operator may make of it.
func (c *Check) rights() string {
	s := string(c.Severity)
	if c.Varies != "" {
		s += "; " + c.Varies
	}
	s = upperFirst(s) + ". "
	switch {
	case follows[c.ID] != "":
		return s + fmt.Sprintf("It follows %s under [preflight].", follows[c.ID])
	case c.Change == "=":
		return s + "It is " + changes[c.Change] + "."
	}
	return s + fmt.Sprintf("It %s: %q under [preflight.severity].", changes[c.Change], c.ID)
}

// sayings are the replies that name the check.
func (c *Check) sayings() (all []*saying) {
	for i := range sayings {
		if slices.Contains(sayings[i].names, c.ID) {
			all = append(all, &sayings[i])
		}
	}
	return all
}

// actors are those who act on the check, in a sentence or two.
func (c *Check) actors() string {
	var all []string
	for _, s := range c.sayings() {
		if who := s.who() + " " + s.codes; !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	if len(all) == 0 {
		return c.Receivers
	}
	return strings.TrimSpace(c.Receivers + " Replies are known of " + strings.Join(all, "; ") + ".")
}

// UnknownID is the error for an id that nothing is known by.
type UnknownID string

func (u UnknownID) Error() string {
	s := fmt.Sprintf("there is nothing to explain by the name %q", shortened(string(u)))
	id := idOf(string(u))
	near := slices.DeleteFunc(u.Nearest()[:5], func(name string) bool { return distance(id, name) > max(2, len(id)/3) })
	if id == "" || len(near) == 0 {
		return s
	}
	return s + "; near it: " + strings.Join(near, ", ")
}

// TitleOf is what a check or notion is about, in a few words; "" if it is neither.
func TitleOf(id string) string {
	if c := byID(id); c != nil {
		return c.Title
	}
	if n := notionOf(id); n != nil {
		return n.title
	}
	return ""
}

func shortened(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// Nearest is all that can be explained, what is most like the id first.
func (u UnknownID) Nearest() (all []string) {
	for _, n := range notions {
		all = append(all, n.name)
	}
	for _, c := range Checks {
		all = append(all, c.ID)
	}
	id := idOf(string(u))
	slices.SortStableFunc(all, func(a, b string) int { return distance(id, a) - distance(id, b) })
	return all
}

// distance is Distance, but that what contains the other is near it, and what
// begins with the same word nearer.
func distance(id, name string) int {
	if len(id) >= 3 && strings.Contains(name, id) {
		return 0
	}
	d := Distance(id, name)
	one, _, _ := strings.Cut(id, "-")
	if other, _, _ := strings.Cut(name, "-"); one == other {
		d = max(d-4, 1)
	}
	return d
}

// Distance is how many letters to add, drop or change lie between a mistyped
// word and one that exists (Levenshtein); a long one is far from everything.
func Distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// jsonCheck is a check as --explain --json prints it.
type jsonCheck struct {
	ID        string      `json:"id"`
	Title     string      `json:"title"`
	Why       string      `json:"why"`
	How       string      `json:"how"`
	Found     string      `json:"found"`
	Expected  string      `json:"expected"`
	Mend      string      `json:"mend"`
	Do        Change      `json:"do,omitempty"`
	Ask       string      `json:"ask"`
	Refs      []string    `json:"refs"`
	Quote     string      `json:"quote,omitempty"`
	Basis     string      `json:"basis,omitempty"`
	Severity  Severity    `json:"severity"`
	Varies    string      `json:"varies,omitempty"`
	Change    string      `json:"change"`
	Follows   string      `json:"follows,omitempty"`
	Scope     Scope       `json:"scope"`
	Needs     []string    `json:"needs"`
	Receivers string      `json:"receivers,omitempty"`
	Replies   []jsonReply `json:"replies"`
}

type jsonReply struct {
	Who    string   `json:"who"`
	Codes  string   `json:"codes"`
	Status string   `json:"status,omitempty"`
	Says   []string `json:"says"`
	Do     string   `json:"do"`
}

type jsonNotion struct {
	Notion string   `json:"topic"`
	Title  string   `json:"title"`
	Text   []string `json:"text"`
	Forms  []string `json:"forms"`
	Checks []string `json:"checks"`
}

// ExplainJSON is Explain for programs: one object.
func ExplainJSON(w io.Writer, id string) error {
	var out any
	switch c, n := byID(idOf(id)), notionOf(idOf(id)); {
	case c != nil:
		j := jsonCheck{
			ID: c.ID, Title: c.Title, Why: c.Why, How: c.How, Found: c.Found, Expected: c.Expected, Mend: c.Mend, Do: c.Do, Ask: c.Ask,
			Refs: append([]string{}, refs(c.Ref)...), Quote: c.Quote, Basis: c.Basis, Severity: c.Severity, Varies: c.Varies,
			Change: changeWords[c.Change], Follows: follows[c.ID], Scope: c.Scope, Needs: append([]string{}, c.Needs...),
			Receivers: c.Receivers, Replies: []jsonReply{},
		}
		for _, s := range c.sayings() {
			j.Replies = append(j.Replies, jsonReply{s.who(), s.codes, s.status, s.says, s.do})
		}
		out = j
	case n != nil:
		j := jsonNotion{Notion: n.name, Title: n.title, Text: n.text, Forms: n.forms, Checks: []string{}}
		for _, c := range n.checks() {
			j.Checks = append(j.Checks, c.ID)
		}
		out = j
	default:
		return UnknownID(id)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

var changeWords = map[string]string{"=": "fixed", "v": "lower", "^": "raise", "x": "any"}

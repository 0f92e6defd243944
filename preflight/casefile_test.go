package preflight_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Cases are text, made to be read: what is changed of a baseline, and what has to
// come of it. This file reads them; cases_test.go runs them.
//
//	T02 title       starts a case; steps may follow on the same line
//	- NAME TYPE...  takes record sets away
//	+ RR            adds a record; "+ (replace) RR" instead of those of its type
//	~ ZONE WORD     lets a zone misbehave: SERVFAIL, drop, absent, ...
//	@ KEY=VALUE     changes the configuration
//	= ...           what is expected: expect_test.go
//
// Steps are separated by semicolons. A title may name cases to start from ("T62",
// "T02+T08"). Prose stands in titles, and in parentheses behind a step.
type caseFile struct {
	base  baseline
	cases []*testCase
	bases []*testCase // of another file, to start from
}

type baseline struct {
	records []string // lines of a zone file
	zones   []string
	config  []string // steps of kind @
}

type testCase struct {
	name, title string
	from        []string
	steps       []step
	expect      reading
	err         error
}

type step struct {
	kind byte // - + ~ @
	text string
}

var (
	caseHead   = regexp.MustCompile(`^(T\d+[a-z]?)\b[.:]?\s*(.*)$`)
	caseRefs   = regexp.MustCompile(`^T\d+[a-z]?(\+T\d+[a-z]?)*$`)
	rangeNote  = regexp.MustCompile(`^;\s*for T(\d+)\s*-\s*T(\d+):\s*(\S+)\s+(\S+) is replaced by`)
	recordLine = regexp.MustCompile(`^[A-Za-z0-9_*.\-]+\s+(\d+\s+)?(IN\s+)?(A|AAAA|TXT|MX|PTR|CNAME|NS|SOA|DNAME)\s`)
)

// readCases reads a file of cases.
func readCases(path string) (*caseFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	f := parseCases(string(text))
	if len(f.cases) == 0 {
		return nil, fmt.Errorf("read cases: %s has none", path)
	}
	if err := f.faults(); err != nil {
		return nil, fmt.Errorf("read cases: %s: %w", path, err)
	}
	return f, nil
}

// faults are what of the cases cannot be read.
func (f *caseFile) faults() error {
	var errs []error
	for _, c := range f.cases {
		errs = append(errs, c.err)
	}
	return errors.Join(errs...)
}

func parseCases(text string) *caseFile {
	f := &caseFile{}
	var cur *testCase
	lines := strings.Split(strings.ReplaceAll(text, "\t", " "), "\n")
	replaced := replacements(lines)
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if rangeNote.MatchString(line) {
			continue
		}
		if m := caseHead.FindStringSubmatch(line); m != nil {
			cur = &testCase{name: m[1]}
			f.cases = append(f.cases, cur)
			cur.head(m[2], replaced[m[1]])
			continue
		}
		switch {
		case cur == nil:
			f.base.line(line)
		case line != "" && strings.ContainsRune("-+~@=", rune(line[0])):
			cur.line(line)
		}
	}
	return f
}

// replacements are what the notes say of ranges of cases, wherever they stand:
// case -> "example.net. TXT".
func replacements(lines []string) map[string]string {
	replaced := map[string]string{}
	for _, line := range lines {
		m := rangeNote.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		var from, to int
		fmt.Sscan(m[1], &from)
		fmt.Sscan(m[2], &to)
		for n := from; n <= to; n++ {
			replaced[fmt.Sprintf("T%d", n)] = strings.TrimSuffix(m[3], ".") + ". " + m[4]
		}
	}
	return replaced
}

// line of a baseline: a record, what follows a semicolon is configuration.
func (b *baseline) line(line string) {
	record, note := line, ""
	if i := outside(line, func(s string) bool { return s[0] == ';' }); i >= 0 {
		record, note = strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:])
	}
	if recordLine.MatchString(record + " ") {
		b.records = append(b.records, record)
	} else if strings.HasPrefix(record, "@") {
		b.config = append(b.config, strings.TrimSpace(record[1:]))
	}
	if zones, ok := strings.CutPrefix(note, "SOA/NS:"); ok {
		zones, _, _ = strings.Cut(zones, ";")
		for _, z := range strings.Split(zones, ",") {
			b.zones = append(b.zones, strings.TrimSuffix(strings.TrimSpace(z), "."))
		}
		return
	}
	for _, part := range strings.Split(note, ";") {
		if part = strings.TrimSpace(part); part != "" {
			b.config = append(b.config, part)
		}
	}
}

// complete takes from another baseline what this one has nothing of. Comments that
// set up no source are prose.
func (b *baseline) complete(own baseline) {
	if len(b.records) == 0 {
		b.records = own.records
	}
	if len(b.zones) == 0 {
		b.zones = own.zones
	}
	if !slices.ContainsFunc(b.config, newSource.MatchString) {
		b.config = append(slices.Clone(own.config), b.config...)
	}
}

// head is what stands behind the name: title, cases to start from, steps.
func (c *testCase) head(text, replaced string) {
	end := outside(text, func(s string) bool { return s[0] == ';' || marks(s) })
	c.title = text
	rest := ""
	if end >= 0 {
		c.title, rest = strings.TrimSpace(text[:end]), strings.TrimSpace(text[end:])
	}
	fields := strings.Fields(c.title)
	for i, w := range fields {
		if (i == 0 || i == len(fields)-1) && caseRefs.MatchString(w) {
			c.from = append(c.from, strings.Split(w, "+")...)
		}
	}
	// A title that is a record replaces that of its owner.
	if text := strings.Join(quotes(c.title), " "); text != "" && (replaced != "" || strings.HasPrefix(c.title, `"v=`)) {
		c.steps = append(c.steps, step{'+', strings.TrimSpace("(replace) " + replaced + " " + text)})
	}
	c.line(rest)
}

// line takes steps and expectations apart.
func (c *testCase) line(text string) {
	if i := c.expectAt(text); i >= 0 {
		if err := c.expect.read(text[i+1:]); err != nil {
			c.err = fmt.Errorf("case %s: %w", c.name, err)
		}
		text = text[:i]
	}
	for text != "" {
		part := text
		if i := outside(text, func(s string) bool { return s[0] == ';' }); i >= 0 {
			part, text = text[:i], text[i+1:]
		} else {
			text = ""
		}
		part = strings.TrimSpace(part)
		if part != "" && strings.ContainsRune("-+~@", rune(part[0])) {
			c.steps = append(c.steps, step{part[0], strings.TrimSpace(part[1:])})
		}
	}
}

// expectAt finds the equals sign that begins the expectations.
func (c *testCase) expectAt(text string) int {
	if strings.HasPrefix(text, "=") {
		return 0
	}
	for from := 0; ; {
		i := outside(text[from:], func(s string) bool { return s[0] == '=' && len(s) > 1 && s[1] == ' ' })
		if i < 0 {
			return -1
		}
		at := from + i
		if (at == 0 || text[at-1] == ' ') && isExpectation(strings.TrimSpace(text[at+1:])) {
			return at
		}
		from = at + 1
	}
}

// marks tells whether a step or an expectation begins here.
func marks(s string) bool {
	return len(s) > 1 && strings.ContainsRune("-+~@=", rune(s[0])) && s[1] == ' '
}

// outside finds the first place where is holds, at a word's start and not within
// quotes or parentheses; a semicolon may stand anywhere outside them.
func outside(text string, is func(rest string) bool) int {
	quote, depth := false, 0
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case quote && ch == '\\':
			i++
		case ch == '"':
			quote = !quote
		case quote:
		case ch == '(':
			depth++
		case ch == ')':
			depth = max(0, depth-1)
		case depth > 0:
		case (ch == ';' || i == 0 || text[i-1] == ' ') && is(text[i:]):
			return i
		}
	}
	return -1
}

var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func quotes(s string) []string { return quotedText.FindAllString(s, -1) }

func quoted(s string) (all []string) {
	for _, q := range quotes(s) {
		all = append(all, strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(q[1:len(q)-1]))
	}
	return all
}

// dropParens takes prose in parentheses out; those that belong to a word,
// as in dom(example.net), stay.
func dropParens(text string) string {
	var b strings.Builder
	depth, quote := 0, false
	for i := 0; i < len(text); i++ {
		ch := text[i]
		if ch == '"' && depth == 0 && (i == 0 || text[i-1] != '\\') {
			quote = !quote
		}
		if ch == '(' && !quote && (depth > 0 || i == 0 || text[i-1] == ' ') {
			depth++
		}
		if depth == 0 {
			b.WriteByte(ch)
		}
		if ch == ')' && depth > 0 {
			depth--
		}
	}
	return b.String()
}

// all steps of a case, with those of the cases it starts from before.
func (f *caseFile) all(c *testCase, seen ...string) (steps []step, bases []*testCase, err error) {
	for _, name := range c.from {
		if slices.Contains(seen, name) {
			return nil, nil, fmt.Errorf("case %s starts from itself", name)
		}
		there := slices.Concat(f.cases, f.bases)
		i := slices.IndexFunc(there, func(o *testCase) bool { return o.name == name })
		if i < 0 {
			return nil, nil, fmt.Errorf("case %s starts from %s, which is not there", c.name, name)
		}
		more, above, err := f.all(there[i], append(seen, c.name)...)
		if err != nil {
			return nil, nil, err
		}
		steps = append(steps, more...)
		bases = append(append(bases, above...), there[i])
	}
	return append(steps, c.steps...), bases, nil
}

// fromCaller is a path as whoever typed it meant it: go test runs in the
// package's folder, its caller mostly stands above.
func fromCaller(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	for _, dir := range []string{".", os.Getenv("PWD"), "..", "../.."} {
		if p := filepath.Join(dir, path); exists(p) {
			return p
		}
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

package preflight

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Explain prints what a check wants, why, who insists on it and with which
// words. An unknown id is an error that names those that come near.
func Explain(w io.Writer, id string) error {
	c := byID(strings.ToUpper(strings.TrimSpace(id)))
	if c == nil {
		return unknownCheck(id)
	}
	t := &text{o: TextOptions{Width: 80}}
	t.right(c.ID, string(c.Severity))
	t.gap()
	t.para(1, "Passes when "+sentenceEnd(c.Title))
	if c.Why != "" {
		t.para(1, sentence(c.Why))
	}
	t.gap()
	if c.Ref != "" {
		t.para(1, "Reference: "+c.Ref)
	}
	if s := sentences[c.ID]; s != "" {
		t.para(3, "\""+s+"\"")
	}
	if len(c.Needs) > 0 {
		t.para(1, "Waits for: "+strings.Join(c.Needs, ", "))
	}
	t.para(1, rights(c))
	if form := remedyForms[c.ID]; form != "" {
		t.gap()
		t.para(1, "What mends it, with the names and addresses of an example:")
		t.gap()
		t.line("   " + form)
	}
	t.replies(c.ID)
	_, err := w.Write(t.b.Bytes())
	return err
}

func sentenceEnd(s string) string { return strings.TrimSuffix(s, ".") + "." }

// rights says what the operator may do to the severity.
func rights(c *Check) string {
	if s := follows[c.ID]; s != "" {
		return fmt.Sprintf("Its severity follows %s under [preflight].", s)
	}
	may := map[string]string{"v": "may be lowered", "^": "may be raised", "x": "may be lowered or raised"}[c.Change]
	if may == "" {
		return `Its severity is fixed; on_fail = "warn" under [preflight] sends in spite of every failure.`
	}
	return fmt.Sprintf("Its severity %s: %q under [preflight.severity].", may, c.ID)
}

func (t *text) replies(id string) {
	first := true
	for _, s := range sayings {
		if !slices.Contains(s.names, id) {
			continue
		}
		if first {
			t.gap()
			t.para(1, "Receivers that insist, and how they put it:")
			first = false
		}
		t.gap()
		t.para(3, s.who()+", "+strings.TrimSpace(s.codes+" "+s.status))
		for _, words := range s.says[:min(len(s.says), 2)] {
			t.para(5, fmt.Sprintf("%q", words))
		}
		t.para(5, "-> "+s.do)
	}
}

func unknownCheck(id string) error {
	near := nearIDs(strings.ToUpper(id))
	if len(near) == 0 {
		return fmt.Errorf("there is no check %q; relay preflight --json names them all", id)
	}
	return fmt.Errorf("there is no check %q; near it: %s", id, strings.Join(near, ", "))
}

// nearIDs are the ids that share the most with a mistyped one, the nearest first.
func nearIDs(id string) []string {
	type near struct {
		id   string
		away int
	}
	var all []near
	for _, c := range Checks {
		away := Distance(id, c.ID)
		if strings.Contains(c.ID, id) && len(id) >= 3 {
			away = 0
		}
		if away <= max(2, len(id)/3) {
			all = append(all, near{c.ID, away})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return a.away - b.away })
	var ids []string
	for _, n := range all[:min(len(all), 5)] {
		ids = append(ids, n.id)
	}
	return ids
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

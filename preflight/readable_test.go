package preflight_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"smtprelay/preflight"
)

// readable holds what is true of the report of any case, whatever is wrong in it.
func readable(t testing.TB, rep *preflight.Report) {
	t.Helper()
	for _, o := range []preflight.TextOptions{{}, {ASCII: true}} {
		var b bytes.Buffer
		if err := preflight.WriteText(&b, rep, o); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		bad := false
		complain := func(format string, a ...any) {
			t.Helper()
			t.Errorf(format, a...)
			bad = true
		}
		if strings.Contains(text, "\x1b") {
			complain("colour where none was asked for")
		}
		first := 0
		for i, l := range strings.Split(text, "\n") {
			if first == 0 && (strings.HasPrefix(l, " FAIL ") || strings.HasPrefix(l, " unknown ") || strings.HasPrefix(l, " degraded ") || strings.HasPrefix(l, " off ")) {
				first = i + 1
			}
			if n := utf8.RuneCountInString(l); n > 80 && !copied(rep, l) {
				complain("a line of %d columns: %q", n, l)
			}
			if o.ASCII && strings.ContainsFunc(l, func(r rune) bool { return r > '~' }) {
				complain("not ASCII: %q", l)
			}
		}
		wrong := rep.Overall != preflight.Pass && !rep.Plan.SmartHostOnly
		if wrong && (first == 0 || first > 12) {
			complain("the first problem stands in line %d", first)
		}
		told := map[string]int{}
		for l := range strings.Lines(text) {
			told[strings.TrimSuffix(l, "\n")]++
		}
		for _, v := range append(rep.Sources, rep.Senders...) {
			for _, f := range v.Findings {
				if f.Severity == preflight.Informational || f.Status != preflight.Fail {
					continue
				}
				for _, r := range f.Remedy.Records {
					if n := told["       "+r.String()]; n != 1 {
						complain("%s: the record stands %d times alone on its line: %s", f.Check.ID, n, r)
					}
				}
				if title := "] " + f.Remedy.Title; f.Remedy.Title != "" && strings.Count(text, title+" ")+strings.Count(text, title+"\n") > 1 {
					complain("%s: told to do twice: %s", f.Check.ID, f.Remedy.Title)
				}
			}
		}
		if !strings.Contains(text, "exit ") {
			complain("no exit code at the end")
		}
		if bad {
			t.Log("\n" + text)
		}
	}
}

// copied tells whether a line is one to be copied, which is never wrapped: a
// record, a setting or a command of a remedy; or a word that cannot be.
func copied(rep *preflight.Report, line string) bool {
	text := strings.TrimSpace(line)
	for _, f := range findingsOf(rep) {
		for _, r := range f.Remedy.Records {
			if text == r.String() {
				return true
			}
		}
		for _, s := range append(strings.Split(f.Remedy.Setting, "\n"), f.Remedy.Steps...) {
			if s != "" && strings.HasSuffix(text, s) {
				return true
			}
		}
	}
	return !strings.Contains(text, " ")
}

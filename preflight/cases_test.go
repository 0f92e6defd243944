package preflight_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
)

var casesFlag = flag.String("cases", "", "a file of cases to run instead of those in testdata")

func TestCases(t *testing.T) {
	for _, f := range caseFiles(t) {
		for _, c := range f.cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				steps, bases, err := f.all(c)
				if err != nil {
					t.Fatal(err)
				}
				w := build(t, f.base, steps)
				began := time.Now()
				fs, rep := judged(t, w)
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("the run took %v", took)
				}
				c.check(t, bases, fs, rep)
				readable(t, rep)
			})
		}
	}
}

// caseFiles are the file of the flag, or those of testdata. A file without a
// baseline of its own has that of cases.txt.
func caseFiles(t testing.TB) (fs []*caseFile) {
	t.Helper()
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *casesFlag != "" {
		names = []string{fromCaller(*casesFlag)}
	}
	for _, name := range names {
		f, err := readCases(name)
		if err != nil {
			t.Fatal(err)
		}
		fs = append(fs, f)
	}
	for _, f := range fs {
		f.base.complete(own.base)
		for _, c := range own.cases { // to start from
			if !slices.ContainsFunc(f.cases, func(o *testCase) bool { return o.name == c.name }) {
				f.bases = append(f.bases, c)
			}
		}
	}
	return fs
}

func build(t testing.TB, b baseline, steps []step) *world {
	t.Helper()
	w, err := newWorld(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := w.step(s); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func judged(t testing.TB, w *world) ([]preflight.Finding, *preflight.Report) {
	t.Helper()
	_, out := w.start(t)
	fs, _ := preflight.Run(context.Background(), &w.plan, out)
	return fs, preflight.Judge(w.plan.Learn(out.Observed, time.Now()), fs, time.Now())
}

func (c *testCase) check(t *testing.T, bases []*testCase, fs []preflight.Finding, rep *preflight.Report) {
	t.Helper()
	e := &c.expect
	e.check(t, fs, rep)
	allowed := map[string]bool{}
	unknowns := false
	for _, o := range append(bases, c) {
		for _, w := range o.expect.findings {
			allowed[w.id] = true
		}
	}
	for _, v := range e.verdicts {
		unknowns = unknowns || v[1] == "unknown"
	}
	for _, f := range fs {
		if allowed[f.Check.ID] || f.Status == preflight.Pass || f.Status == preflight.Skip || f.Status == preflight.Unknown && unknowns {
			continue
		}
		t.Errorf("unexpected: %s", show(f))
	}
	if t.Failed() {
		for _, f := range fs {
			t.Log(show(f))
		}
	}
}

func (e *expectation) check(t *testing.T, fs []preflight.Finding, rep *preflight.Report) {
	t.Helper()
	for _, w := range e.findings {
		w.check(t, fs)
	}
	for _, id := range e.never {
		known(t, id)
		for _, f := range fs {
			if f.Check.ID == id && f.Status == preflight.Fail {
				t.Errorf("want no failure of %s, got %s", id, show(f))
			}
		}
	}
	for _, text := range e.texts {
		if !slices.ContainsFunc(fs, func(f preflight.Finding) bool { return strings.Contains(words(f), text) }) {
			t.Errorf("%q is in no finding", text)
		}
	}
	for _, starts := range e.allSkip {
		for _, f := range fs {
			if slices.ContainsFunc(starts, func(s string) bool { return strings.HasPrefix(f.Check.ID, s) }) && f.Status != preflight.Skip {
				t.Errorf("want a skip, got %s", show(f))
			}
		}
	}
	for _, v := range e.verdicts {
		if got := verdict(rep, v[0]); string(got) != v[1] {
			t.Errorf("verdict of %s: %q, want %s", v[0], got, v[1])
		}
	}
	if e.overall != "" && string(rep.Overall) != e.overall {
		t.Errorf("overall %s, want %s", rep.Overall, e.overall)
	}
	if e.action != "" && rep.Action != e.action {
		t.Errorf("action %s, want %s", rep.Action, e.action)
	}
	if e.exit != "" && fmt.Sprint(rep.Exit()) != e.exit {
		t.Errorf("exit %d, want %s", rep.Exit(), e.exit)
	}
	if e.serveExit == "78" && (rep.Overall != preflight.Fail || rep.Action != "refuse") {
		t.Errorf("%s with action %s starts, want a refusal", rep.Overall, rep.Action)
	}
}

// check wants one finding that is so and, where it is not to fail, none that does.
func (w wanted) check(t *testing.T, fs []preflight.Finding) {
	t.Helper()
	known(t, w.id)
	found := false
	var seen []string
	for _, f := range fs {
		if f.Check.ID != w.id || w.subject != "" && !named(f, w.subject) {
			continue
		}
		seen = append(seen, show(f))
		found = found || string(f.Status) == w.status
		if f.Status == preflight.Fail && w.status != "fail" {
			t.Errorf("want %s:%s, got %s", w.id, w.status, show(f))
		}
	}
	if !found {
		t.Errorf("want %s:%s, got %q", w.id, w.status, seen)
	}
}

func named(f preflight.Finding, subject string) bool {
	if d, ok := strings.CutPrefix(subject, "dom("); ok {
		return f.Sender == strings.TrimSuffix(d, ")")
	}
	return f.Source == subject || f.Sender == subject || f.SmartHost == subject || subject == "dom" && f.Sender != ""
}

// known wants that there is such a check.
func known(t *testing.T, id string) {
	t.Helper()
	if !slices.ContainsFunc(preflight.Checks, func(c *preflight.Check) bool { return c.ID == id }) {
		t.Errorf("there is no check %s", id)
	}
}

func verdict(rep *preflight.Report, subject string) preflight.Status {
	d, byName := strings.CutPrefix(subject, "dom(")
	d = strings.TrimSuffix(d, ")")
	for _, v := range rep.Senders {
		if v.Name == d && byName || subject == "dom" {
			return v.Status
		}
	}
	for _, v := range slices.Concat(rep.Sources, rep.SmartHosts) {
		if v.Name == subject {
			return v.Status
		}
	}
	return ""
}

// words is all that a finding says.
func words(f preflight.Finding) string {
	r := f.Remedy
	all := []string{f.Found, f.Because, r.Title, r.Who, r.Message, r.Setting, r.Under, r.Instead}
	for _, rec := range r.Records {
		all = append(all, rec.String())
	}
	return strings.Join(append(all, r.Steps...), "\n")
}

func show(f preflight.Finding) string {
	s := f.Check.ID + ":" + string(f.Status)
	for _, subject := range []string{f.SmartHost, f.Sender, f.Source} {
		if subject != "" {
			s = subject + "/" + s
		}
	}
	if f.Status == preflight.Skip {
		return s + " (" + f.WaitsFor + f.Because + ")"
	}
	return fmt.Sprintf("%s [%s] %s; want %s", s, f.Severity, f.Found, f.Expected)
}

package preflight_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"smtprelay/preflight"
)

// Of every check all is said, in sentences where it is one.
func TestWordsAreWhole(t *testing.T) {
	named := preflight.Named()
	for _, c := range preflight.Checks {
		for what, text := range map[string]string{"how": c.How, "found": c.Found, "expected": c.Expected, "mend": c.Mend, "ask": c.Ask} {
			if text == "" || strings.TrimSpace(text) != text || strings.Contains(text, "\n") {
				t.Errorf("%s: %s is %q", c.ID, what, text)
			}
		}
		if n := strings.Count(c.How, ". ") + 1; n > 6 || !strings.HasSuffix(c.How, ".") {
			t.Errorf("%s: how it looks takes %d sentences: %s", c.ID, n, c.How)
		}
		switch {
		case c.Quote == "" && c.Basis == "":
			t.Errorf("%s: neither a standard's words nor what else it rests on", c.ID)
		case c.Quote != "" && c.Ref == "":
			t.Errorf("%s: a quote of nothing", c.ID)
		case c.Basis != "" && !strings.ContainsAny(c.Basis[len(c.Basis)-1:], `."`):
			t.Errorf("%s: basis %q", c.ID, c.Basis)
		}
		if c.Receivers == "" && !slices.Contains(named, c.ID) {
			t.Errorf("%s: who acts on it?", c.ID)
		}
		if strings.HasSuffix(c.Ask, ".") || strings.HasSuffix(c.Varies, ".") {
			t.Errorf("%s: whom to ask and when its severity varies are no sentences", c.ID)
		}
	}
}

// variables differ from run to run of a case.
var variables = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d{4,5}`), "127.0.0.1:53"},
	{regexp.MustCompile(`/\S+/hosts\b`), "/etc/hosts"},
	{regexp.MustCompile(`sha256 [0-9a-f]{8}`), "sha256 ab12cd34"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`p=[A-Za-z0-9+/=" ]{40,}`), `p=..."`},
}

func plainly(s string) string {
	for _, v := range variables {
		s = v.find.ReplaceAllString(s, v.with)
	}
	return s
}

// The words that explain a check are those that it prints: some case fails with
// that finding and has that remedy. And where a case fails with another severity
// than the check's own, it is said when.
func TestWordsAreAsPrinted(t *testing.T) {
	if *casesFlag != "" {
		return
	}
	found, mends, varied := map[string]bool{}, map[string]bool{}, map[string]string{}
	survey(t, func(t *testing.T, w *world, fs []preflight.Finding) {
		for _, f := range fs {
			c := f.Check
			if f.Status != preflight.Fail && c.ID != "DNS-REACHABLE" {
				continue
			}
			found[plainly(c.ID+": "+f.Found+"\n"+f.Expected)] = true
			for _, r := range f.Remedy.Records {
				mends[plainly(c.ID+": "+string(doing(f.Remedy, r))+r.String())] = true
			}
			for _, s := range append(strings.Split(f.Remedy.Setting, "\n"), append(f.Remedy.Steps, f.Remedy.Title)...) {
				mends[plainly(c.ID+": "+s)] = true
			}
			if _, chosen := w.plan.Policy.Severity[c.ID]; !chosen && f.Severity != c.Severity {
				varied[c.ID] = t.Name()
			}
		}
	})
	for _, c := range preflight.Checks {
		if !found[plainly(c.ID+": "+c.Found+"\n"+c.Expected)] {
			t.Errorf("%s: no case in which it is printed %q, expected %q", c.ID, c.Found, c.Expected)
		}
		if !mends[plainly(c.ID+": "+string(c.Do)+c.Mend)] && c.ID != "DNSBL-USABLE" { // that is in a sentence
			t.Errorf("%s: no case in which it is mended by %s %q", c.ID, c.Do, c.Mend)
		}
		if (c.Varies != "") != (varied[c.ID] != "") {
			t.Errorf("%s: its severity varies %q; in the cases: %q", c.ID, c.Varies, varied[c.ID])
		}
	}
}

// doing is what a remedy does with a record: what is added where something else goes
// stands in the place of that.
func doing(r preflight.Remedy, rec preflight.Record) preflight.Change {
	gone := func(o preflight.Record) bool { return o.Do == preflight.Remove && o.Owner == rec.Owner }
	if rec.Do == preflight.Add && slices.ContainsFunc(r.Records, gone) {
		return preflight.Replace
	}
	return rec.Do
}

func explained(t *testing.T, id string, o preflight.TextOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := preflight.Explain(&b, id, o); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return b.String()
}

func TestExplain(t *testing.T) {
	for _, c := range preflight.Checks {
		text := explained(t, strings.ToLower(c.ID), preflight.TextOptions{})
		said := strings.Join(strings.Fields(text), " ")
		for _, want := range append(strings.Split(c.Ref, "; "), c.How, c.Found, c.Mend, c.Ask, c.Quote, c.Basis, c.Varies, strings.Join(c.Needs, ", "), string(c.Severity)) {
			if !strings.Contains(strings.ToLower(said), strings.ToLower(want)) {
				t.Errorf("%s is not explained by %q:\n%s", c.ID, want, text)
			}
		}
		fits(t, c.ID, text, c.Mend)
	}
	for _, name := range []string{"PTR", "rdns", "A", "EHLO", "helo", "MX", "SPF", "DKIM", "DMARC"} {
		text := explained(t, name, preflight.TextOptions{ASCII: true})
		if strings.Count(text, "\n   ") < 2 {
			t.Errorf("%s leads to no checks:\n%s", name, text)
		}
		fits(t, name, text, " IN ")
	}
	for _, want := range []string{"nslookup -q=ns 2.0.192.in-addr.arpa.", "dig 25.2.0.192.in-addr.arpa ptr +trace", "PTR-EXISTS"} {
		if text := explained(t, "PTR", preflight.TextOptions{}); !strings.Contains(text, want) {
			t.Errorf("PTR is explained without %s", want)
		}
	}
}

// fits: no line has more columns than a screen, but one that is to be copied.
func fits(t *testing.T, id, text, copied string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(line, copied) {
			t.Errorf("%s: a line of %d columns: %s", id, n, line)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	for _, c := range preflight.Checks {
		var b bytes.Buffer
		var got struct {
			ID, How, Mend string
			Replies       []struct{ Who, Do string }
		}
		if err := errors.Join(preflight.ExplainJSON(&b, c.ID), json.Unmarshal(b.Bytes(), &got)); err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
		if got.ID != c.ID || got.How != c.How || got.Mend != c.Mend {
			t.Errorf("%s: %+v", c.ID, got)
		}
	}
	var b bytes.Buffer
	if err := preflight.ExplainJSON(&b, "mx"); err != nil || !strings.Contains(b.String(), `"MX-NOT-ALIAS"`) {
		t.Errorf("%v: %s", err, b.String())
	}
}

// What nobody knows is answered by all that there is, the likeliest first.
func TestExplainUnknown(t *testing.T) {
	for id, near := range map[string]string{"PTR-EXIST": "PTR-EXISTS", "dmarc-": "DMARC-PRESENT", "EHLO_FQDN": "EHLO-FQDN", "ptrs": "PTR"} {
		err := preflight.Explain(&bytes.Buffer{}, id, preflight.TextOptions{})
		var u preflight.UnknownID
		if !errors.As(err, &u) || !strings.Contains(err.Error(), near) {
			t.Fatalf("%s: %v", id, err)
		}
		if all := u.Nearest(); all[0] != near || len(all) < len(preflight.Checks)+7 {
			t.Errorf("%s: %d, the nearest %s", id, len(all), all[0])
		}
	}
	for _, id := range []string{strings.Repeat("x", 1<<20), "", "qqqqqqqq"} {
		if err := preflight.Explain(&bytes.Buffer{}, id, preflight.TextOptions{}); err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), "near") {
			t.Errorf("%.20q: %.300v", id, err)
		}
	}
}

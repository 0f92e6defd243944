package preflight_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
)

func TestChecksAreDeclaredWhole(t *testing.T) {
	id := regexp.MustCompile(`^[A-Z][A-Z0-9]+(-[A-Z0-9]+)+$`)
	rfc := regexp.MustCompile(`^RFC \d+ section [\d.]+(; RFC \d+ section [\d.]+)*$`)
	seen := map[string]*preflight.Check{}
	for _, c := range preflight.Checks {
		if !id.MatchString(c.ID) || seen[c.ID] != nil {
			t.Errorf("%s: not an id, or there twice", c.ID)
		}
		if c.Title == "" || c.Why == "" || c.Run == nil || !slices.Contains([]string{"=", "v", "^", "x"}, c.Change) {
			t.Errorf("%s: something is missing", c.ID)
		}
		if strings.HasSuffix(c.Title, ".") || strings.HasSuffix(c.Why, ".") {
			t.Errorf("%s: title and why are no sentences", c.ID)
		}
		if c.Ref != "" && !rfc.MatchString(c.Ref) {
			t.Errorf("%s: reference %q", c.ID, c.Ref)
		}
		if !slices.Contains([]preflight.Severity{preflight.Mandatory, preflight.Recommended, preflight.Informational}, c.Severity) {
			t.Errorf("%s: severity %q", c.ID, c.Severity)
		}
		if !slices.Contains([]preflight.Scope{preflight.ScopeHost, preflight.ScopeSource, preflight.ScopeSender, preflight.ScopePair, preflight.ScopeZone, preflight.ScopeSmartHost}, c.Scope) {
			t.Errorf("%s: scope %q", c.ID, c.Scope)
		}
		for _, need := range c.Needs {
			n := seen[need]
			if n == nil {
				t.Errorf("%s needs %s, which is not before it", c.ID, need)
			} else if n.Scope != preflight.ScopeHost && n.Scope != c.Scope && (c.Scope != preflight.ScopePair || n.Scope == preflight.ScopeZone) {
				t.Errorf("%s needs %s, which speaks of somebody else", c.ID, need)
			}
		}
		seen[c.ID] = c
	}
}

func TestEveryCheckDependsOnDNS(t *testing.T) {
	needs := map[string][]string{}
	for _, c := range preflight.Checks {
		needs[c.ID] = c.Needs
		if c.ID != "DNS-REACHABLE" && !reaches(needs, c.ID, "DNS-REACHABLE") {
			t.Errorf("%s is printed when no resolver answers", c.ID)
		}
	}
}

func reaches(needs map[string][]string, from, to string) bool {
	return slices.ContainsFunc(needs[from], func(n string) bool { return n == to || reaches(needs, n, to) })
}

// The ids are a promise to whoever wrote them into a configuration or a monitor.
func TestIDs(t *testing.T) {
	want := strings.Fields(`DNS-REACHABLE
		DNS-TCP DNS-HONEST DNS-OWN-RESOLVER DNS-VALIDATES DNS-HOSTS-OVERRIDE
		HOST-CLOCK LISTENER-NAME SUBMIT-CERT
		EGRESS-KNOWN EGRESS-PUBLIC EGRESS-BINDABLE
		EGRESS-OBSERVED EGRESS-STABLE
		PTR-EXISTS PTR-NAME-VALID PTR-FORWARD-CONFIRMED PTR-ALL-CONFIRMED PTR-SINGLE PTR-TARGET-NOT-ALIAS
		PTR-NOT-GENERIC PTR-DELEGATION
		EHLO-SET EHLO-FQDN EHLO-PUBLIC-NAME EHLO-ADDR EHLO-ADDR-PUBLIC EHLO-NOT-ALIAS EHLO-MATCHES-PTR
		DNS-VIEW DNS-AUTH-CONSISTENT
		EHLO-STABLE NET-PORT25 NET-PORT25-HONEST
		SPF-HELO-PRESENT SPF-HELO-PASS IPV6-SOURCE
		DNSBL-USABLE DNSBL-CLEAN
		SENDER-RESOLVES
		SENDER-SOA
		MX-PRESENT MX-NOT-NULL MX-NOT-IP MX-NOT-ALIAS MX-RESOLVES
		SPF-SENDER-PRESENT SPF-SENDER-PASS SPF-SINGLE SPF-SYNTAX SPF-TARGETS SPF-LOOKUPS SPF-VOID SPF-NOT-PERMISSIVE SPF-NO-PTR
		SPF-SIZE SPF-LEFTOVERS
		DKIM-CONFIGURED DKIM-PUBLISHED DKIM-MATCHES-KEY
		DKIM-STRENGTH DKIM-FLAGS
		DMARC-PRESENT
		DMARC-VALID DMARC-RUA AUTH-ANY AUTH-ALIGNED
		SMARTHOST-NOT-SELF SMARTHOST-REACHABLE SMARTHOST-TLS SMARTHOST-AUTH`)
	var got []string
	for _, c := range preflight.Checks {
		got = append(got, c.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("ids are\n%q, want\n%q", got, want)
	}
}

func TestMayChange(t *testing.T) {
	for _, c := range []struct {
		id string
		to preflight.Severity
		ok bool
	}{
		{"PTR-EXISTS", preflight.Recommended, false},
		{"PTR-EXISTS", preflight.Mandatory, true},
		{"PTR-NAME-VALID", preflight.Informational, true},
		{"EHLO-ADDR-PUBLIC", preflight.Mandatory, true},
		{"EHLO-ADDR-PUBLIC", preflight.Informational, false},
		{"PTR-SINGLE", preflight.Mandatory, true},
		{"PTR-SINGLE", preflight.Informational, true},
		{"SPF-SENDER-PASS", preflight.Recommended, false},
		{"EHLO-MATCHES-PTR", preflight.Recommended, false},
		{"PTR-EXIST", preflight.Mandatory, false},
		{"PTR-SINGLE", "urgent", false},
		{"PTR-SINGLE", "", false},
	} {
		if err := preflight.MayChange(c.id, c.to); (err == nil) != c.ok {
			t.Errorf("%s to %q: %v", c.id, c.to, err)
		}
	}
}

func TestCatalogueIsFresh(t *testing.T) {
	const path = "../docs/checks.md"
	var b bytes.Buffer
	if err := preflight.WriteCatalogue(&b); err != nil {
		t.Fatal(err)
	}
	if f := flag.Lookup("update"); f.Value.String() == "true" { // render_test.go declares it
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, b.Bytes()) {
		t.Error("docs/checks.md is stale: go test ./preflight -run Catalogue -update")
	}
}

// survey runs every case that has answers and hands its findings over.
func survey(t *testing.T, each func(t *testing.T, w *world, fs []preflight.Finding)) {
	for _, f := range caseFiles(t) {
		for _, c := range f.cases {
			steps, _, err := f.all(c)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(steps, func(s step) bool {
				return s.kind == '~' && (strings.Contains(s.text, "drop") || strings.Contains(s.text, "impostor"))
			}) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				w := build(t, f.base, steps)
				_, out := w.start(t)
				fs, _ := preflight.Run(context.Background(), &w.plan, out)
				each(t, w, fs)
			})
		}
	}
}

// Each check is seen to pass and to fail in a case, where it speaks of a source in
// one over IPv4 and in one over IPv6. What is skipped or unknown shows nothing; that
// a failure is meant is TestCases's affair, which lets no other happen.
func TestEveryCheckIsSeen(t *testing.T) {
	if *casesFlag != "" {
		return
	}
	seen := map[string]bool{}
	survey(t, func(_ *testing.T, w *world, fs []preflight.Finding) {
		for _, f := range fs {
			seen[sight(f.Check.ID, family(&w.plan, f.Source), f.Status)] = true
		}
	})
	for _, c := range preflight.Checks {
		families := []string{""}
		if slices.Contains([]preflight.Scope{preflight.ScopeSource, preflight.ScopePair, preflight.ScopeZone}, c.Scope) {
			families = []string{"IPv4", "IPv6"}
		}
		for _, family := range families {
			for _, status := range []preflight.Status{preflight.Pass, preflight.Fail} {
				if s := sight(c.ID, family, status); !seen[s] && unseen[s] == "" {
					t.Errorf("no case has %s", s)
				} else if seen[s] && unseen[s] != "" {
					t.Errorf("there is a case that has %s", s)
				}
			}
		}
	}
}

// unseen cannot be seen, and why.
var unseen = map[string]string{
	"DNS-REACHABLE fail":    "without a resolver nothing is definite: it is unknown",
	"IPV6-SOURCE IPv4 pass": "it is about IPv6",
	"IPV6-SOURCE IPv4 fail": "it is about IPv6",
}

func sight(id, family string, s preflight.Status) string {
	return strings.Join(strings.Fields(id+" "+family+" "+string(s)), " ")
}

// family of a source's address; "" where there is no source.
func family(p *preflight.Plan, source string) string {
	i := slices.IndexFunc(p.Sources, func(s preflight.Source) bool { return s.Name == source })
	switch {
	case source == "" || i < 0:
		return ""
	case strings.Contains(or(p.Sources[i].Public, p.Sources[i].Bind), ":"):
		return "IPv6"
	}
	return "IPv4"
}

// The names of the example configuration are in DNS, but nobody's to send from.
func TestExampleNames(t *testing.T) {
	f, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, f.base, []step{{'@', "ehlo=mail.example.com"}})
	w.plan.Special = preflight.Special{}
	fs, _ := judged(t, w)
	i := slices.IndexFunc(fs, func(f preflight.Finding) bool { return f.Check.ID == "EHLO-PUBLIC-NAME" })
	if want := "mail.example.com: example.com is for examples only (RFC 2606)"; fs[i].Status != preflight.Fail || fs[i].Found != want {
		t.Errorf("%s, want %q", show(fs[i]), want)
	}
}

// A name that no receiver could look up is not asked for either.
func TestNoQuestionForABadName(t *testing.T) {
	f, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mail", "mail.corp.local", "mail_1.example.net", "server.lan"} {
		w := build(t, f.base, []step{{'@', "ehlo=" + name}})
		s, out := w.start(t)
		preflight.Run(context.Background(), &w.plan, out)
		for _, q := range s.Questions() {
			if strings.HasPrefix(q, name+". ") {
				t.Errorf("EHLO %s: asked for %s", name, q)
			}
		}
	}
}

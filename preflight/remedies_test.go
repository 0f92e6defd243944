package preflight_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
)

// What a report tells people to publish has to be right: each change, made to
// the zone exactly as printed, turns its finding to pass.
func TestRemediesHeal(t *testing.T) {
	seen := map[string]bool{}
	survey(t, func(t *testing.T, w *world, fs []preflight.Finding) {
		for _, f := range treatable(fs) {
			again := w.treated(t, f.Remedy.Records)
			seen[f.Check.ID] = true
			if now := same(again, f); !healed(f, now) {
				t.Errorf("%s\ntold to publish %v\nthen %s", show(f), f.Remedy.Records, show(now))
			}
		}
	})
	for _, id := range []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED", "EHLO-ADDR", "EHLO-MATCHES-PTR", "SPF-SENDER-PRESENT", "SPF-SENDER-PASS", "SPF-HELO-PASS", "DKIM-PUBLISHED", "DMARC-PRESENT"} {
		if *casesFlag == "" && !seen[id] {
			t.Errorf("no case in which %s has a record to publish", id)
		}
	}
}

// Nobody makes one change of a report and leaves the rest: no remedy undoes another.
func TestRemediesAgree(t *testing.T) {
	survey(t, func(t *testing.T, w *world, fs []preflight.Finding) {
		var all []preflight.Record
		for _, f := range treatable(fs) {
			all = append(all, f.Remedy.Records...)
		}
		again := w.treated(t, all)
		for _, f := range treatable(fs) {
			if now := same(again, f); !healed(f, now) {
				t.Errorf("%s\nall told to publish %v\nthen %s", show(f), all, show(now))
			}
		}
	})
}

// Whoever could send for a domain before can send afterwards.
func TestSPFRemedyKeepsSenders(t *testing.T) {
	for title, c := range map[string]struct {
		records []string
		senders []string
	}{
		"two records":                         {[]string{"v=spf1 ip4:198.51.100.7 ~all", "v=spf1 include:_spf.example.org -all"}, []string{"198.51.100.7", "198.51.100.8"}},
		"a redirect beside a record with all": {[]string{"v=spf1 redirect=_spf.example.org", "v=spf1 ip4:198.51.100.7 -all"}, []string{"198.51.100.7", "198.51.100.8"}},
		"two redirects":                       {[]string{"v=spf1 redirect=_spf.example.org", "v=spf1 redirect=_other.example.org"}, []string{"198.51.100.8", "198.51.100.9"}},
		"one redirect":                        {[]string{"v=spf1 redirect=_spf.example.org"}, []string{"198.51.100.8"}},
		"slips of the pen":                    {[]string{"v=spf1 ipv4:198.51.100.7 redirect:_spf.example.org -all"}, []string{"198.51.100.7", "198.51.100.8"}},
		"a bad term":                          {[]string{"v=spf1 ip4:198.51.100.7 bogus:x a:old.example.org -all"}, []string{"198.51.100.7", "198.51.100.10"}},
	} {
		own, err := readCases("testdata/cases.txt")
		if err != nil {
			t.Fatal(err)
		}
		steps := []step{{'-', "example.net TXT"},
			{'+', `_spf.example.org. TXT "v=spf1 ip4:198.51.100.8 -all"`},
			{'+', `_other.example.org. TXT "v=spf1 ip4:198.51.100.9 -all"`},
			{'+', "old.example.org. A 198.51.100.10"}}
		for _, r := range c.records {
			steps = append(steps, step{'+', "example.net. TXT " + preflight.Quote(r)})
		}
		w := build(t, own.base, steps)
		fs, _ := judged(t, w)
		i := slices.IndexFunc(fs, func(f preflight.Finding) bool { return f.Check.ID == "SPF-SENDER-PASS" })
		if fs[i].Status != preflight.Fail {
			t.Fatalf("%s: %s", title, show(fs[i]))
		}
		for _, sender := range append(c.senders, "192.0.2.25") {
			old := *w
			old.plan.Sources = []preflight.Source{{Name: "wan4", Public: sender, EHLO: "mail.example.net"}}
			if now := same(old.treated(t, fs[i].Remedy.Records), fs[i]); now.Status != preflight.Pass {
				t.Errorf("%s: %v\n%s", title, fs[i].Remedy.Records, show(now))
			}
		}
	}
}

// Greeting by the address's name is no way out where that is a provider's default.
func TestNoGreetingByAGenericName(t *testing.T) {
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gw.isp.example.org": `ehlo = "gw.isp.example.org"`, "192-0-2-25.dyn.isp.example.org": ""} {
		w := build(t, own.base, []step{{'-', "25.2.0.192.in-addr.arpa PTR"}, {'+', "25.2.0.192.in-addr.arpa. PTR " + name + "."}, {'+', name + ". A 192.0.2.25"}})
		fs, _ := judged(t, w)
		i := slices.IndexFunc(fs, func(f preflight.Finding) bool { return f.Check.ID == "EHLO-MATCHES-PTR" })
		if f := fs[i]; f.Status != preflight.Fail || f.Remedy.Setting != want {
			t.Errorf("%s: setting %q, want %q\n%s", name, f.Remedy.Setting, want, show(f))
		}
	}
}

// treatable findings fail and say what to publish.
func treatable(fs []preflight.Finding) []preflight.Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(f preflight.Finding) bool {
		return f.Status != preflight.Fail || len(f.Remedy.Records) == 0
	})
}

// healed tells whether what a finding prints did what it is to do. Of too many
// look-ups so many may be left that they are worth a word.
func healed(was, now preflight.Finding) bool {
	eased := now.Severity == preflight.Informational && was.Severity != preflight.Informational
	return now.Status == preflight.Pass || now.Check.ID == "SPF-LOOKUPS" && eased
}

// same is the finding of the same check and subject.
func same(fs []preflight.Finding, f preflight.Finding) preflight.Finding {
	return fs[slices.IndexFunc(fs, func(o preflight.Finding) bool { return about(o, f) })]
}

// about tells whether two findings are of the same check and subject.
func about(a, b preflight.Finding) bool {
	return a.Check == b.Check && a.Source == b.Source && a.Sender == b.Sender
}

// treated is what is found after the changes.
func (w *world) treated(t *testing.T, rs []preflight.Record) []preflight.Finding {
	t.Helper()
	fixed := w.fixed(t, rs)
	_, out := fixed.start(t)
	fs, _ := preflight.Run(context.Background(), &fixed.plan, out)
	return fs
}

// fixed is the world after the changes.
func (w *world) fixed(t *testing.T, rs []preflight.Record) *world {
	t.Helper()
	fixed := *w
	fixed.behave, fixed.views = nil, nil // and what caches held is gone
	fixed.records = slices.Clone(w.records)
	fixed.apply(t, rs)
	return &fixed
}

// apply makes changes as whoever runs the zone would: what is to go goes first.
func (w *world) apply(t *testing.T, rs []preflight.Record) {
	t.Helper()
	tag := func(data string) string {
		text := strings.ToLower(strings.Join(quoted(data), ""))
		v, _, _ := strings.Cut(strings.ReplaceAll(text, ";", " "), " ")
		return v
	}
	was := slices.Clone(w.records)
	for _, r := range rs {
		gone := func(o zoneRecord) bool {
			return o.owner == r.Owner && o.kind == r.Type && (r.Do == preflight.Remove && o.data == r.Data ||
				r.Do == preflight.Replace && (r.Type != "TXT" || tag(o.data) == tag(r.Data)))
		}
		if r.Do == preflight.Remove && !slices.ContainsFunc(was, gone) {
			t.Errorf("told to remove %s, which is not there", r)
		}
		w.records = slices.DeleteFunc(w.records, gone)
	}
	done := map[string]bool{}
	for _, r := range rs {
		if r.Do == preflight.Remove || done[r.String()] {
			continue
		}
		done[r.String()] = true
		if r.TTL <= 0 {
			t.Errorf("%s has no TTL", r)
		}
		if err := w.add(r.String()); err != nil {
			t.Errorf("the record printed cannot be read: %v", err)
		}
	}
	if name := w.beside(); name != "" {
		t.Errorf("told to publish %v beside the alias %s", rs, name)
	}
}

// A remedy does not name what has just been found wanting.
func TestNamingIsNoCircle(t *testing.T) {
	f, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mail.example.net", "[192.0.2.25]", "mail"} {
		w := build(t, f.base, []step{{'@', "ehlo=" + name}, {'-', "25.2.0.192.in-addr.arpa PTR"}})
		w.plan.Special.Names = append(w.plan.Special.Names, "example.net") // as if made up
		fs, _ := judged(t, w)
		for _, x := range fs {
			if x.Check.ID == "EHLO-PUBLIC-NAME" && x.Status == preflight.Fail && strings.Contains(x.Remedy.Setting, "example.net") {
				t.Errorf("EHLO %s: %s, and told to write %s", name, x.Found, x.Remedy.Setting)
			}
		}
	}
}

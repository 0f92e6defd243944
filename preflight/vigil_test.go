package preflight

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

// A watch sees a record as soon as it is published, whatever the resolver
// remembers, tells what changed, and how long receivers may not know of it.
func TestVigil(t *testing.T) {
	w := newGateWorld(t)
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	out := w.out
	out.DNS = dns.NewMemo(w.out.DNS) // a cache that never forgets
	v := NewVigil(&w.plan, out)
	if v.Exit() != 3 || v.Done(false) {
		t.Error("something is known before the first look")
	}
	look := func(want Status) string {
		t.Helper()
		r, ok := v.Look(t.Context())
		if !ok || r.Overall != want {
			t.Fatalf("%v, want %s", r.Overall, want)
		}
		var b bytes.Buffer
		if err := v.WriteChanges(&b, TextOptions{ASCII: true}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	look(Fail)
	if changed, todo := v.News(); !changed || !todo {
		t.Error("the first look is no news")
	}
	var b bytes.Buffer
	if err := v.WriteReport(&b, TextOptions{}); err != nil || !strings.Contains(b.String(), "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.") || strings.Contains(b.String(), "exit ") {
		t.Errorf("%v\n%s", err, b.String())
	}
	state := func() string {
		t.Helper()
		var b bytes.Buffer
		lines, err := v.WriteState(&b, TextOptions{}, 0)
		if err != nil || lines != strings.Count(b.String(), "\n") {
			t.Errorf("%v, %d lines\n%s", err, lines, b.String())
		}
		return b.String()
	}
	if s := state(); !strings.Contains(s, "✗ PTR-EXISTS ") || !strings.Contains(s, "more                wait for PTR-EXISTS") || strings.Contains(s, "EHLO-MATCHES-PTR") {
		t.Errorf("what waits has no line together:\n%s", s)
	}
	if s := look(Fail); s != "" {
		t.Errorf("nothing changed:\n%s", s)
	}
	if changed, todo := v.News(); changed || todo {
		t.Error("nothing changed, and yet there is news")
	}
	if err := w.dns.Add("25.2.0.192.in-addr.arpa. 300 IN PTR gw.example.net."); err != nil {
		t.Fatal(err)
	}
	if s := look(Fail); !strings.Contains(s, "ok   PTR-EXISTS            192.0.2.25 is gw.example.net; receivers may") || !strings.Contains(s, "FAIL PTR-FORWARD-CONFIRMED") {
		t.Errorf("another name:\n%s", s)
	}
	if _, todo := v.News(); !todo {
		t.Error("a new problem with a new remedy is nothing to do")
	}
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	if err := w.dns.Add("25.2.0.192.in-addr.arpa. 300 IN PTR mail.example.net."); err != nil {
		t.Fatal(err)
	}
	look(v.settle(t))
	if !v.Done(false) || v.Done(true) != (v.report.Overall == Pass) {
		t.Errorf("%s is not the end", v.report.Overall)
	}
	b.Reset()
	until := clock(v.until())
	if err := v.WriteEnd(&b, TextOptions{}); err != nil || !strings.Contains(strings.Join(strings.Fields(b.String()), " "), "may keep the old answer until "+until) {
		t.Errorf("%v, until %s\n%s", err, until, b.String())
	}
	if s := state(); !strings.Contains(s, "✓ PTR-EXISTS ") || !strings.Contains(s, "cached to ") || !strings.Contains(s, "more                pass") || strings.Contains(s, "✗") {
		t.Errorf("all is well:\n%s", s)
	}
	// What silence does to a good thing is told, and no more.
	if err := w.dns.Behave(".", "servfail"); err != nil {
		t.Fatal(err)
	}
	out.DNS = w.out.DNS
	v.out = out
	look(Unknown)
	if v.Exit() != 3 || v.Done(false) {
		t.Errorf("exit %d in silence", v.Exit())
	}
}

// settle looks until nothing changes any more: what a repaired record brings
// to light is asked for at its own servers one look later.
func (v *Vigil) settle(t *testing.T) Status {
	t.Helper()
	for range 5 {
		if _, ok := v.Look(t.Context()); !ok {
			t.Fatal("cut short")
		}
		if changed, _ := v.News(); !changed {
			break
		}
	}
	return v.report.Overall
}

func TestVigilWaits(t *testing.T) {
	for quiet, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 3 * time.Minute: 15 * time.Second, 30 * time.Minute: time.Minute, 2 * time.Hour: 5 * time.Minute} {
		v := &Vigil{news: time.Now().Add(-quiet)}
		if got := v.Wait(); got != want {
			t.Errorf("%v after the last change: %v, want %v", quiet, got, want)
		}
	}
}

// However much is wrong, what is drawn over fits on a screen.
func TestVigilFitsTheScreen(t *testing.T) {
	s := sceneOf([]string{"wan4"}, "example.net")
	v := &Vigil{plan: s.plan, report: s.report()}
	for i := range 40 {
		f := s.fs[1]
		f.Status, f.Severity, f.Found = Fail, Mandatory, strings.Repeat("very long ", 20)
		if i == 39 {
			f.Status = Pass
		}
		v.items = append(v.items, &vigilItem{Finding: f, bad: noon, kept: time.Hour, wrong: true})
	}
	for _, o := range []TextOptions{{}, {ASCII: true}, {Colour: true}} {
		var b bytes.Buffer
		n, err := v.WriteState(&b, o, time.Minute)
		if err != nil || n != maxVigil+2 || n != strings.Count(b.String(), "\n") {
			t.Errorf("%d lines, %v\n%s", n, err, b.String())
		}
		for l := range strings.Lines(b.String()) {
			if width(strings.TrimSuffix(l, "\n")) > 80 {
				t.Errorf("too wide: %q", l)
			}
		}
	}
}

package preflight

import (
	"fmt"
	"testing"
)

// What was refused for want of something comes when that is seen to fail and to
// pass again, and not before; of what passed all the time nothing comes.
func TestMended(t *testing.T) {
	for name, c := range map[string]struct {
		checks      []string
		owner, kind string
		seen        string // the check that fails then
		good        string
	}{
		"a source": {[]string{"PTR-EXISTS"}, "25.2.0.192.in-addr.arpa", "PTR", "PTR-EXISTS", "25.2.0.192.in-addr.arpa. 1 IN PTR mail.example.net."},
		"a sender": {[]string{"MX-NOT-NULL", "SENDER-RESOLVES"}, "example.net", "MX", "SENDER-RESOLVES", "example.net. 1 IN MX 10 mx.example.net."},
		"a pair":   {[]string{"SPF-SENDER-PASS"}, "example.net", "TXT", "SPF-SENDER-PRESENT", `example.net. 1 IN TXT "v=spf1 ip4:192.0.2.25 -all"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newGateWorld(t)
			w.plan.Policy.Settle = 0
			g := w.gate(t, nil)
			watch(t, g)
			awaited := g.Mended(ours, "wan4", append(c.checks, "NEVER-HEARD-OF"))
			if awaited == "" || awaited != g.Mended(ours, "wan4", c.checks) || !g.Waits(awaited) || !g.Waits(awaited) {
				t.Fatalf("%q: it comes though nothing was mended", awaited)
			}
			if !g.Clear(awaited) {
				t.Error("a start would leave it waiting")
			}
			failed := func(want bool) {
				t.Helper()
				await(t, g, "a change", func(r *Report) bool { f := finding(r, c.seen); return (f.Status == Fail) == want })
			}
			w.dns.Remove(c.owner, c.kind)
			failed(true)
			if !g.Waits(awaited) || g.Clear(awaited) {
				t.Error("it comes while the check fails")
			}
			if err := w.dns.Add(c.good); err != nil {
				t.Fatal(err)
			}
			failed(false)
			if g.Mended(ours, "wan4", c.checks) != awaited {
				t.Error("another mail, refused meanwhile, waits for something else")
			}
			if g.Waits(awaited) {
				t.Error("it does not come")
			}
			if !g.Waits(awaited) {
				t.Error("it comes twice")
			}
		})
	}
}

// Where several things were named and fail, each that is mended is worth a try; that
// another fails in its place is not.
func TestMendedOneByOne(t *testing.T) {
	b := broken{seen: map[string][]string{}}
	b.add("x", []string{"PTR-EXISTS", "PTR-NOT-GENERIC"})
	for _, c := range []struct {
		failing []string
		comes   bool
	}{
		{[]string{"PTR-EXISTS", "PTR-NOT-GENERIC"}, false},
		{[]string{"PTR-NOT-GENERIC"}, true},
		{[]string{"PTR-NOT-GENERIC"}, false},
		{[]string{"PTR-EXISTS"}, false},
		{nil, true},
		{nil, false},
	} {
		if comes := b.note("x", c.failing); comes != c.comes {
			t.Errorf("%v fail: it comes: %t", c.failing, comes)
		}
	}
}

// Of rates and of smart hosts no check can tell; and what waits has an end.
func TestMendedIsBounded(t *testing.T) {
	w := newGateWorld(t)
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	g := w.gate(t, nil)
	for _, none := range []string{g.Mended(ours, "wan4", nil), g.Mended(ours, "wan4", []string{"rate"}), g.Mended(ours, "smarthost", []string{"PTR-EXISTS"})} {
		if none != "" {
			t.Errorf("it waits for %q", none)
		}
	}
	stranger := g.Mended(Mail{Author: "unseen.example"}, "wan4", []string{"SENDER-RESOLVES"})
	if !g.Waits(stranger) || g.Clear(stranger) || len(g.broken.seen) > 0 {
		t.Error("of a sender that nobody has looked at something is known")
	}
	for n := range maxBroken {
		g.broken.seen[fmt.Sprint(n)] = []string{"PTR-EXISTS"}
	}
	if awaited := g.Mended(ours, "wan4", []string{"PTR-EXISTS"}); !g.Waits(awaited) || len(g.broken.seen) != maxBroken {
		t.Errorf("%d are remembered", len(g.broken.seen))
	}
	if !g.Waits(`{"checks":["X"]}`) {
		t.Error("what speaks of nothing comes")
	}
}

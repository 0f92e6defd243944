package preflight

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// talker greets as in a network where all is well, and counts.
func talker() tally {
	return tally{n: make(chan string, 1000), in: Greeting{Code: 220, Addr: there, Hello: "Hello [192.0.2.25]"}}
}

func found(r *Report, id string) Finding {
	for _, v := range r.Sources {
		for _, f := range v.Findings {
			if f.Check.ID == id {
				return f
			}
		}
	}
	return Finding{}
}

// Strangers who get mail of ours may say of our address what they like: they
// change nothing, and no more than one look follows.
func TestStrangersContradictNothing(t *testing.T) {
	w, mail := newGateWorld(t), talker()
	w.out.Probe = mail
	g := w.gate(t, nil)
	for i := range 50 {
		host := fmt.Sprintf("mx.stranger%d.example.org", i)
		g.Met(Contact{Source: "wan4", Host: host, Addr: there, Said: "Hello [198.51.100.66]"})
		g.Met(Contact{Source: "wan4", Host: host, Addr: there, Said: "go away, 198.51.100.66", Refused: true})
	}
	r := g.look(t.Context(), errand{base: true, who: w.plan.Senders, out: g.out})
	if f := found(r, "EGRESS-OBSERVED"); f.Status == Fail || r.Overall == Fail {
		t.Errorf("%s %s", f.Status, f.Found)
	}
}

// A delivery's echo beside that of a witness of ours is enough.
func TestMailContradicts(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, nil)
	said := Observation{Source: "wan4 192.0.2.25", Operator: "gmail.com", Method: byProbe, Addr: there, At: time.Now()}
	g.out.Observed.add(said)
	remote := netip.MustParseAddr("198.51.100.1")
	g.Met(Contact{Source: "wan4", Host: "mx1.outlook.com", Addr: remote, Said: "Hello [198.51.100.7]"})
	if g.due().Equal(g.next) && g.soon.IsZero() {
		t.Error("it does not look sooner")
	}
	g.look(t.Context(), errand{base: true, who: w.plan.Senders, start: true, out: g.out})
	if f := found(g.Report(), "EGRESS-OBSERVED"); f.Status != Fail || !strings.Contains(f.Found, "gmail.com and outlook.com saw 198.51.100.7") {
		t.Errorf("%s %s", f.Status, f.Found)
	}
	g.Met(Contact{Source: "nobody", Host: "mx1.outlook.com", Addr: remote, Said: "Hello [198.51.100.7]"})
}

// Ten connects in a row that time out are a reason to look whether port 25 is
// open, an hour after the last time.
func TestTimeoutsAreLookedInto(t *testing.T) {
	w, mail := newGateWorld(t), talker()
	w.out.Probe = mail
	w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = time.Millisecond, time.Hour
	g := w.gate(t, nil)
	watch(t, g)
	key := w.plan.Sources[0].key()
	old := g.out.Observed.kept.Rounds[key]
	old.At = old.At.Add(-2 * time.Hour)
	g.out.Observed.put(key, old)
	for len(mail.n) > 0 {
		<-mail.n
	}
	for range manyTimeouts - 1 {
		g.Met(Contact{Source: "wan4", TimedOut: true})
	}
	g.Met(Contact{Source: "wan4", Host: "mx.example.org", Addr: there, Said: "mx.example.org"})
	for range manyTimeouts - 1 {
		g.Met(Contact{Source: "wan4", TimedOut: true})
	}
	if _, due := g.out.Observed.due(key, time.Now()); due {
		t.Error("due before there were ten in a row")
	}
	g.Met(Contact{Source: "wan4", TimedOut: true})
	for range 3 {
		select {
		case <-mail.n:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody looked")
		}
	}
}

// A source without a public address is used by the one that was learnt, and the
// next start knows it, and the name that mail left with.
func TestLearntAddressIsUsed(t *testing.T) {
	w, mail := newGateWorld(t), talker()
	w.out.Probe = mail
	w.plan.Sources[0].Bind = "10.0.0.5"
	w.plan.Special.Prefixes = slices.DeleteFunc(slices.Clone(Registries().Prefixes), func(p SpecialPrefix) bool { return strings.HasPrefix(p.What, "documentation") })
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	g := w.gate(t, m)
	r := g.Route(t.Context(), Mail{Envelope: "example.net", Author: "example.net"}, "", nil)
	if r.Source == nil || r.Source.Public != "192.0.2.25" || r.Source.Bind != "10.0.0.5" {
		t.Fatalf("%+v: %s", r, found(g.Report(), "EGRESS-KNOWN").Found)
	}
	if !strings.Contains(w.log.String(), `"msg":"address learnt","source":"wan4","addr":"192.0.2.25"`) {
		t.Errorf("not told: %s", w.log.String())
	}
	g.Met(Contact{Source: "wan4", Host: "mx.example.org", Addr: there, Said: "mx.example.org"})
	g.save(t.Context(), true)
	var text strings.Builder
	if err := WriteText(&text, g.Report(), TextOptions{}); err != nil || !strings.Contains(strings.Join(strings.Fields(text.String()), " "), `to pin it: public = "192.0.2.25"`) {
		t.Errorf("%v\n%s", err, text.String())
	}
	asked := len(mail.n)

	w.plan.Sources[0].EHLO = "mail2.example.net"
	g = w.gate(t, m)
	if len(mail.n) != asked {
		t.Error("asked again within the hour")
	}
	if s := g.judgement().plan.Sources[0]; s.Public != "192.0.2.25" {
		t.Errorf("forgotten: %+v", s)
	}
	if u := g.out.Observed.used(time.Now()); len(u) != 1 || u[0].EHLO != "mail.example.net" || u[0].Addr != here {
		t.Errorf("used: %+v", u)
	}
}

package preflight

import (
	"context"
	"strings"
	"testing"
	"time"
)

var stranger = Mail{Envelope: "good.example.org", Author: "good.example.org"}

// A sender seen for the first time while no resolver answers is unknown, however
// good the verdicts of the sources still are.
func TestFirstSightWithoutResolver(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, nil)
	if err := w.dns.Behave(".", "refused"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := g.Route(t.Context(), stranger, "example.com", nil); r.Source != nil || r.Wait <= 0 || r.Wait > time.Minute {
			t.Errorf("nothing is known of the sender: %+v", r)
		}
	}
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil {
		t.Errorf("a sender that is known: %+v", r)
	}
}

// One that was good before is covered by the grace.
func TestSecondSightWithoutResolver(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, nil)
	if r := g.Route(t.Context(), stranger, "example.com", nil); r.Source == nil {
		t.Fatalf("first sight: %+v", r)
	}
	if err := w.dns.Behave(".", "refused"); err != nil {
		t.Fatal(err)
	}
	g.look(t.Context(), errand{who: []Sender{{Domain: "good.example.org"}}, out: g.out})
	if r := g.Route(t.Context(), stranger, "example.com", nil); r.Source == nil {
		t.Errorf("within the grace: %+v", r)
	}
}

func TestGateSenders(t *testing.T) {
	w := newGateWorld(t)
	w.plan.Policy.OnSenderFail = ActReject
	g := w.gate(t, nil)
	good := Mail{Envelope: "good.example.org", Author: "good.example.org"}
	bad := Mail{Envelope: "example.org", Author: "example.org"}

	if r := g.Judge(t.Context(), good); r.Do != ActSend {
		t.Errorf("a sender not configured, but good: %+v", r)
	}
	if r := g.Route(t.Context(), good, "example.com", nil); r.Source == nil {
		t.Errorf("route of it: %+v", r)
	}
	r := g.Judge(t.Context(), bad)
	if r.Do != ActReject || r.Code != 550 || r.Status != "5.7.1" || !strings.Contains(r.Text, "SPF-SENDER-PRESENT") {
		t.Errorf("a sender without SPF: %+v", r)
	}
	if r := g.Route(t.Context(), bad, "example.com", nil); r.Wait <= 0 || r.Why != "SPF-SENDER-PRESENT of example.org" {
		t.Errorf("route of it: %+v", r)
	}
	if r := g.Judge(t.Context(), Mail{Envelope: "example.org"}); r.Do != ActSend {
		t.Errorf("before the header is known: %+v", r)
	}
	// Our own notice, and one for a domain without SPF: EHLO's counts.
	for _, author := range []string{"example.net", "example.org", ""} {
		if r := g.Route(t.Context(), Mail{Author: author}, "example.com", nil); r.Source == nil {
			t.Errorf("null sender, author %q: %+v", author, r)
		}
	}
	asked := len(w.dns.Questions())
	g.Judge(t.Context(), Mail{Envelope: "example.net", Author: "example.net"})
	if n := len(w.dns.Questions()); n != asked {
		t.Errorf("%d questions for a configured sender", n-asked)
	}
}

func TestGateFirstSightInSilence(t *testing.T) {
	w := newGateWorld(t)
	w.plan.Policy.OnSenderFail = ActReject
	g := w.gate(t, nil)
	if err := w.dns.Behave("example.org", "drop"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := g.Judge(ctx, Mail{Envelope: "example.org", Author: "example.org"}); r.Do != ActHold {
		t.Errorf("ruling: %+v", r)
	}
	if r := g.Route(ctx, Mail{Envelope: "example.org", Author: "example.org"}, "example.com", nil); r.Wait <= 0 || r.Why != "first look of example.org" {
		t.Errorf("route: %+v", r)
	}
}

// Where the envelope is of another domain than the author, the reason names both: the
// one that fails is not the one that everybody sees.
func TestReasonNamesTheEnvelope(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, nil)
	r := g.Route(t.Context(), Mail{Envelope: "gone.example.org", Author: "example.net"}, "example.com", nil)
	if want := "of example.net (envelope gone.example.org)"; r.Source != nil || !strings.Contains(r.Why, want) {
		t.Errorf("route: %+v, want a reason %s", r, want)
	}
}

func TestSightsAreBounded(t *testing.T) {
	s := newSights(&Gate{})
	s.limit = 2
	for _, k := range []string{"a", "b", "c"} {
		s.put(&sight{key: k})
		s.get("a")
	}
	known := func(key string) bool { n, _ := s.get(key); return n != nil }
	if !known("a") || known("b") || !known("c") || s.order.Len() != 2 {
		t.Error("not the one unused for longest was forgotten")
	}
}

// What vouches for a notice is the EHLO name, not the envelope domain of the
// sender's other mail: of another organisation it is refused by the sender's own
// policy, and waits.
func TestNullSenderIsJudgedByItsEHLO(t *testing.T) {
	w := newGateWorld(t)
	w.plan.Senders[0].Keys = nil
	w.plan.SmartHosts = nil
	w.plan.Sources[0].EHLO = "gw.example.org"
	err := w.dns.Set(strings.Replace(baseline, "p=none", "p=reject", 1), strings.Replace(reverse, "mail.example.net", "gw.example.org", 1),
		other+"gw A 192.0.2.25\ngw TXT \"v=spf1 a -all\"\n", ". SOA a.example. b.example. 1 2 3 4 1\n")
	if err != nil {
		t.Fatal(err)
	}
	g := w.gate(t, nil)
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil {
		t.Errorf("mail with its envelope: %+v", r)
	}
	if r := g.Route(t.Context(), Mail{Author: "example.net"}, "example.com", nil); r.Wait <= 0 || r.Why != "AUTH-ALIGNED of example.net from wan4" {
		t.Errorf("a notice: %+v", r)
	}
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil {
		t.Errorf("mail with its envelope, after a notice: %+v", r)
	}
}

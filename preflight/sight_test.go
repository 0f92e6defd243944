package preflight

import (
	"context"
	"math/rand/v2"
	"reflect"
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

// What the gate goes by for one message is what the verdicts say.
func TestStandingsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	some := func(scopes ...Scope) (hs []held) {
		for i := range r.IntN(5) {
			scope := scopes[r.IntN(len(scopes))]
			h := held{Stale: r.IntN(2) == 0, Finding: Finding{
				Check: &Check{ID: []string{"DKIM-A", "AUTH-B", "SPF-C", "DNS-REACHABLE"}[i%4], Scope: scope},
				Result: Result{
					Status:   []Status{Pass, Fail, Unknown, Degraded, Skip}[r.IntN(5)],
					Severity: []Severity{Mandatory, Recommended, Informational}[r.IntN(3)],
				},
			}}
			if r.IntN(2) == 0 {
				h.Settle = now.Add(time.Duration(r.IntN(3)) * time.Minute)
			}
			if scope == ScopeSource || scope == ScopePair {
				h.Source = []string{"a", "b"}[r.IntN(2)]
			}
			if scope == ScopeSender || scope == ScopePair {
				h.Sender = "example.net"
			}
			hs = append(hs, h)
		}
		return hs
	}
	p := &Plan{Sources: []Source{{Name: "a"}, {Name: "b"}}}
	for range 10_000 {
		base := weigh(p, some(ScopeHost, ScopeSource), now)
		n := &sight{key: "example.net", who: Sender{Domain: "example.net"}, looked: true}
		n.found, n.marks = split(some(ScopeSender, ScopePair))
		n.open = n.found
		for _, counts := range []func(string) bool{nil, forNotice} {
			c := mailCase{judgement: base, seen: n, name: "example.net", counts: counts}
			j := c.judged()
			got := []standing{c.ownStanding(), c.pairStanding("a"), c.pairStanding("b"), c.source("a"), c.source("b")}
			want := []standing{j.sender(c.name, counts), j.pair("a", c.name, counts), j.pair("b", c.name, counts),
				stand(j.host, j.sources["a"]), stand(j.host, j.sources["b"])}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	}
}

package preflight

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

// What only the resolver still holds is no failure, neither at a start nor while
// the relay runs: no look is counted against what is believed.
func TestGateAsksTheZone(t *testing.T) {
	for _, when := range []string{"start", "run"} {
		w := newGateWorld(t)
		stale := func() {
			if err := w.dns.View("25.2.0.192.in-addr.arpa", "PTR", ""); err != nil {
				t.Fatal(err)
			}
		}
		if when == "start" {
			stale()
		}
		g := w.gate(t, nil)
		if when == "run" {
			stale()
			g.look(t.Context(), errand{base: true, who: w.plan.Senders, out: g.out})
		}
		r := g.Report()
		if r.Overall != Pass || r.Action != "direct" {
			t.Errorf("%s: %s, %s", when, r.Overall, r.Action)
		}
		f := find(r, "PTR-EXISTS")
		if !strings.Contains(f.Found, "(cached answers still old, up to 1 s)") || f.Evidence[0].Second != "ns1.example.net. mail.example.net." {
			t.Errorf("%s: %q, %+v", when, f.Found, f.Evidence)
		}
		if e := g.history.Entries[f.key()]; e.Looks != 0 {
			t.Errorf("%s: doubted %d times", when, e.Looks)
		}
	}
}

func find(r *Report, id string) Finding {
	for _, v := range append(r.Sources, r.Senders...) {
		for _, f := range v.Findings {
			if f.Check.ID == id {
				return f
			}
		}
	}
	return Finding{Result: Result{Evidence: make([]Evidence, 1)}}
}

// A failure says in log and JSON what the zone's servers said, and the report says
// once that nobody could be asked.
func TestSecondOpinionIsShown(t *testing.T) {
	w := newGateWorld(t)
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	w.dns.Remove("_dmarc.example.net", "TXT")
	shown := func() (text, json string) {
		var b, j bytes.Buffer
		r := w.gate(t, nil).Report()
		if err := WriteText(&b, r, TextOptions{Width: 200}); err != nil {
			t.Fatal(err)
		}
		if err := WriteJSON(&j, r); err != nil {
			t.Fatal(err)
		}
		return b.String(), j.String()
	}
	const word = "No authoritative server could be reached"
	text, json := shown()
	if strings.Contains(text, word) || !strings.Contains(json, `"second_opinion": "ns1.example.net. NXDOMAIN"`) {
		t.Errorf("%s\n%s", text, json)
	}
	if !strings.Contains(w.log.String(), `"second_opinion":"ns1.example.net. NXDOMAIN"`) {
		t.Error(w.log.String())
	}
	w.out.AuthorityPort = 1 // nobody listens there
	if text, _ = shown(); strings.Count(text, word) != 1 {
		t.Error(text)
	}
}

// deaf is an asker that never hears anything.
type deaf struct{}

func (deaf) Ask(ctx context.Context, _ netip.AddrPort, name string, q dns.Type) (*dns.Answer, error) {
	<-ctx.Done()
	return &dns.Answer{Question: name, Name: name, Type: q, Detail: "timeout"}, &dns.Error{Name: name, Type: q, Detail: "timeout"}
}

// Where port 53 is closed to all but the resolver each server costs its timeout once,
// and what fails fails by the resolver's word.
func TestClosedPort53(t *testing.T) {
	t.Parallel()
	w := newGateWorld(t)
	w.dns.Remove("example.net", "TXT")
	var record strings.Builder
	for i := range 8 { // asked for one after the other
		fmt.Fprintf(&record, "include:i%d.example.org ", i)
		if err := w.dns.Add(fmt.Sprintf("i%d.example.org. 60 IN TXT %q", i, "v=spf1 ip4:198.51.100.1 -all")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dns.Add(`example.net. 60 IN TXT "v=spf1 ` + record.String() + `-all"`); err != nil {
		t.Fatal(err)
	}
	w.out.Asker = deaf{}
	began := time.Now()
	fs, _ := Run(t.Context(), &w.plan, w.out)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	got := statuses(fs)
	if got["SPF-SENDER-PASS"] != Fail || got["PTR-EXISTS"] != Pass || got["DNS-VIEW"] != Skip || got["DNS-AUTH-CONSISTENT"] != Skip {
		t.Errorf("%v", got)
	}
}

// A run for one source and five sender domains asks each question once of each
// server, and counts them all.
func TestQuestionsOnce(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHosts = nil
	w.plan.Senders = w.plan.Senders[:1]
	for _, top := range []string{"net", "org"} { // who has no zone does not answer, and is asked again
		if err := w.dns.Add(top + ". 60 SOA ns.dnstest.invalid. hostmaster.invalid. 1 7200 900 1209600 900"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		d := fmt.Sprintf("d%d.example.org", i)
		w.plan.Senders = append(w.plan.Senders, Sender{Domain: d})
		for _, rr := range []string{d + `. 60 TXT "v=spf1 ip4:192.0.2.25 -all"`, d + ". 60 MX 10 mx.example.net.", "_dmarc." + d + `. 60 TXT "v=DMARC1; p=none"`} {
			if err := w.dns.Add(rr); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.out.Landmarks = Landmarks{Parents: []string{"example.net"}, Whoami: "mail.example.net", Signed: "example.net", Bogus: "bogus.example.net"}
	_, asked := Run(t.Context(), &w.plan, w.out)
	count := map[string]int{}
	all := w.dns.Questions()
	for _, q := range all {
		count[q]++
	}
	for q, n := range count {
		if n > 2 { // as the resolver, and as the authoritative server
			t.Errorf("%s: %d times", q, n)
		}
	}
	if asked != len(all) || asked > 110 {
		t.Errorf("%d questions counted, %d asked", asked, len(all))
	}
	t.Logf("%d questions", asked)
}

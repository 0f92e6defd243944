package preflight

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

func TestACheckThatPanicsHasLearntNothing(t *testing.T) {
	c := &Check{ID: "X-Y", Scope: ScopeHost, Severity: Mandatory, Run: func(context.Context, *Probe) Result { panic("oops") }}
	r := newRun(&Plan{}, Outside{})
	x := &task{subject: subject{c, -1, -1, -1}, done: make(chan struct{}), finding: Finding{Check: c}}
	r.do(t.Context(), x)
	if f := x.finding; f.Status != Unknown || f.Severity != Mandatory || f.Found == "" {
		t.Errorf("%+v", f.Result)
	}
}

// mute answers nothing until it is told to stop.
type mute struct{}

func (mute) Query(ctx context.Context, name string, q dns.Type) (*dns.Answer, error) {
	<-ctx.Done()
	return &dns.Answer{Question: name, Name: name, Type: q}, &dns.Error{Name: name, Type: q}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	p := &Plan{Sources: []Source{{Name: "a", Bind: "8.8.8.8", EHLO: "mail.acme.org"}}, Senders: []Sender{{Domain: "acme.org"}}}
	fs, _ := Run(ctx, p, Outside{DNS: mute{}})
	for _, f := range fs {
		want := Skip
		if f.Check == dnsReachable {
			want = Unknown
		}
		if f.Status != want || want == Skip && f.WaitsFor != dnsReachable.ID {
			t.Errorf("%s: %s, waits for %q", f.Check.ID, f.Status, f.WaitsFor)
		}
	}
}

type onceTrier struct{ n atomic.Int32 }

func (c *onceTrier) Try(context.Context, SmartHost) Trial {
	c.n.Add(1)
	return Trial{Connected: true, TLS: "TLS1.3", Verified: true, Authed: true}
}

func statuses(fs []Finding) map[string]Status {
	all := map[string]Status{}
	for _, f := range fs {
		all[f.Check.ID] = f.Status
	}
	return all
}

func TestSmartHostAlone(t *testing.T) {
	s, err := dnstest.Start("relay.acme.org. 300 IN A 192.0.2.25\n")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	trier := &onceTrier{}
	out := Outside{DNS: s.Client(), Try: trier, Addrs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.25")} }}
	p := &Plan{SmartHostOnly: true, Sources: []Source{{Name: "a"}}, Senders: []Sender{{Domain: "acme.org"}}}

	p.SmartHosts = []SmartHost{{Name: "x", Host: "192.0.2.200", Port: 587, User: "u"}}
	fs, asked := Run(t.Context(), p, out)
	if got := statuses(fs); got["DNS-REACHABLE"] != Skip || got["SMARTHOST-AUTH"] != Pass || asked != 0 {
		t.Errorf("by address: %v, %d questions", got, asked)
	}
	if n := trier.n.Load(); n != 1 {
		t.Errorf("connected %d times", n)
	}

	p.SmartHosts[0].Host = "relay.acme.org"
	fs, _ = Run(t.Context(), p, out)
	if got := statuses(fs); got["DNS-REACHABLE"] != Pass || got["SMARTHOST-AUTH"] != Pass {
		t.Errorf("by name: %v", got)
	}

	p.Listeners = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:587")}
	fs, _ = Run(t.Context(), p, out)
	if got := statuses(fs); got["SMARTHOST-NOT-SELF"] != Fail || got["SMARTHOST-REACHABLE"] != Skip {
		t.Errorf("ourselves: %v", got)
	}

	out.Try, p.Listeners = nil, nil
	fs, _ = Run(t.Context(), p, out)
	if got := statuses(fs); got["SMARTHOST-REACHABLE"] != Skip || got["SMARTHOST-TLS"] != Skip {
		t.Errorf("without a trier: %v", got)
	}
}

// Fifty domains share what is asked once.
func TestQuestionsAreSharedAmongChecks(t *testing.T) {
	s, err := dnstest.Start(". 300 IN SOA a. b. 1 1 1 1 900\nacme.org. 300 IN TXT \"v=spf1 ip4:8.8.8.8 -all\"\nacme.org. 300 IN MX 10 mx.acme.org.\nmx.acme.org. 300 IN A 8.8.8.9\n")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &Plan{Sources: []Source{{Name: "a", Public: "8.8.8.8", EHLO: "mail.acme.org"}}}
	for range 50 {
		p.Senders = append(p.Senders, Sender{Domain: "acme.org"})
	}
	fs, asked := Run(t.Context(), p, Outside{DNS: s.Client()})
	if len(fs) < 50*10 || asked > 40 {
		t.Errorf("%d findings of %d questions", len(fs), asked)
	}
}

func TestOverridesOfSeverity(t *testing.T) {
	c := &Check{ID: "PTR-SINGLE", Severity: Recommended}
	for _, x := range []struct{ said, chosen, want Severity }{
		{"", "", Recommended},
		{"", Mandatory, Mandatory},
		{Informational, Mandatory, Informational},
		{Recommended, Informational, Informational},
		{Mandatory, "", Mandatory},
	} {
		chosen := map[string]Severity{}
		if x.chosen != "" {
			chosen[c.ID] = x.chosen
		}
		if got := severity(c, x.said, chosen); got != x.want {
			t.Errorf("said %q, chosen %q: %q, want %q", x.said, x.chosen, got, x.want)
		}
	}
}

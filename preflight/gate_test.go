package preflight

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight/dns/dnstest"
)

const baseline = `
$TTL 1
$ORIGIN example.net.
@     SOA ns1.example.net. hostmaster.example.net. 1 7200 900 86400 1
@     NS  ns1
ns1   A   127.0.0.1
@     TXT "v=spf1 ip4:192.0.2.25 -all"
@     MX  10 mx
mx    A   192.0.2.10
mail  A   192.0.2.25
mail  TXT "v=spf1 a -all"
_dmarc TXT "v=DMARC1; p=none"
k1._domainkey TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
`

const reverse = `
$TTL 1
$ORIGIN 2.0.192.in-addr.arpa.
@  SOA ns1.example.net. hostmaster.example.net. 1 7200 900 86400 1
@  NS  ns1.example.net.
25 PTR mail.example.net.
`

const other = `
$TTL 1
$ORIGIN example.org.
@   SOA ns1.example.net. hostmaster.example.net. 1 7200 900 86400 1
@   NS  ns1.example.net.
@   MX  10 mx.example.net.
good TXT "v=spf1 ip4:192.0.2.25 -all"
good MX  10 mx.example.net.
`

// world of the gate tests: a DNS server, a log, and a policy in milliseconds.
type gateWorld struct {
	dns  *dnstest.Server
	plan Plan
	out  Outside
	log  syncBuffer

	level slog.Level // of the log
}

type syncBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	next chan struct{} // closed with the next line; nil: nobody waits for it
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
	return b.b.Write(p)
}

// more is closed when more is written.
func (b *syncBuffer) more() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newGateWorld(t testing.TB) *gateWorld {
	t.Helper()
	s, err := dnstest.Start(baseline, reverse, other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := &gateWorld{dns: s}
	c := s.Client()
	w.out = Outside{DNS: c, Asker: c, AuthorityPort: s.Addr().Port(), Bind: func(netip.Addr) error { return nil },
		Landmarks: Landmarks{Parents: []string{"example.net"}}}
	w.plan = Plan{
		Sources: []Source{{Name: "wan4", Bind: "192.0.2.25", EHLO: "mail.example.net"}},
		Senders: []Sender{{Domain: "example.net", Keys: []Key{{
			Selector: "k1", Record: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
		}}}},
		SmartHosts: []SmartHost{{Name: "smart:587", Host: "198.51.100.1", Port: 587}},
		Special:    Special{Prefixes: []SpecialPrefix{}, Names: []string{}},
		Policy: Policy{
			Looks: 2, Span: 100 * time.Millisecond, Settle: 2 * time.Second, Grace: time.Hour,
			RecheckMin: 30 * time.Millisecond, RecheckMax: 30 * time.Millisecond, StartupWait: time.Millisecond,
		},
	}
	return w
}

func (w *gateWorld) gate(t testing.TB, m Memory) *Gate {
	t.Helper()
	g := NewGate(w.plan, w.out, m, slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: w.level})))
	g.Start(t.Context())
	return g
}

// watch until the test ends.
func watch(t *testing.T, g *Gate) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Watch(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// await a report, or fail with the last one.
func await(t *testing.T, g *Gate, what string, ok func(*Report) bool) *Report {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		changed := g.Changed()
		r := g.Report()
		if ok(r) {
			return r
		}
		select {
		case <-changed:
		case <-timeout:
			var b bytes.Buffer
			_ = WriteText(&b, r, TextOptions{})
			t.Fatalf("%s: never came\n%s", what, b.String())
		}
	}
}

var ours = Mail{Envelope: "example.net", Author: "example.net"}

func TestGateFollowsThePTR(t *testing.T) {
	w := newGateWorld(t)
	path := filepath.Join(t.TempDir(), "preflight.json")
	g := w.gate(t, FileMemory(path))
	if r := g.Report(); r.Overall != Pass || r.Action != "direct" {
		var b bytes.Buffer
		_ = WriteText(&b, r, TextOptions{})
		t.Fatalf("%s %s\n%s", r.Overall, r.Action, b.String())
	}
	if !g.Live("example.net", "k1") || g.Live("example.net", "k2") {
		t.Error("k1 is published, k2 is not")
	}
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil || r.Source.Name != "wan4" {
		t.Fatalf("route: %+v", r)
	}
	if r := g.Route(t.Context(), ours, "example.com", []string{"wan4"}); r.Wait <= 0 || r.Why == "" {
		t.Errorf("all sources tried: %+v", r)
	}
	watch(t, g)

	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	failed := await(t, g, "failure", func(r *Report) bool { return r.Overall == Fail })
	if r := g.Route(t.Context(), ours, "example.com", nil); !r.SmartHost || r.Why != "PTR-EXISTS of wan4" {
		t.Errorf("route without a PTR: %+v", r)
	}
	if r := g.Judge(t.Context(), ours); r.Do != ActSmartHost {
		t.Errorf("ruling without a PTR: %+v", r)
	}

	mended := ""
	for _, f := range failed.Sources[0].Findings {
		if f.Check.ID == "PTR-EXISTS" && len(f.Remedy.Records) == 1 {
			mended = f.Remedy.Records[0].String()
		}
	}
	if err := w.dns.Add(mended); err != nil {
		t.Fatalf("the record printed, %q: %v", mended, err)
	}
	await(t, g, "settling", func(r *Report) bool { return r.Overall == Pass && r.Action == "settling" })
	if r := g.Route(t.Context(), ours, "example.com", nil); !r.SmartHost || !strings.Contains(r.Why, "settling") {
		t.Errorf("route while settling: %+v", r)
	}
	await(t, g, "recovery", func(r *Report) bool { return r.Action == "direct" })
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil {
		t.Errorf("route after recovery: %+v", r)
	}
	if n := strings.Count(w.log.String(), `"msg":"preflight finding"`); n != 1 {
		t.Errorf("%d finding lines at info and above, want the failure alone:\n%s", n, w.log.String())
	}
	if h, _ := FileMemory(path).Load(t.Context()); len(h.Entries) == 0 {
		t.Error("no history was kept")
	}
}

func TestGateGraceAcrossRestarts(t *testing.T) {
	w := newGateWorld(t)
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	w.gate(t, m)
	if err := w.dns.Behave("2.0.192.in-addr.arpa", "servfail"); err != nil {
		t.Fatal(err)
	}
	w.log = syncBuffer{}
	g := w.gate(t, m)
	r := g.Report()
	if r.Overall != Pass || !r.Sources[0].Stale {
		t.Errorf("within the grace: %s, stale %t", r.Overall, r.Sources[0].Stale)
	}
	if strings.Contains(w.log.String(), "preflight verdict") {
		t.Errorf("nothing changed, but the log says:\n%s", w.log.String())
	}
	g = w.gate(t, nil)
	if r := g.Report(); r.Overall != Unknown || r.Action != "hold" {
		t.Errorf("without history: %s %s", r.Overall, r.Action)
	}
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Wait <= 0 || r.Why != "PTR-EXISTS of wan4" {
		t.Errorf("route: %+v", r)
	}
}

// A program that runs does not refuse: it holds, and says so.
func TestGateRefusesAtAStartOnly(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHosts = nil
	g := w.gate(t, nil)
	watch(t, g)
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	r := await(t, g, "failure", func(r *Report) bool { return r.Overall == Fail })
	if r.Action != "hold" || r.Sources[0].Action != "hold" {
		t.Errorf("running: %s, %s", r.Action, r.Sources[0].Action)
	}
	if r := w.gate(t, nil).Report(); r.Action != "refuse" {
		t.Errorf("at a start: %s", r.Action)
	}
}

func TestGateBeforeStart(t *testing.T) {
	w := newGateWorld(t)
	g := NewGate(w.plan, w.out, nil, nil)
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source != nil || r.Wait <= 0 {
		t.Errorf("before the first look: %+v", r)
	}
}

func TestGatePairsAndFamilies(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHosts = nil
	w.plan.Sources = append(w.plan.Sources, Source{Name: "wan6", Bind: "2001:db8::25", EHLO: "mail.example.net"})
	if err := w.dns.Set(baseline+"mail AAAA 2001:db8::25\n", reverse, other, `
$TTL 1
$ORIGIN 8.b.d.0.1.0.0.2.ip6.arpa.
@ SOA ns1.example.net. hostmaster.example.net. 1 7200 900 86400 1
@ NS  ns1.example.net.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mail.example.net.
`); err != nil {
		t.Fatal(err)
	}
	g := w.gate(t, nil)
	if r := g.Report(); r.Overall != Degraded || r.Sources[1].Status != Pass || r.Senders[0].Status != Degraded {
		t.Fatalf("%s, wan6 %s, sender %s", r.Overall, r.Sources[1].Status, r.Senders[0].Status)
	}
	if r := g.Route(t.Context(), ours, "example.com", nil); r.Source == nil || r.Source.Name != "wan4" {
		t.Errorf("first: %+v", r)
	}
	if r := g.Route(t.Context(), ours, "example.com", []string{"wan4"}); r.Wait <= 0 || !strings.Contains(r.Why, "SPF-SENDER-PASS") {
		t.Errorf("second: %+v", r)
	}
	if r := g.Route(t.Context(), Mail{}, "example.com", []string{"wan4"}); r.Source == nil || r.Source.Name != "wan6" {
		t.Errorf("null sender, second: %+v", r)
	}
}

func TestSmartHostOnlyRoute(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHostOnly = true
	g := w.gate(t, nil)
	if r := g.Route(t.Context(), ours, "example.com", nil); !r.SmartHost {
		t.Errorf("route: %+v", r)
	}
	if r := g.Report(); r.Overall != Pass || r.Action != "smarthost" {
		t.Errorf("%s %s", r.Overall, r.Action)
	}
}

type countingTrier struct {
	n     int
	trial Trial
}

func (c *countingTrier) Try(context.Context, SmartHost) Trial { c.n++; return c.trial }

func TestSmartHostsAreNotWornOut(t *testing.T) {
	for name, c := range map[string]struct {
		trial Trial
		want  int
	}{
		"good":      {Trial{Connected: true, Authed: true}, 1},
		"refused":   {Trial{Connected: true, AuthErr: "535 5.7.8 no", Refused: true}, 1},
		"temporary": {Trial{Err: "connection refused", Temporary: true}, 3},
	} {
		inner := &countingTrier{trial: c.trial}
		p := &patientTrier{Trier: inner, pause: time.Hour, last: map[string]pastTrial{}}
		for range 3 {
			p.Try(t.Context(), SmartHost{Name: "smart"})
		}
		if inner.n != c.want {
			t.Errorf("%s: tried %d times, want %d", name, inner.n, c.want)
		}
	}
}

// Whatever is asked while verdicts come and go, each answer says one thing.
func TestGateFromEverywhere(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, FileMemory(filepath.Join(t.TempDir(), "preflight.json")))
	watch(t, g)
	mails := []Mail{ours, stranger, {}, {Author: "example.org"}, {Envelope: "example.org", Author: "example.net"}}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 20 {
				m := mails[(i+n)%len(mails)]
				g.Judge(t.Context(), m)
				r := g.Route(t.Context(), m, "example.com", nil)
				ways := 0
				for _, is := range []bool{r.Source != nil, r.SmartHost, r.Wait > 0} {
					if is {
						ways++
					}
				}
				if ways != 1 || r.Source == nil && r.Why == "" {
					t.Errorf("%+v: %+v", m, r)
				}
				g.Live("example.net", "k1")
				_ = WriteJSON(io.Discard, g.Report())
				_ = WriteText(io.Discard, g.Report(), TextOptions{})
				select {
				case <-g.Changed():
				default:
				}
			}
		})
	}
	for range 5 {
		w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
		if err := w.dns.Add("25.2.0.192.in-addr.arpa. 1 IN PTR mail.example.net."); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
}

// What Route costs is paid for every message, twice: the second time for what is to be
// done when the first source did not do.
func BenchmarkRoute(b *testing.B) {
	w := newGateWorld(b)
	w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = time.Hour, time.Hour
	g := w.gate(b, nil)
	for name, m := range map[string]Mail{
		"listed": ours, "foreign": {Envelope: "good.example.org", Author: "example.org"}, "notice": {Author: "example.net"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := g.Route(b.Context(), m, "example.com", nil); r.Source == nil && !r.SmartHost && r.Wait == 0 {
					b.Fatalf("%+v", r)
				}
				g.Route(b.Context(), m, "example.com", []string{"wan4"})
			}
		})
	}
}

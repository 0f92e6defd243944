package deliver

import (
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Gmail's exchangers, as far as this machine is concerned.
const gmailZone = `
$ORIGIN dest.test.
@ MX 10 aspmx.l.google.com.
@ MX 20 alt1.aspmx.l.google.com.
aspmx.l.google.com. A 127.0.0.2
alt1.aspmx.l.google.com. A 127.0.0.3
`

const (
	saysPTR   = "550 5.7.25 The IP address sending this message does not have a PTR record setup"
	saysPTR4  = "451 4.7.23 The sending IP address for this message doesn't have a PTR record"
	saysSix   = "550 5.7.1 does not meet IPv6 sending guidelines regarding PTR records and authentication"
	saysRate  = "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail"
	namesPTR  = "PTR-EXISTS, PTR-FORWARD-CONFIRMED"
	wantNamed = "PTR-EXISTS PTR-FORWARD-CONFIRMED"
)

// gmail is a world whose destination says such things, with a smart host if the
// gate lets mail go there.
func gmail(t *testing.T, script string, smartHost bool) *world {
	w := newWorld(t, gmailZone)
	w.mx("127.0.0.2", script)
	w.mx("127.0.0.3", script)
	w.gate.instead = preflight.Route{Wait: 1, Why: "refused"}
	if smartHost {
		sh := w.mx("127.0.0.9", "")
		w.o.SmartHosts = []preflight.SmartHost{{Name: "smart", Host: "127.0.0.9", Port: sh.Addr().Port(), TLS: "none"}}
		w.gate.instead = preflight.Route{SmartHost: true}
	}
	return w
}

// In whatever phase it is said, a fault of ours goes by the smart host, and only
// one exchanger was bothered.
func TestOursGoesBySmartHost(t *testing.T) {
	for _, step := range []string{"banner", "MAIL", "RCPT", "DATA", "dot"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := gmail(t, step+" "+saysPTR, true)
			w.put(queue.Message{Author: "example.test"}, hello, "a@dest.test")
			r := w.run(1)["a@dest.test"]
			is(t, r, "sent dot 250 2.0.0")
			if r.Last.Source != smartName || len(w.mxs["127.0.0.9"].Messages()) != 1 {
				t.Errorf("it left from %s", r.Last.Source)
			}
			if n := len(w.mxs["127.0.0.3"].Conns()) + len(w.mxs["127.0.0.2"].Conns()); n != 1 {
				t.Errorf("%d connections to those who refuse", n)
			}
			if strings.Join(w.gate.named, " ") != wantNamed {
				t.Errorf("the gate was asked about %q", w.gate.named)
			}
			h := w.gate.heard
			if len(h) != 1 || h[0].Source != "wan4" || h[0].Code != 550 || h[0].Status != "5.7.25" || !strings.HasSuffix(h[0].Host, ".google.com") ||
				h[0].Mail != (preflight.Mail{Author: "example.test", Envelope: "example.test"}) {
				t.Errorf("the gate heard %+v", h)
			}
		})
	}
}

// Nowhere else to go: it waits, and is not bounced.
func TestOursWaits(t *testing.T) {
	for step, stage := range map[string]string{"banner": "greet", "EHLO": "ehlo", "RCPT": "rcpt", "dot": "dot"} {
		script := step + " " + saysPTR
		if step == "EHLO" {
			script += "\ndrop HELO"
		}
		w := gmail(t, script, false)
		w.put(queue.Message{}, hello, "a@dest.test")
		r := w.run(1)["a@dest.test"]
		is(t, r, "deferred "+stage+" 550 5.7.25 ours")
		if r.State != queue.Waiting || r.Reason != "550 5.7.25 from "+r.Last.Host+": "+namesPTR || r.Last.Class != namesPTR {
			t.Errorf("%s: %q", r.State, r.Reason)
		}
		if n := len(w.mxs["127.0.0.2"].Conns()) + len(w.mxs["127.0.0.3"].Conns()); n != 1 {
			t.Errorf("%s: %d connections", step, n)
		}
	}
}

// Another source is tried before the smart host is, each once.
func TestOursFromAnotherSource(t *testing.T) {
	for name, c := range map[string]struct{ script, want, source string }{
		"it may": {"RCPT " + saysPTR + ", once", "sent dot 250 2.0.0", "wan5"},
		"nor it": {"RCPT " + saysPTR, "sent dot 250 2.0.0", smartName},
	} {
		w := gmail(t, c.script, true)
		w.gate.sources = append(w.gate.sources, preflight.Source{Name: "wan5", Bind: "127.0.0.1", EHLO: "five.example.test"})
		// The scripts count for themselves: one exchanger is enough.
		w.mxs["127.0.0.3"].Close()
		w.put(queue.Message{}, hello, "a@dest.test")
		r := w.until(func(got map[string]queue.Recipient) bool { return len(got) > 0 })["a@dest.test"]
		is(t, r, c.want)
		if r.Last.Source != c.source {
			t.Errorf("%s: it left from %s", name, r.Last.Source)
		}
	}
}

// A 4xx waits its turn; the same a second time is as good as a 5xx.
func TestOursInsisted(t *testing.T) {
	w := gmail(t, "RCPT "+saysPTR4, true)
	w.q.Retry = []time.Duration{time.Millisecond}
	w.put(queue.Message{}, hello, "a@dest.test")
	w.until(func(got map[string]queue.Recipient) bool {
		r := got["a@dest.test"]
		if r.Tries == 1 {
			is(t, r, "deferred rcpt 451 4.7.23 ours")
		}
		if r.Tries == 2 {
			is(t, r, "sent dot 250 2.0.0")
		}
		return r.Tries == 2
	})
}

// Each recipient of one message gets its own end.
func TestOursForSome(t *testing.T) {
	w := gmail(t, "RCPT <a@dest.test> "+saysPTR+"\nRCPT <b@dest.test> 550 5.1.1 no such user", true)
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	got := w.run(3)
	is(t, got["a@dest.test"], "sent dot 250 2.0.0")
	is(t, got["b@dest.test"], "refused rcpt 550 5.1.1")
	is(t, got["c@dest.test"], "sent dot 250 2.0.0")
	if ms := w.mxs["127.0.0.9"].Messages(); len(ms) != 1 || !slices.Equal(ms[0].To, []string{"a@dest.test"}) {
		t.Errorf("by the smart host: %+v", ms)
	}
}

// One transaction is one voice, however many recipients it had.
func TestHeardOnceATransaction(t *testing.T) {
	w := gmail(t, "RCPT "+saysPTR, false)
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	w.run(3)
	if n := len(w.gate.heard); n != 1 {
		t.Errorf("heard %d times", n)
	}
}

// What will not come over IPv6 goes over IPv4, to the same exchanger, at once.
func TestFamily(t *testing.T) {
	for _, step := range []string{"banner", "RCPT", "dot"} {
		w := newWorld(t, gmailZone+"aspmx.l.google.com. AAAA ::1\n")
		w.gate.sources = []preflight.Source{
			{Name: "wan6", Bind: "::1", EHLO: "six.example.test"},
			{Name: "wan4", Bind: "127.0.0.1", EHLO: "four.example.test"},
		}
		four := w.mx("127.0.0.2", "")
		six, other := w.mx("::1", step+" "+saysSix), w.mx("127.0.0.3", "")
		w.put(queue.Message{}, hello, "a@dest.test")
		r := w.run(1)["a@dest.test"]
		is(t, r, "sent dot 250 2.0.0")
		if len(four.Messages()) != 1 || len(six.Conns()) != 1 || len(other.Conns()) != 0 || r.Last.Source != "wan4" {
			t.Errorf("%s: it went to %s from %s", step, r.Last.Host, r.Last.Source)
		}
		if h := w.gate.heard; len(h) != 1 || h[0].Source != "wan6" {
			t.Errorf("heard %+v", h)
		}
	}
}

// Without IPv4 it waits on us, or takes the smart host.
func TestFamilyAlone(t *testing.T) {
	for want, smartHost := range map[string]bool{"deferred rcpt 550 5.7.1 ours": false, "sent dot 250 2.0.0": true} {
		w := gmail(t, "", smartHost)
		w.dns.Set("$ORIGIN dest.test.\n@ MX 10 aspmx.l.google.com.\naspmx.l.google.com. AAAA ::1\n")
		w.gate.sources = []preflight.Source{{Name: "wan6", Bind: "::1", EHLO: "six.example.test"}}
		w.mx("::1", "RCPT "+saysSix)
		w.put(queue.Message{}, hello, "a@dest.test")
		is(t, w.run(1)["a@dest.test"], want)
	}
}

// Too much is too much: neither the other exchanger nor the next message is tried.
func TestRateSlowsDown(t *testing.T) {
	for _, step := range []string{"banner", "RCPT", "dot"} {
		stage := map[string]string{"banner": "greet", "RCPT": "rcpt", "dot": "dot"}[step]
		w := gmail(t, step+" "+saysRate, true)
		w.put(queue.Message{}, hello, "a@dest.test")
		w.put(queue.Message{}, hello, "b@dest.test")
		got := w.run(2)
		is(t, got["a@dest.test"], "deferred "+stage+" 421 4.7.28 ours")
		is(t, got["b@dest.test"], "deferred "+stage+" 421 4.7.28 ours")
		if n := len(w.mxs["127.0.0.2"].Conns()) + len(w.mxs["127.0.0.3"].Conns()); n != 1 || got["b@dest.test"].Last.Class != "rate" {
			t.Errorf("%s: %d connections, class %q", step, n, got["b@dest.test"].Last.Class)
		}
	}
}

// A receiver who cannot ask Spamhaus refuses for its own fault: that ages and does
// not bounce, and another exchanger may do better.
func TestTheirs(t *testing.T) {
	w := gmail(t, "RCPT 554 5.7.1 blocked using zen.spamhaus.org; https://check.spamhaus.org/returnc/pub/127.255.255.254/", true)
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred rcpt 554 5.7.1")
	if r.Last.Class != "theirs" || r.State != queue.Waiting {
		t.Errorf("%s, class %q", r.State, r.Last.Class)
	}
	if a, b := len(w.mxs["127.0.0.2"].Conns()), len(w.mxs["127.0.0.3"].Conns()); a != 1 || b != 1 {
		t.Errorf("%d and %d connections", a, b)
	}
}

// A smart host that names a fault of ours is waited for; there is nobody after it.
func TestOursAtTheSmartHost(t *testing.T) {
	w := newWorld(t, gmailZone)
	sh := w.mx("127.0.0.9", "RCPT 504 5.5.2 <relay>: Helo command rejected: need fully-qualified hostname")
	w.o.SmartHosts = []preflight.SmartHost{{Name: "smart", Host: "127.0.0.9", Port: sh.Addr().Port(), TLS: "none"}}
	w.gate.sources, w.gate.final = nil, preflight.Route{SmartHost: true}
	w.gate.instead, w.o.SmartEHLO = preflight.Route{SmartHost: true}, "relay"
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred rcpt 504 5.5.2 ours")
	if n := len(sh.Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// What each kind of reply means, as a 4xx and as a 5xx.
func TestClassed(t *testing.T) {
	six, four := netip.MustParseAddrPort("[2001:db8::1]:25"), netip.MustParseAddrPort("192.0.2.1:25")
	for _, c := range []struct {
		kind preflight.Kind
		held bool
		addr netip.AddrPort
		soft next // of a 4xx
		hard next // of a 5xx
		ours bool
	}{
		{preflight.KindOurs, true, four, elsewhere, otherSource, true},
		{preflight.KindTLS, true, four, elsewhere, otherSource, true},
		{preflight.KindRate, false, four, slower, slower, true},
		{preflight.KindReputation, false, four, slower, settled, true},
		{preflight.KindReputation, true, four, slower, otherSource, true},
		{preflight.KindContent, false, four, settled, settled, false},
		{preflight.KindFamily, false, six, overIPv4, overIPv4, true},
		{preflight.KindFamily, false, four, elsewhere, otherSource, true},
		{preflight.KindTheirs, false, four, elsewhere, elsewhere, false},
	} {
		a := queue.Attempt{Addr: c.addr, Reply: queue.Reply{Code: 450}}
		if got := classed(&a, preflight.Class{Kind: c.kind, Held: c.held}); got != c.soft || a.Ours != c.ours {
			t.Errorf("%s, 4xx: %d, ours %t", c.kind, got, a.Ours)
		}
		a = queue.Attempt{Addr: c.addr, Reply: queue.Reply{Code: 550}}
		if got := classed(&a, preflight.Class{Kind: c.kind, Held: c.held}); got != c.hard || a.Ours != (c.ours && got != settled) || a.Slow != (got == slower) {
			t.Errorf("%s, 5xx: %d, ours %t", c.kind, got, a.Ours)
		}
	}
}

// Whatever is said: what is ours never fails a recipient, and a 4xx does not.
func FuzzBook(f *testing.F) {
	f.Add("aspmx.l.google.com", "rcpt", 550, "5.7.25 does not have a PTR record")
	f.Add("x.mail.protection.outlook.com", "dot", 550, "5.7.510 does not accept email over IPv6")
	f.Add("mx.test", "greet", 554, "127.255.255.254")
	f.Add("mx.test", "mail", 421, "\x00\n\xff")
	f.Fuzz(func(t *testing.T, host, stage string, code int, text string) {
		if code < 400 || code > 599 {
			return
		}
		a, turn := book(queue.Attempt{Source: "wan4", Host: host}, at(stage, &textproto.Error{Code: code, Msg: text}), reply{}, dialogue{mail: preflight.Mail{Author: "example.test"}, ehlo: "mail.example.test"})
		switch {
		case a.Outcome != queue.Deferred && a.Outcome != queue.Refused,
			a.Outcome == queue.Refused && (a.Ours || code < 500 || turn.next != settled),
			len(turn.class.Checks) > 0 && a.Class == "", a.Slow && !a.Ours:
			t.Fatalf("%+v, %+v", a, turn)
		}
		safe(t, a.Reply)
	})
}

// What is said of one is not booked for another, in whatever order it is said.
func TestEachItsOwnReply(t *testing.T) {
	for _, to := range [][]string{{"a@dest.test", "b@dest.test"}, {"b@dest.test", "a@dest.test"}} {
		w := gmail(t, "RCPT <a@dest.test> "+saysPTR4+"\nRCPT <b@dest.test> 450 4.2.2 mailbox full", false)
		w.put(queue.Message{}, hello, to...)
		got := w.run(2)
		is(t, got["a@dest.test"], "deferred rcpt 451 4.7.23 ours")
		is(t, got["b@dest.test"], "deferred rcpt 450 4.2.2")
		if a, b := got["a@dest.test"].Last.Class, got["b@dest.test"].Last.Class; a != namesPTR || b != "" {
			t.Errorf("classes %q and %q", a, b)
		}
	}
}

// Who was put off twice for what is ours takes the smart host, whatever was said
// of the others, and they wait.
func TestSomeInsisted(t *testing.T) {
	w := gmail(t, "RCPT <a@dest.test> "+saysPTR4+"\nRCPT <b@dest.test> 450 4.2.2 mailbox full", true)
	w.q.Retry = []time.Duration{time.Millisecond, time.Hour}
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test")
	got := w.until(func(got map[string]queue.Recipient) bool {
		return got["a@dest.test"].Tries == 2 && got["b@dest.test"].Tries == 2
	})
	is(t, got["a@dest.test"], "sent dot 250 2.0.0")
	is(t, got["b@dest.test"], "deferred rcpt 450 4.2.2")
}

// One recipient's refusal for what is ours does not take the others to the smart
// host.
func TestOthersAreNotRerouted(t *testing.T) {
	w := gmail(t, "RCPT <a@dest.test> "+saysPTR+"\nRCPT <b@dest.test> 450 4.2.2 mailbox full", true)
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test")
	got := w.run(2)
	is(t, got["a@dest.test"], "sent dot 250 2.0.0")
	is(t, got["b@dest.test"], "deferred rcpt 450 4.2.2")
	if ms := w.mxs["127.0.0.9"].Messages(); len(ms) != 1 || !slices.Equal(ms[0].To, []string{"a@dest.test"}) {
		t.Errorf("by the smart host: %+v", ms)
	}
}

package deliver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
	"smtprelay/queue"
	"smtprelay/relay/dial"
)

// exchangersOf asks for the exchangers of x.test in zone and writes them as
// "host/address ..."; what stands in one preference is sorted.
func exchangersOf(t *testing.T, zone string, d dial.Dialer, behave ...string) (string, error) {
	t.Helper()
	srv, err := dnstest.Start("$ORIGIN x.test.\n" + zone)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	for _, b := range behave {
		zone, how, _ := strings.Cut(b, " ")
		srv.Behave(zone, how)
	}
	r := resolver{dns: srv.Client(), port: 25, names: []string{"US.x.test."}, check: d.Check}
	xs, err := r.exchangers(t.Context(), "x.test")
	var all []string
	for _, x := range xs {
		s := fmt.Sprint(x.pref, "/", x.host)
		slices.SortFunc(x.addrs, netip.AddrPort.Compare)
		for _, a := range x.addrs {
			s += "/" + a.Addr().String()
		}
		all = append(all, s)
	}
	slices.Sort(all)
	return strings.Join(all, " "), err
}

func TestExchangers(t *testing.T) {
	d := dial.Dialer{
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("8.8.8.1:25")},
		Public:    []netip.Addr{netip.MustParseAddr("8.8.4.4")},
	}
	for _, c := range []struct{ name, zone, want, status, why string }{
		{"one", "@ MX 10 a\na A 8.8.8.8", "10/a.x.test/8.8.8.8", "", ""},
		{"both families", "@ MX 10 a\na A 8.8.8.8\na AAAA 2600::8", "10/a.x.test/8.8.8.8/2600::8", "", ""},
		{"implicit", "@ A 8.8.8.8", "0/x.test/8.8.8.8", "", ""},
		{"alias as exchanger", "@ MX 10 a\na CNAME b\nb A 8.8.8.8", "10/a.x.test/8.8.8.8", "", ""},
		{"null MX", "@ MX 0 .", "", "5.1.10 final", "x.test takes no mail (null MX)"},
		{"null MX beside another", "@ MX 0 .\n@ MX 10 a\na A 8.8.8.8", "10/a.x.test/8.8.8.8", "", ""},
		{"no address at all", "@ TXT nothing", "", "5.4.4 twice", "x.test has no address"},
		{"exchanger without address", "@ MX 10 a", "", "5.4.4 twice", "a.x.test has no address"},
		{"one of two without address", "@ MX 10 a\n@ MX 20 b\nb A 8.8.8.8", "20/b.x.test/8.8.8.8", "", ""},
		{"loopback", "@ MX 10 a\na A 127.0.0.1", "", "5.4.4 final", "a.x.test: 127.0.0.1 is loopback: forbidden address"},
		{"only the good address", "@ MX 10 a\na A 10.0.0.1\na A 8.8.8.8\na AAAA ::1", "10/a.x.test/8.8.8.8", "", ""},
		{"ourselves by name", "@ MX 10 us\nus A 8.8.8.8", "", "5.4.6 final", "mail for x.test leads back to us"},
		{"preferred to us", "@ MX 10 a\n@ MX 20 us\n@ MX 20 b\n@ MX 30 c\na A 8.8.8.8\nus A 8.8.8.9\nb A 8.8.8.10\nc A 8.8.8.11", "10/a.x.test/8.8.8.8", "", ""},
		{"ourselves by address", "@ MX 10 a\na A 8.8.8.1", "", "5.4.6 final", "mail for x.test leads back to us"},
		{"preferred to our address", "@ MX 10 a\n@ MX 20 b\n@ MX 30 c\na A 8.8.8.8\nb A 8.8.8.1\nc A 8.8.8.9", "10/a.x.test/8.8.8.8", "", ""},
		{"implicit and ourselves", "@ A 8.8.8.1", "", "5.4.6 final", "mail for x.test leads back to us"},
		{"ourselves behind NAT", "@ MX 10 a\n@ MX 20 b\na A 8.8.4.4\nb A 8.8.8.8", "", "5.4.6 final", "mail for x.test leads back to us"},
		{"ourselves and worse", "@ MX 10 a\na A 8.8.8.1\na A 10.0.0.1\na AAAA ::1", "", "5.4.6 final", "mail for x.test leads back to us"},
		{"preferred to our public address", "@ MX 10 a\n@ MX 20 b\n@ MX 30 c\na A 8.8.8.8\nb A 8.8.4.4\nc A 8.8.8.9", "10/a.x.test/8.8.8.8", "", ""},
		{"forbidden, another gone", "@ MX 10 a\n@ MX 20 b\na A 10.0.0.1", "", "5.4.4 twice", "b.x.test has no address"},
		{"ourselves, another gone", "@ MX 10 a\n@ MX 20 us\nus A 8.8.8.1", "", "5.4.4 twice", "a.x.test has no address"},
		{"ourselves by address, another gone", "@ MX 10 a\n@ MX 20 b\nb A 8.8.8.1", "", "5.4.4 twice", "a.x.test has no address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := exchangersOf(t, c.zone, d)
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			decided(t, err, c.status, c.why)
		})
	}
}

func decided(t *testing.T, err error, status, why string) {
	t.Helper()
	d := &decision{}
	if ab, ok := errors.AsType[*absent](err); ok {
		d = &decision{status: ab.status + " twice", why: ab.why}
	} else if errors.As(err, &d) {
		c := *d
		if d = &c; d.final {
			d.status += " final"
		}
	}
	if d.status != status || d.why != why && why != "*" {
		t.Errorf("got %q %q (%v), want %q %q", d.status, d.why, err, status, why)
	}
}

func TestExchangersUnknown(t *testing.T) {
	for name, c := range map[string]struct{ zone, behave, status string }{
		"SERVFAIL":             {"@ MX 10 a\na A 8.8.8.8", "x.test servfail", "4.4.3"},
		"refused":              {"@ MX 10 a\na A 8.8.8.8", "x.test refused", "4.4.3"},
		"no such domain":       {"@ MX 10 a\na A 8.8.8.8", "x.test nxdomain", "5.1.2 twice"},
		"address unknown":      {"@ MX 10 a.y.test.\na.y.test. A 8.8.8.8", "y.test servfail", "4.4.3"},
		"forbidden, unknown":   {"@ MX 10 a\n@ MX 20 a.y.test.\na.y.test. A 8.8.8.8\na A 10.0.0.1", "y.test servfail", "4.4.3"},
		"chain that is a ring": {"@ CNAME b\nb CNAME x.test.", "z.test servfail", "4.4.3"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := exchangersOf(t, c.zone, dial.Dialer{}, c.behave)
			if got != "" {
				t.Errorf("got %q", got)
			}
			decided(t, err, c.status, "*")
		})
	}
}

// A zone with a thousand exchangers costs no more than ten.
func TestExchangersBounded(t *testing.T) {
	var zone strings.Builder
	for i := range 60 {
		fmt.Fprintf(&zone, "@ MX 10 a%d\n", i)
		for k := range 20 {
			fmt.Fprintf(&zone, "a%d A 8.8.%d.%d\n", i, i+1, k)
		}
	}
	got, err := exchangersOf(t, zone.String(), dial.Dialer{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(got)); n != maxHosts {
		t.Errorf("%d hosts", n)
	}
	x := exchanger{host: "a"}
	for k := range 20 {
		x.addrs = append(x.addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, byte(k)}), 25))
	}
	if n := len(x.hops([]sender{{v4: true}})); n != maxAddrs {
		t.Errorf("%d addresses of one host", n)
	}
}

func TestShuffledWithinPreference(t *testing.T) {
	first := map[string]bool{}
	for range 100 {
		srv, err := dnstest.Start("$ORIGIN x.test.\n@ MX 10 a\n@ MX 10 b\n@ MX 20 c\na A 8.8.8.1\nb A 8.8.8.2\nc A 8.8.8.3")
		if err != nil {
			t.Fatal(err)
		}
		r := resolver{dns: srv.Client(), port: 25, check: dial.Dialer{}.Check}
		xs, err := r.exchangers(t.Context(), "x.test")
		srv.Close()
		if err != nil || len(xs) != 3 || xs[2].host != "c.x.test" {
			t.Fatal(xs, err)
		}
		if first[xs[0].host] = true; len(first) == 2 {
			return
		}
	}
	t.Errorf("always first: %v", first)
}

// A denial is believed when it was seen twice, a quarter of an hour apart while we
// ran, whatever the clock says.
func TestAbsentIsConfirmed(t *testing.T) {
	ab := &absent{decision{status: "5.1.2", why: "gone"}}
	seen := queue.Attempt{At: time.Now().Add(30 * 24 * time.Hour), Waited: time.Minute, Stage: "resolve", Reply: queue.Reply{Status: "5.1.2"}}
	early, other, said := seen, seen, seen
	early.At, early.Waited = time.Now().Add(-30*24*time.Hour), 3*time.Minute
	other.Reply.Status = "4.4.3"
	said.Stage, said.Reply.Code = "rcpt", 550
	for name, c := range map[string]struct {
		last  queue.Attempt
		asked time.Duration // ago
		final bool
	}{
		"first look": {queue.Attempt{}, 0, false}, "second look": {seen, 0, true}, "too early": {early, 0, false},
		"what the trip was told long ago": {seen, 5 * time.Minute, false},
		"another trouble before":          {other, 0, false}, "a reply before": {said, 0, false},
	} {
		r := queue.Recipient{Age: 10 * time.Minute, Ours: 8 * time.Minute, Last: c.last}
		d := ab.confirm(r, time.Now().Add(-c.asked))
		if d.final != c.final || !d.final && d.wait < confirmAfter {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

func TestNoSuchDomain(t *testing.T) {
	w := newWorld(t, destZone)
	w.o.Port = 25
	w.dns.Behave("dest.test", "nxdomain")
	w.put(queue.Message{}, hello, "bob@dest.test")
	r := w.run(1)["bob@dest.test"]
	is(t, r, "deferred resolve 5.1.2")
	if d := time.Until(r.Next); d < 15*time.Minute || d > 20*time.Minute {
		t.Errorf("next try in %v", d)
	}
}

func TestNullMX(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ MX 0 .\n@ A 127.0.0.2")
	mx := w.mx("127.0.0.2", "")
	w.put(queue.Message{}, hello, "bob@dest.test")
	is(t, w.run(1)["bob@dest.test"], "refused resolve 5.1.10")
	if n := len(mx.Conns()); n > 0 {
		t.Errorf("%d connections", n)
	}
}

func TestImplicitMX(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ A 127.0.0.2")
	w.mx("127.0.0.2", "")
	w.put(queue.Message{}, hello, "bob@dest.test")
	is(t, w.run(1)["bob@dest.test"], "sent dot 250 2.0.0")
}

// Without the private setting nothing on loopback is touched, and the message
// fails with the reason.
func TestNeverLoopback(t *testing.T) {
	w := newWorld(t, destZone)
	w.o.Private = false
	mx := w.mx("127.0.0.2", "")
	w.put(queue.Message{}, hello, "bob@dest.test")
	is(t, w.run(1)["bob@dest.test"], "refused resolve 5.4.4")
	if n := len(mx.Conns()); n > 0 {
		t.Errorf("%d connections", n)
	}
}

const twoZone = `
$ORIGIN dest.test.
@ MX 10 mx1
@ MX 20 mx2
mx1 A 127.0.0.2
mx2 A 127.0.0.3
`

func TestSecondExchanger(t *testing.T) {
	for _, script := range []string{
		"drop banner", "banner 554 5.7.1 no", "banner 421 4.3.2 no", "hang banner", "EHLO 550 no\nHELO 550 no",
		"MAIL 451 4.3.0 later", "RCPT 451 4.3.0 later", "DATA 451 4.3.0 later", "dot 452 4.3.1 full",
		"drop MAIL", "drop RCPT", "drop DATA", "raw MAIL \"what\\r\\n\"",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, twoZone)
			w.o.Timeouts = shortly
			first, second := w.mx("127.0.0.2", script), w.mx("127.0.0.3", "")
			w.put(queue.Message{}, hello, "a@dest.test")
			r := w.run(1)["a@dest.test"]
			is(t, r, "sent dot 250 2.0.0")
			if r.Last.Host != "mx2.dest.test" || len(first.Conns()) == 0 {
				t.Errorf("host %s, %d connections to the first", r.Last.Host, len(first.Conns()))
			}
			if ms := second.Messages(); len(ms) != 1 || string(ms[0].Data) != hello {
				t.Errorf("got %q", ms)
			}
		})
	}
}

// A host that refuses connections is not tried again for each message.
func TestDeadHostOnceATrip(t *testing.T) {
	w := newWorld(t, twoZone)
	first := w.mx("127.0.0.2", "drop banner")
	w.mx("127.0.0.3", "drop banner")
	w.put(queue.Message{}, hello, "a@dest.test")
	w.put(queue.Message{}, hello, "b@dest.test")
	got := w.run(2)
	is(t, got["a@dest.test"], "deferred greet")
	is(t, got["b@dest.test"], "deferred greet")
	if n := len(first.Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// What the first exchanger refused for good is not asked of the second; what it
// put off is.
func TestSecondExchangerForSome(t *testing.T) {
	w := newWorld(t, twoZone)
	w.mx("127.0.0.2", "RCPT <a@dest.test> 550 5.1.1 no\nRCPT <b@dest.test> 451 4.3.0 later")
	second := w.mx("127.0.0.3", "")
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	got := w.run(3)
	is(t, got["a@dest.test"], "refused rcpt 550 5.1.1")
	is(t, got["b@dest.test"], "sent dot 250 2.0.0")
	is(t, got["c@dest.test"], "sent dot 250 2.0.0")
	if ms := second.Messages(); len(ms) != 1 || !slices.Equal(ms[0].To, []string{"b@dest.test"}) {
		t.Errorf("got %+v", ms)
	}
}

// Where the final dot may have arrived, no other exchanger is tried at once.
func TestLostReplyGoesNowhereElse(t *testing.T) {
	w := newWorld(t, twoZone)
	w.mx("127.0.0.2", "drop dot")
	second := w.mx("127.0.0.3", "")
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred dot")
	if n := len(second.Messages()); n > 0 {
		t.Errorf("%d messages at the second", n)
	}
}

func TestBothFamilies(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ MX 10 mx1\nmx1 A 127.0.0.2\nmx1 AAAA ::1")
	w.gate.sources = []preflight.Source{
		{Name: "wan6", Bind: "::1", EHLO: "six.example.test"},
		{Name: "wan4", Bind: "127.0.0.1", EHLO: "four.example.test"},
	}
	four := w.mx("127.0.0.2", "")
	w.mx("::1", "MAIL 451 4.3.0 not here")
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "sent dot 250 2.0.0")
	if r.Last.Source != "wan4" || four.Messages()[0].EHLO != "four.example.test" {
		t.Errorf("left from %s as %s", r.Last.Source, four.Messages()[0].EHLO)
	}
	if cs := closed(t, w.mxs["::1"]); len(cs) != 1 || cs[0].EHLO[0] != "six.example.test" || cs[0].Remote.Addr() != netip.IPv6Loopback() {
		t.Errorf("got %+v", cs)
	}
}

// No source for the only family: that is for the gate to change.
func TestNoSourceForFamily(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ MX 10 mx1\nmx1 AAAA ::1")
	w.o.Port = 25
	w.gate.final.Why = "PTR-EXISTS of wan6"
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred gate ours")
	if !strings.Contains(r.Reason, "PTR-EXISTS of wan6") {
		t.Errorf("reason %q", r.Reason)
	}
}

func TestGateSaysWait(t *testing.T) {
	w := newWorld(t, destZone)
	w.o.Port = 25
	w.gate.sources = nil
	w.gate.final = preflight.Route{Wait: 10 * time.Minute, Why: "PTR-EXISTS of wan4"}
	w.put(queue.Message{Author: "example.test"}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred gate ours")
	if r.Reason != "PTR-EXISTS of wan4" || time.Until(r.Next) < 8*time.Minute {
		t.Errorf("reason %q, next in %v", r.Reason, time.Until(r.Next))
	}
	if m := w.gate.asked[len(w.gate.asked)-1]; m.Author != "example.test" || m.Envelope != "example.test" {
		t.Errorf("asked about %+v", m)
	}
	if qs := w.dns.Questions(); len(qs) > 0 {
		t.Errorf("DNS was asked %v", qs)
	}
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{
		"[192.0.2.1]": "192.0.2.1", "[IPv6:2001:db8::1]": "2001:db8::1", "[ipv6:::1]": "::1",
		"192.0.2.1": "", "[x]": "", "[": "", "]": "", "[192.0.2.1": "", "": "", "dest.test": "",
	} {
		a, ok := literal(in)
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%q: got %v %v", in, a, ok)
		}
	}
}

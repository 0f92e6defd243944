package preflight

import (
	"strings"
	"testing"
)

const reverse6 = `
$TTL 1
$ORIGIN 8.b.d.0.1.0.0.2.ip6.arpa.
@ SOA ns1.example.net. hostmaster.example.net. 1 7200 900 86400 1
@ NS  ns1.example.net.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mail.example.net.
`

// IPv6 goes off when its name goes, and on when it comes back; IPv4 and mail of
// others never notice.
func TestIPv6OffAndOn(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHosts, w.plan.Policy.Settle = nil, 0
	w.plan.Sources = append([]Source{{Name: "wan6", Bind: "2001:db8::25", EHLO: "mail.example.net"}}, w.plan.Sources...)
	zone := strings.Replace(baseline, "ip4:192.0.2.25 -all", "ip4:192.0.2.25 ip6:2001:db8::25 -all", 1) + "mail AAAA 2001:db8::25\n"
	if err := w.dns.Set(zone, reverse, reverse6, other); err != nil {
		t.Fatal(err)
	}
	g := w.gate(t, nil)
	watch(t, g)
	first := func() string {
		r := g.Route(t.Context(), ours, "example.com", nil)
		if r.Source == nil {
			t.Fatalf("no source: %+v", r)
		}
		return r.Source.Name
	}
	if first() != "wan6" {
		t.Errorf("begins with %s", first())
	}
	const name = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
	for range 2 {
		w.dns.Remove(name, "PTR")
		r := await(t, g, "IPv6 off", func(r *Report) bool { return r.Sources[0].Status == Fail })
		if r.Sources[1].Status != Pass || r.Senders[0].Status == Fail || first() != "wan4" {
			t.Errorf("IPv6 off: wan4 %s, sender %s, mail by %s", r.Sources[1].Status, r.Senders[0].Status, first())
		}
		off := g.Route(t.Context(), ours, "example.com", []string{"wan4"})
		if off.Wait <= 0 || !g.Waits(off.Awaits) {
			t.Errorf("to a destination of IPv6 only: %+v", off)
		}
		if err := w.dns.Add(name + ". 1 IN PTR mail.example.net."); err != nil {
			t.Fatal(err)
		}
		await(t, g, "IPv6 on", func(r *Report) bool { return r.Sources[0].Action == "direct" })
		if first() != "wan6" || g.Waits(off.Awaits) {
			t.Errorf("IPv6 on: mail by %s", first())
		}
	}
}

// Whatever goes bad, one by one, the rest goes on.
func TestOneBadOfMany(t *testing.T) {
	w := newGateWorld(t)
	w.plan.SmartHosts, w.plan.Policy.Settle = nil, 0
	w.plan.Senders = append(w.plan.Senders, Sender{Domain: "good.example.org"}, Sender{Domain: "example.org"})
	g := w.gate(t, nil) // example.org has no SPF record from the first
	watch(t, g)
	routes := func(want string) {
		t.Helper()
		got := ""
		for _, d := range []string{"example.net", "good.example.org", "example.org"} {
			if r := g.Route(t.Context(), Mail{Author: d, Envelope: d}, "example.com", nil); r.Source != nil {
				got += " " + d
			}
		}
		if got != want {
			t.Errorf("mail leaves of%s; want%s", got, want)
		}
	}
	routes(" example.net good.example.org")
	w.dns.Remove("good.example.org", "TXT")
	await(t, g, "the second fails", func(r *Report) bool { return r.Senders[1].Status == Fail })
	routes(" example.net")
	if err := w.dns.Add(`example.org. 1 IN TXT "v=spf1 ip4:192.0.2.25 -all"`); err != nil {
		t.Fatal(err)
	}
	await(t, g, "the third is mended", func(r *Report) bool { return r.Senders[2].Status != Fail })
	routes(" example.net example.org")
	if err := w.dns.Behave("example.org", "servfail"); err != nil {
		t.Fatal(err)
	}
	await(t, g, "silence", func(r *Report) bool { return r.Senders[2].Stale })
	routes(" example.net example.org")
}

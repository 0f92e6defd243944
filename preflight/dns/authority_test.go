package dns_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// classless is a /24 of which a customer runs a part (RFC 2317).
const classless = `$ORIGIN 2.0.192.in-addr.arpa.
@     SOA ns.isp.test. noc.isp.test. 1 2 3 4 900
@     NS  ns.isp.test.
24/29 NS  ns.dest.test.
25    CNAME 25.24/29
26    CNAME 26.24/29
30    PTR thirty.isp.test.
`

const customers = `$ORIGIN 24/29.2.0.192.in-addr.arpa.
@  SOA ns.dest.test. dns\.team.dest.test. 1 2 3 4 300
@  NS  ns.dest.test.
25 PTR mail.dest.test.
`

const hosts = `$ORIGIN isp.test.
ns A 127.0.0.1
$ORIGIN dest.test.
ns A 127.0.0.1
`

func TestAuthority(t *testing.T) {
	s := start(t, classless, customers, hosts, "ns.dest.test. AAAA ::1")
	for name, want := range map[string]string{
		"30.2.0.192.in-addr.arpa":   "2.0.192.in-addr.arpa noc.isp.test [{ns.isp.test [127.0.0.1]}]",
		"99.2.0.192.in-addr.arpa":   "2.0.192.in-addr.arpa noc.isp.test [{ns.isp.test [127.0.0.1]}]",
		"2.0.192.in-addr.arpa":      "2.0.192.in-addr.arpa noc.isp.test [{ns.isp.test [127.0.0.1]}]",
		"25.2.0.192.in-addr.arpa":   `24/29.2.0.192.in-addr.arpa dns\.team.dest.test [{ns.dest.test [127.0.0.1 ::1]}]`,
		"26.2.0.192.in-addr.arpa.":  `24/29.2.0.192.in-addr.arpa dns\.team.dest.test [{ns.dest.test [127.0.0.1 ::1]}]`,
		"a.b.c.d.nothing.dest.test": "dest.test hostmaster.dest.test [{ns.dnstest.invalid [127.0.0.1]}]",
	} {
		z, err := dns.Authority(t.Context(), s.Client(), name)
		if got := fmt.Sprint(z.Name, " ", z.Mailbox, " ", z.Servers); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
	s.Behave("2.0.192.in-addr.arpa", "absent")
	if z, err := dns.Authority(t.Context(), s.Client(), "25.2.0.192.in-addr.arpa"); z.Name != "192.in-addr.arpa" || err != nil {
		t.Errorf("without delegation: %+v %v", z, err)
	}
	s.Behave("2.0.192.in-addr.arpa", "servfail")
	if _, err := dns.Authority(t.Context(), s.Client(), "25.2.0.192.in-addr.arpa"); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("SERVFAIL: %v", err)
	}
}

func TestAuthorityIsBounded(t *testing.T) {
	var zone strings.Builder
	zone.WriteString("$ORIGIN many.test.\n")
	for i := range 20 {
		fmt.Fprintf(&zone, "@ NS ns%d\n", i)
		for j := range 6 {
			fmt.Fprintf(&zone, "ns%d A 127.1.%d.%d\nns%d AAAA 2001:db8::%x%x\n", i, i, j+1, i, i, j)
		}
	}
	s := start(t, zone.String())
	z, err := dns.Authority(t.Context(), s.Client(), "x.many.test")
	if err != nil || len(z.Servers) != 8 {
		t.Fatalf("%d servers, %v", len(z.Servers), err)
	}
	for _, n := range z.Servers {
		if len(n.Addrs) != 4 || n.Addrs[0].Is4() == n.Addrs[1].Is4() {
			t.Errorf("%s: %v, want 4 addresses of both families", n.Host, n.Addrs)
		}
	}
}

// TestSecondOpinion has a resolver with an old picture and two authoritative servers.
func TestSecondOpinion(t *testing.T) {
	const zone = "$ORIGIN a.test.\n@ SOA ns1 root 1 2 3 4 300\n@ NS ns1\n@ NS ns2\nns1 A 127.0.0.2\nns2 A 127.0.0.3\n"
	const other = "$ORIGIN b.test.\n@ SOA ns3.a.test. root 1 2 3 4 300\n@ NS ns.b.test.\nns A 127.0.0.4\n"
	resolver := start(t, zone+"x A 192.0.2.99\n", other)
	port := resolver.Addr().Port()
	at := func(host string, zones ...string) *dnstest.Server {
		s, err := dnstest.StartAt(netip.AddrPortFrom(netip.MustParseAddr(host), port).String(), zones...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	one, two, three := at("127.0.0.2", zone), at("127.0.0.3", zone), at("127.0.0.4", other)
	for _, c := range []struct {
		title         string
		one, two, far string
		want          string
	}{
		{"both agree", "x 60 A 192.0.2.1", "x 300 A 192.0.2.1", "", "present x.a.test [192.0.2.1] 1m0s"},
		{"in another order", "x A 192.0.2.1\nx A 192.0.2.2", "x A 192.0.2.2\nx A 192.0.2.1", "", "present x.a.test [192.0.2.1 192.0.2.2] 1h0m0s"},
		{"one denies", "x A 192.0.2.1", "", "", "NXDOMAIN x.a.test [] 0s"},
		{"one denies the type", "x A 192.0.2.1", "x TXT x", "", "NODATA x.a.test [] 0s"},
		{"they differ", "x A 192.0.2.1", "x A 192.0.2.2", "", "temporary x.a.test [] 0s"},
		{"alias within", "x CNAME y\ny A 192.0.2.7", "x CNAME y\ny A 192.0.2.7", "", "present y.a.test [192.0.2.7] 1h0m0s"},
		{"alias to elsewhere", "x 60 CNAME y.b.test.", "x 60 CNAME y.b.test.", "y A 192.0.2.8", "present y.b.test [192.0.2.8] 1m0s"},
		{"alias to nowhere", "x CNAME y.b.test.", "x CNAME y.b.test.", "", "NXDOMAIN y.b.test [] 1h0m0s"},
		{"alias at one only", "x CNAME y.b.test.", "x A 192.0.2.1", "y A 192.0.2.8", "temporary x.a.test [] 0s"},
		{"loop across zones", "x CNAME y.b.test.", "x CNAME y.b.test.", "y CNAME x.a.test.", "broken x.a.test [] 1h0m0s"},
	} {
		for s, text := range map[*dnstest.Server]string{one: zone + c.one, two: zone + c.two, three: other + c.far} {
			if err := s.Set(text); err != nil {
				t.Fatal(err)
			}
		}
		a, err := dns.AskAuthority(t.Context(), resolver.Client(), resolver.Client(), port, "X.a.test", dns.TypeA)
		var data []netip.Addr
		for _, rr := range a.Records {
			data = append(data, rr.Addr)
		}
		if len(data) == 2 && data[1].Less(data[0]) {
			data[0], data[1] = data[1], data[0]
		}
		if got := fmt.Sprintf("%s %s %v %s", a.Outcome, a.Name, data, a.TTL); got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.title, got, err, c.want)
		}
		if a.Question != "x.a.test" || (err == nil) != (a.Outcome == dns.Present) {
			t.Errorf("%s: question %s, %v", c.title, a.Question, err)
		}
	}
	mute := func(title, want, more string) {
		t.Helper()
		resolver.Set(zone+"x A 192.0.2.99\n"+more, other)
		a, _ := dns.AskAuthority(t.Context(), resolver.Client(), resolver.Client(), port, "x.a.test", dns.TypeA)
		if got := fmt.Sprint(a.Outcome, " ", a.Mute); got != want {
			t.Errorf("%s: %s, want %s", title, got, want)
		}
	}
	one.Set(zone)
	two.Set(zone)
	mute("all speak", "NXDOMAIN []", "")
	mute("one of whose addresses nobody answers at", "NXDOMAIN []", "ns2 A 127.0.0.9\n")
	mute("one without an address", "NXDOMAIN [ns3.a.test]", "@ NS ns3\n")
	for _, how := range []string{"refused", "servfail", "lame"} {
		two.Behave("a.test", how)
		mute(how, "NXDOMAIN [ns2.a.test]", "")
	}
	two.Behave("a.test", "")
	one.Set(zone + "x CNAME y.b.test.")
	two.Behave("a.test", "refused")
	three.Set(other)
	mute("before an alias", "NXDOMAIN [ns2.a.test]", "")
	two.Behave("a.test", "")
	resolver.Set(zone+"x A 192.0.2.99\n", other)
	one.Set(zone + "x A 192.0.2.1")
	two.Close()
	began := time.Now()
	if a, err := dns.AskAuthority(t.Context(), resolver.Client(), resolver.Client(), port, "x.a.test", dns.TypeA); err != nil || !a.Auth {
		t.Errorf("one server down: %v", err)
	} else if got := fmt.Sprint(a.Mute); got != "[ns2.a.test]" {
		t.Errorf("one server down: mute %s", got)
	}
	one.Behave(".", "refused")
	_, err := dns.AskAuthority(t.Context(), resolver.Client(), resolver.Client(), port, "x.a.test", dns.TypeA)
	want := "A x.a.test: no name server of a.test answered: ns1.a.test (127.0.0.2): REFUSED, ns2.a.test (127.0.0.3): connection refused"
	if !errors.Is(err, dns.ErrTemporary) || err.Error() != want {
		t.Errorf("all lame: %v", err)
	}
	resolver.Behave(".", "refused")
	if _, err = dns.AskAuthority(t.Context(), resolver.Client(), resolver.Client(), port, "x.a.test", dns.TypeA); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("no resolver: %v", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("refusals took %s", d)
	}
}

func TestAskAuthorityFollowsClassless(t *testing.T) {
	s := start(t, classless, customers, hosts)
	ask := func(name string) (*dns.Answer, error) {
		return dns.AskAuthority(t.Context(), dns.NewMemo(s.Client()), s.Client(), s.Addr().Port(), name, dns.TypePTR)
	}
	a, err := ask("25.2.0.192.in-addr.arpa")
	if err != nil || a.Name != "25.24/29.2.0.192.in-addr.arpa" || a.Records[0].Host != "mail.dest.test" {
		t.Errorf("%+v %v", a, err)
	}
	a, err = ask("26.2.0.192.in-addr.arpa")
	if !errors.Is(err, dns.ErrNotFound) || a.Zone != "24/29.2.0.192.in-addr.arpa" || a.NegTTL != 5*time.Minute {
		t.Errorf("%+v %v", a, err)
	}
}

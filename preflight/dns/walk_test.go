package dns_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// internet is a root and what is below it, a server each. Addresses are in 127.%d.
const internet = `. SOA a.root.test. nstld.root.test. 1 2 3 4 900
. NS a.root.test.
. NS b.root.test.
a.root.test. A 127.%[1]d.0.1
b.root.test. A 127.%[1]d.0.2
test. SOA a.root.test. hostmaster.test. 1 2 3 4 900
in-addr.arpa. SOA a.rir.test. noc.rir.test. 1 2 3 4 900
in-addr.arpa. NS a.rir.test.
a.rir.test. A 127.%[1]d.1.1
192.in-addr.arpa. SOA a.rir.test. noc.rir.test. 1 2 3 4 900
192.in-addr.arpa. NS b.rir.test.
b.rir.test. A 127.%[1]d.1.2
2.0.192.in-addr.arpa. SOA ns1.isp.test. noc.isp.test. 1 2 3 4 900
2.0.192.in-addr.arpa. NS ns1.isp.test.
2.0.192.in-addr.arpa. NS ns2.isp.test.
ns1.isp.test. A 127.%[1]d.2.1
ns2.isp.test. A 127.%[1]d.2.2
25.2.0.192.in-addr.arpa. PTR mail.shop.test.
26.2.0.192.in-addr.arpa. CNAME 26.24/29.2.0.192.in-addr.arpa.
27.2.0.192.in-addr.arpa. CNAME 28.2.0.192.in-addr.arpa.
28.2.0.192.in-addr.arpa. CNAME 27.2.0.192.in-addr.arpa.
24/29.2.0.192.in-addr.arpa. SOA ns.shop.test. hostmaster.shop.test. 1 2 3 4 900
24/29.2.0.192.in-addr.arpa. NS ns.shop.test.
26.24/29.2.0.192.in-addr.arpa. PTR mail.shop.test.
shop.test. SOA ns.shop.test. hostmaster.shop.test. 1 2 3 4 900
ns.shop.test. A 127.%[1]d.3.1
ip6.arpa. SOA a.rir.test. noc.rir.test. 1 2 3 4 900
ip6.arpa. NS a.rir.test.
8.b.d.0.1.0.0.2.ip6.arpa. SOA ns1.isp.test. noc.isp.test. 1 2 3 4 900
8.b.d.0.1.0.0.2.ip6.arpa. NS ns1.isp.test.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.shop.test.
`

// startInternet serves it at 127.net; the hosts are by the last two numbers.
func startInternet(t *testing.T, net int) (*dnstest.Server, map[string]*dnstest.Host) {
	t.Helper()
	s := start(t, fmt.Sprintf(internet, net))
	hosts := map[string]*dnstest.Host{}
	for addr, zones := range map[string]string{
		"0.1": ".", "0.2": ".", "1.1": "in-addr.arpa ip6.arpa", "1.2": "192.in-addr.arpa",
		"2.1": "2.0.192.in-addr.arpa 8.b.d.0.1.0.0.2.ip6.arpa", "2.2": "2.0.192.in-addr.arpa", "3.1": "24/29.2.0.192.in-addr.arpa",
	} {
		h, err := s.Host(fmt.Sprintf("127.%d.%s", net, addr), strings.Fields(zones)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		hosts[addr] = h
	}
	return s, hosts
}

func walk(t *testing.T, s *dnstest.Server, name string) dns.Trace {
	t.Helper()
	return dns.Walk(t.Context(), s.Client(), s.Client(), s.Addr().Port(), name, dns.TypePTR)
}

// way is a trace in one line.
func way(t dns.Trace) string {
	var all []string
	for _, s := range t.Steps {
		all = append(all, fmt.Sprintf("%s@%s:%s", s.Host, s.Zone, s.Kind))
	}
	return fmt.Sprint(strings.Join(all, " "), " => ", t.Answer.Outcome, " ", t.Zone.Name)
}

func TestWalk(t *testing.T) {
	s, hosts := startInternet(t, 71)
	const down = "a.root.test@:referral a.rir.test@in-addr.arpa:referral b.rir.test@192.in-addr.arpa:referral "
	for name, want := range map[string]string{
		"25.2.0.192.in-addr.arpa": down + "ns1.isp.test@2.0.192.in-addr.arpa:answer ns2.isp.test@2.0.192.in-addr.arpa:answer => present 2.0.192.in-addr.arpa",
		"99.2.0.192.in-addr.arpa": down + "ns1.isp.test@2.0.192.in-addr.arpa:answer ns2.isp.test@2.0.192.in-addr.arpa:answer => NXDOMAIN 2.0.192.in-addr.arpa",
		"9.9.9.192.in-addr.arpa":  "a.root.test@:referral a.rir.test@in-addr.arpa:referral b.rir.test@192.in-addr.arpa:answer => NXDOMAIN 192.in-addr.arpa",
		"26.2.0.192.in-addr.arpa": down + "ns1.isp.test@2.0.192.in-addr.arpa:alias ns2.isp.test@2.0.192.in-addr.arpa:alias " +
			"ns1.isp.test@2.0.192.in-addr.arpa:referral ns2.isp.test@2.0.192.in-addr.arpa:referral " +
			"ns.shop.test@24/29.2.0.192.in-addr.arpa:answer => present 24/29.2.0.192.in-addr.arpa",
		"5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "a.root.test@:referral a.rir.test@ip6.arpa:referral " +
			"ns1.isp.test@8.b.d.0.1.0.0.2.ip6.arpa:answer => present 8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		tr := walk(t, s, name)
		if got := way(tr); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		if tr.Answer.Outcome == dns.Present && tr.Answer.Records[0].Host != "mail.shop.test" {
			t.Errorf("%s: %+v", name, tr.Answer)
		}
	}
	if n := hosts["0.2"].Asked(); n != 0 {
		t.Errorf("the second root was asked %d times, want the first to do", n)
	}
	if tr := walk(t, s, "26.2.0.192.in-addr.arpa"); tr.Answer.Question != "26.2.0.192.in-addr.arpa" || fmt.Sprint(tr.Answer.Chain) != "[26.24/29.2.0.192.in-addr.arpa]" {
		t.Errorf("alias: %+v", tr.Answer)
	}
	if tr := walk(t, s, "27.2.0.192.in-addr.arpa"); tr.Answer.Outcome != dns.Broken {
		t.Errorf("aliases in a circle: %+v", tr.Answer)
	}
}

func TestWalkAmongBadServers(t *testing.T) {
	s, hosts := startInternet(t, 72)
	for how, want := range map[string]dns.Kind{
		"refused": dns.Lame, "hearsay": dns.Lame, "upward": dns.Lame, "servfail": dns.Failed, "drop": dns.Silent, "": dns.Answered,
	} {
		hosts["2.2"].Behave(how)
		tr := walk(t, s, "25.2.0.192.in-addr.arpa")
		last := tr.Steps[len(tr.Steps)-1]
		if last.Host != "ns2.isp.test" || last.Kind != want || tr.Answer.Outcome != dns.Present {
			t.Errorf("%s: %s", how, way(tr))
		}
	}
	hosts["2.1"].Behave("upward")
	hosts["2.2"].Behave("refused")
	tr := walk(t, s, "25.2.0.192.in-addr.arpa")
	if tr.Answer.Outcome != dns.Temp || tr.Answer.Detail != "no server of 2.0.192.in-addr.arpa answers for it" || tr.Zone.Name != "2.0.192.in-addr.arpa" {
		t.Errorf("all lame: %s, %+v", way(tr), tr.Answer)
	}
	// A root that is dead costs its timeout, and the next is asked.
	hosts["0.1"].Behave("refused")
	if tr := walk(t, s, "99.9.0.192.in-addr.arpa"); tr.Answer.Outcome != dns.NoName || hosts["0.2"].Asked() == 0 {
		t.Errorf("second root: %s", way(tr))
	}
	s.Behave(".", "servfail")
	if tr := walk(t, s, "25.2.0.192.in-addr.arpa"); tr.Answer.Outcome != dns.Temp || len(tr.Steps) != 0 {
		t.Errorf("without a root: %+v", tr)
	}
	if tr := walk(t, s, strings.Repeat("x", 64)+".arpa"); tr.Answer.Outcome != dns.Broken {
		t.Errorf("no name: %+v", tr.Answer)
	}
}

// fan refers to a zone one label further down for ever, by servers without end.
type fan struct{ asked chan struct{} }

func (f fan) Ask(_ context.Context, _ netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	f.asked <- struct{}{}
	a := &dns.Answer{Question: name, Type: t, Name: name, Rcode: "NOERROR"}
	labels := strings.Split(name, ".")
	z := dns.Zone{Name: strings.Join(labels[max(len(labels)-2-len(f.asked)/4, 0):], ".")}
	for i := range 8 {
		z.Servers = append(z.Servers, dns.NameServer{Host: fmt.Sprintf("ns%d", i), Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	}
	a.Referral = &z
	return a, &dns.Error{Name: name}
}

// Whatever servers refer to, a walk ends.
func TestWalkIsBounded(t *testing.T) {
	s := start(t, ". NS a.root.test.\na.root.test. A 127.0.0.1")
	f := fan{make(chan struct{}, 1000)}
	began := time.Now()
	tr := dns.Walk(t.Context(), s.Client(), f, 53, strings.Repeat("a.", 120)+"test", dns.TypePTR)
	if n := len(f.asked); n > 200 || len(tr.Steps) > 200 || n < 50 || tr.Answer.Outcome != dns.Temp || time.Since(began) > 5*time.Second {
		t.Errorf("%d questions, %d steps, %v", n, len(tr.Steps), time.Since(began))
	}
}

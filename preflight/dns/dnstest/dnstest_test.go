package dnstest_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

const baseline = `
mail.example.net.  300 A    192.0.2.25
mail.example.net.  300 AAAA 2001:db8::25
mail.example.net.  300 TXT  "v=spf1 a -all"
example.net.       300 TXT  "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all"
example.net.       300 MX   10 mx.example.net.
mx.example.net.    300 A    192.0.2.10
k1._domainkey.example.net. 300 TXT "v=DKIM1; k=rsa; p=AAAA"
25.2.0.192.in-addr.arpa.   300 PTR mail.example.net.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.example.net.
`

func start(t *testing.T, zones ...string) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start(zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// shape is an answer in one line: outcome, end of chain if any, zone of a denial, data.
func shape(a *dns.Answer) string {
	words := []string{a.Outcome.String()}
	if len(a.Chain) > 0 {
		words = append(words, "at", a.Name)
	}
	if a.Zone != "" {
		words = append(words, "of", a.Zone)
	}
	for _, r := range a.Records {
		switch {
		case r.Addr.IsValid():
			words = append(words, r.Addr.String())
		case r.Text != "":
			words = append(words, r.Text)
		default:
			words = append(words, r.Host)
		}
	}
	return strings.Join(words, " ")
}

func TestAnswers(t *testing.T) {
	s := start(t, baseline, `$ORIGIN dest.test.
$TTL 60
@      MX    10 mx1
mx1    A     127.0.0.2
*.wild TXT   "any"
x.wild A     127.0.0.9
a.b.c  A     127.0.0.3
out    CNAME mail.example.net.
far    CNAME nowhere.example.net.
gone   CNAME host.unknown.invalid.
l1     CNAME l2
l2     CNAME l1
old    DNAME dest.test.
`, "isp.example.org. SOA ns.isp.example.org. root.isp.example.org. 1 2 3 4 120\nisp.example.org. 60 TXT hello\n")
	for _, c := range []struct {
		name string
		t    dns.Type
		want string
	}{
		{"mail.example.net", dns.TypeA, "present 192.0.2.25"},
		{"MAIL.Example.NET.", dns.TypeAAAA, "present 2001:db8::25"},
		{"mail.example.net", dns.TypeMX, "NODATA of example.net"},
		{"nope.example.net", dns.TypeA, "NXDOMAIN of example.net"},
		{"_domainkey.example.net", dns.TypeTXT, "NODATA of example.net"},
		{"26.2.0.192.in-addr.arpa", dns.TypePTR, "NXDOMAIN of 2.0.192.in-addr.arpa"},
		{"1.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypePTR, "NXDOMAIN of 8.b.d.0.1.0.0.2.ip6.arpa"},
		{"b.c.dest.test", dns.TypeA, "NODATA of dest.test"},
		{"y.wild.dest.test", dns.TypeTXT, "present any"},
		{"y.z.wild.dest.test", dns.TypeTXT, "present any"},
		{"y.wild.dest.test", dns.TypeA, "NODATA of dest.test"},
		{"x.wild.dest.test", dns.TypeTXT, "NODATA of dest.test"},
		{"y.x.wild.dest.test", dns.TypeTXT, "NXDOMAIN of dest.test"},
		{"out.dest.test", dns.TypeA, "present at mail.example.net 192.0.2.25"},
		{"out.dest.test", dns.TypeCNAME, "present mail.example.net"},
		{"far.dest.test", dns.TypeA, "NXDOMAIN at nowhere.example.net of example.net"},
		{"gone.dest.test", dns.TypeA, "temporary"},
		{"l1.dest.test", dns.TypeA, "broken at l1.dest.test"},
		{"mx1.old.dest.test", dns.TypeA, "present at mx1.dest.test 127.0.0.2"},
		{"dest.test", dns.TypeSOA, "present ns.dnstest.invalid"},
		{"isp.example.org", dns.TypeSOA, "present ns.isp.example.org"},
		{"isp.example.org", dns.TypeNS, "present ns.dnstest.invalid"},
		{"ns.dnstest.invalid", dns.TypeA, "present 127.0.0.1"},
		{"example.org", dns.TypeA, "temporary"},
		{"", dns.TypeNS, "present ns.dnstest.invalid"},
	} {
		a, _ := s.Client().Query(t.Context(), c.name, c.t)
		if got := shape(a); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.t, got, c.want)
		}
	}
}

func TestBehave(t *testing.T) {
	s := start(t, baseline, "; answers: secure\nsafe.test. A 192.0.2.1\nbig.safe.test. A 192.0.2.2\n",
		"; answers: servfail\nbogus.test. A 192.0.2.1\n")
	query := func(name string) *dns.Answer {
		a, _ := s.Client().Query(t.Context(), name, dns.TypeA)
		return a
	}
	behave := func(zone, how string) {
		if err := s.Behave(zone, how); err != nil {
			t.Fatal(err)
		}
	}
	if a := query("safe.test"); !a.Secure {
		t.Error("AD is missing")
	}
	if a := query("none.safe.test"); !a.Secure || a.Outcome != dns.NoName {
		t.Errorf("denial: %s, secure %v", shape(a), a.Secure)
	}
	if a := query("mail.example.net"); a.Secure {
		t.Error("AD for an insecure zone")
	}
	if a := query("bogus.test"); a.Rcode != "SERVFAIL" || !strings.Contains(a.Detail, "DNSSEC Bogus") {
		t.Errorf("bogus: %q %q", a.Rcode, a.Detail)
	}
	if a, err := s.Client().Ask(t.Context(), s.Addr(), "bogus.test", dns.TypeA); err != nil || !a.Auth {
		t.Errorf("the authoritative server validates: %v", err)
	}
	for how, want := range map[string]string{"servfail": "SERVFAIL", "refused": "REFUSED", "nxdomain": "NXDOMAIN", "truncate": "NOERROR"} {
		behave("safe.test.", how)
		if a := query("big.safe.test"); a.Rcode != want || a.TCP != (how == "truncate") {
			t.Errorf("%s: %s over TCP %v", how, a.Rcode, a.TCP)
		}
		if a := query("mail.example.net"); a.Outcome != dns.Present {
			t.Errorf("%s of another zone: %s", how, shape(a))
		}
	}
	for how, want := range map[string]string{
		"formerr": "present 192.0.2.2", "notimp": "present 192.0.2.2", "forged": "present 192.0.2.2", "oversized": "present 192.0.2.2",
		"garbled": "present 192.0.2.2", "broken": "broken", "empty": "temporary",
	} {
		behave("safe.test.", how)
		if a := query("big.safe.test"); shape(a) != want || a.TCP != (how == "garbled" || how == "broken") {
			t.Errorf("%s: %s over TCP %v, want %s", how, shape(a), a.TCP, want)
		}
	}
	behave("2.0.192.in-addr.arpa", "absent")
	for _, name := range []string{"25.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"} {
		if a := query(name); shape(a) != "NXDOMAIN of 192.in-addr.arpa" || a.NegTTL.Seconds() != 900 {
			t.Errorf("absent zone: %s: %s", name, shape(a))
		}
	}
	behave("2.0.192.in-addr.arpa", "")
	if a := query("25.2.0.192.in-addr.arpa"); shape(a) != "NODATA of 2.0.192.in-addr.arpa" {
		t.Errorf("zone back again: %s", shape(a))
	}
	behave("safe.test", "mute")
	if a := query("safe.test"); a.Outcome != dns.Present {
		t.Errorf("mute, of a type that is there: %s", shape(a))
	}
	if a := query("big.safe.test"); a.Outcome != dns.Present {
		t.Errorf("a name below a mute one: %s", shape(a))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if a, _ := s.Client().Query(ctx, "safe.test", dns.TypeTXT); a.Outcome != dns.Temp || a.Rcode != "" {
		t.Errorf("mute, of a type that is not: %s", shape(a))
	}
	if err := s.Behave("safe.test", "stubborn"); err == nil {
		t.Error("unknown behaviour taken")
	}
}

func TestDropIsSilence(t *testing.T) {
	s := start(t, baseline)
	s.Behave(".", "drop")
	a, err := s.Client().Ask(t.Context(), s.Addr(), "", dns.TypeNS)
	if err == nil || a.Rcode != "" || a.Detail != "timeout" {
		t.Errorf("%s %q, want silence", shape(a), a.Detail)
	}
}

func TestEdits(t *testing.T) {
	s := start(t, baseline)
	query := func(name string, qt dns.Type) string {
		a, _ := s.Client().Query(t.Context(), name, qt)
		return shape(a)
	}
	s.Remove("25.2.0.192.in-addr.arpa", "PTR")
	if got := query("25.2.0.192.in-addr.arpa", dns.TypePTR); got != "NXDOMAIN of 2.0.192.in-addr.arpa" {
		t.Error("after Remove:", got)
	}
	for range 2 {
		if err := s.Add("25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net."); err != nil {
			t.Fatal(err)
		}
	}
	if got := query("25.2.0.192.in-addr.arpa", dns.TypePTR); got != "present mail.example.net" {
		t.Error("after Add:", got)
	}
	for _, bad := range []string{"what is this", "example.net. A 1.2.3"} {
		if err := s.Add(bad); err == nil {
			t.Errorf("%q taken", bad)
		}
	}
	if err := s.Set("; answers: perhaps\na.test. A 192.0.2.1"); err == nil {
		t.Error("an unknown answers line taken")
	}
	if err := s.Set("$ORIGIN new.test.\n@ A 192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	if got := query("new.test", dns.TypeA); got != "present 192.0.2.7" {
		t.Error("after Set:", got)
	}
	if got := query("mail.example.net", dns.TypeA); got != "temporary" {
		t.Error("old zone after Set:", got)
	}
	if q := s.Questions(); !slices.Contains(q, "25.2.0.192.in-addr.arpa. PTR") {
		t.Errorf("questions: %q", q)
	}
}

func TestBigAnswers(t *testing.T) {
	s := start(t, "big.test. TXT start")
	for i := range 250 {
		s.Add(`big.test. TXT "` + strings.Repeat(string(rune('a'+i%26)), 200) + strings.Repeat("x", i%55) + `"`)
	}
	a, err := s.Client().Query(t.Context(), "big.test", dns.TypeTXT)
	if err != nil || !a.TCP || len(a.Records) < 200 {
		t.Errorf("%v, over TCP %v, %d records", err, a.TCP, len(a.Records))
	}
}

func TestStartAt(t *testing.T) {
	s, err := dnstest.StartAt("127.0.0.9:0", "a.test. A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Addr().Addr() != netip.MustParseAddr("127.0.0.9") {
		t.Error(s.Addr())
	}
	if _, err := dnstest.StartAt(s.Addr().String()); err == nil {
		t.Error("two servers on one address")
	}
	a, err := dns.AskAuthority(t.Context(), s.Client(), s.Client(), s.Addr().Port(), "a.test", dns.TypeA)
	if err != nil || shape(a) != "present 192.0.2.1" {
		t.Errorf("%s %v", shape(a), err)
	}
}

// A resolver that sees something else than the zones have.
func TestView(t *testing.T) {
	s := start(t, baseline)
	s.Invent(netip.MustParseAddr("198.51.100.80"))
	for _, v := range [][3]string{{"mail.example.net", "A", "10.0.0.5"}, {"mail.example.net", "AAAA", ""}} {
		if err := s.View(v[0], v[1], v[2]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.View("mail.example.net", "A", "ten"); err == nil {
		t.Error("no address taken")
	}
	for _, c := range []struct {
		name            string
		t               dns.Type
		inside, outside string
	}{
		{"mail.example.net", dns.TypeA, "present 10.0.0.5", "present 192.0.2.25"},
		{"mail.example.net", dns.TypeAAAA, "NXDOMAIN of example.net", "present 2001:db8::25"},
		{"mail.example.net", dns.TypeMX, "NODATA of example.net", "NODATA of example.net"},
		{"nope.example.net", dns.TypeA, "present 198.51.100.80", "NXDOMAIN of example.net"},
		{"nope.example.net", dns.TypeTXT, "NXDOMAIN of example.net", "NXDOMAIN of example.net"},
	} {
		inside, _ := s.Client().Query(t.Context(), c.name, c.t)
		outside, _ := s.Client().Ask(t.Context(), s.Addr(), c.name, c.t)
		if shape(inside) != c.inside || shape(outside) != c.outside {
			t.Errorf("%s %s: %s and %s, want %s and %s", c.name, c.t, shape(inside), shape(outside), c.inside, c.outside)
		}
	}
	if err := s.Behave("example.net", "lame"); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Client().Ask(t.Context(), s.Addr(), "mail.example.net", dns.TypeA); err == nil || a.Auth || a.Rcode != "NOERROR" {
		t.Errorf("lame: %s, AA %v", shape(a), a.Auth)
	}
	if a, _ := s.Client().Query(t.Context(), "mail.example.net", dns.TypeMX); shape(a) != "NODATA of example.net" {
		t.Errorf("a lame server's resolver: %s", shape(a))
	}
}

func TestWithoutTCP(t *testing.T) {
	s, err := dnstest.Start(baseline)
	if err != nil {
		t.Fatal(err)
	}
	lines := s.Client().OverTCP(t.Context())
	if len(lines) != 1 || lines[0].Err != "" || lines[0].Server != s.Addr() {
		t.Errorf("open: %+v", lines)
	}
	if err := s.CloseTCP(); err != nil {
		t.Error(err)
	}
	if lines = s.Client().OverTCP(t.Context()); !lines[0].Closed || lines[0].Err != "connection refused" {
		t.Errorf("closed: %+v", lines)
	}
	if a, _ := s.Client().Query(t.Context(), "mail.example.net", dns.TypeA); a.Outcome != dns.Present {
		t.Errorf("UDP: %s", shape(a))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

package dns_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"smtprelay/preflight/dns"
)

const overlaid = `
$ORIGIN zone.test.
@      60 SOA ns.dnstest.invalid. root 1 2 3 4 900
@      60 NS ns.dnstest.invalid.
a      60 A 192.0.2.1
a      60 TXT "v=spf1 -all"
a      60 TXT "token=1"
alias  60 CNAME a
far    60 CNAME alias.zone.test.
out    60 CNAME x.else.test.
two    60 MX 10 a
two    60 MX 20 b
sub.deep 60 A 192.0.2.2
`

func TestOverlay(t *testing.T) {
	s := start(t, overlaid, "x.else.test. 60 A 192.0.2.9\n1.2.0.192.in-addr.arpa. 60 PTR old.zone.test.\n2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 PTR old.zone.test.")
	for _, c := range []struct {
		edits, name string
		t           dns.Type
		want        string // outcome, end of the chain, data
	}{
		{"", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.1"},
		{"new.zone.test A 192.0.2.7", "new.zone.test", dns.TypeA, "present new.zone.test 192.0.2.7"},
		{"NEW.zone.test. 3600 IN a 192.0.2.7", "new.zone.test", dns.TypeAAAA, "NODATA new.zone.test"},
		{"deep.new.zone.test A 192.0.2.7", "new.zone.test", dns.TypeA, "NODATA new.zone.test"},
		{"new.zone.test A 192.0.2.7", "other.zone.test", dns.TypeA, "NXDOMAIN other.zone.test"},
		{"a.zone.test A 192.0.2.7", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.7"},
		{"a.zone.test A 192.0.2.7", "alias.zone.test", dns.TypeA, "present a.zone.test 192.0.2.7"},
		{"a.zone.test A 192.0.2.7", "far.zone.test", dns.TypeA, "present a.zone.test 192.0.2.7"},
		{"a.zone.test A 192.0.2.7; a.zone.test A 192.0.2.8", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.7 192.0.2.8"},
		{"+ a.zone.test A 192.0.2.7", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.1 192.0.2.7"},
		{"- a.zone.test A; a.zone.test A 192.0.2.7", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.7"},
		{"- a.zone.test A", "a.zone.test", dns.TypeA, "NODATA a.zone.test"},
		{"- a.zone.test A", "far.zone.test", dns.TypeA, "NODATA a.zone.test"},
		{"- a.zone.test A 192.0.2.8", "a.zone.test", dns.TypeA, "present a.zone.test 192.0.2.1"},
		{"- nothing.zone.test A", "nothing.zone.test", dns.TypeA, "NXDOMAIN nothing.zone.test"},
		{`a.zone.test TXT "v=spf1 " "a -all"`, "a.zone.test", dns.TypeTXT, "present a.zone.test token=1 v=spf1 a -all"},
		{"a.zone.test TXT v=spf1 a -all", "a.zone.test", dns.TypeTXT, "present a.zone.test token=1 v=spf1 a -all"},
		{"+ a.zone.test TXT v=spf1 a -all", "a.zone.test", dns.TypeTXT, "present a.zone.test v=spf1 -all token=1 v=spf1 a -all"},
		{"- a.zone.test TXT token=1", "a.zone.test", dns.TypeTXT, "present a.zone.test v=spf1 -all"},
		{"192.0.2.1 PTR new.zone.test", "1.2.0.192.in-addr.arpa", dns.TypePTR, "present 1.2.0.192.in-addr.arpa new.zone.test"},
		{"+ 192.0.2.1 PTR new.zone.test", "1.2.0.192.in-addr.arpa", dns.TypePTR, "present 1.2.0.192.in-addr.arpa old.zone.test new.zone.test"},
		{"2001:db8::1 PTR b", dns.Reverse(netip.MustParseAddr("2001:db8::1")), dns.TypePTR, "present " + dns.Reverse(netip.MustParseAddr("2001:db8::1")) + " b"},
		{"alias.zone.test A 192.0.2.7", "alias.zone.test", dns.TypeA, "present alias.zone.test 192.0.2.7"},
		{"alias.zone.test A 192.0.2.7", "alias.zone.test", dns.TypeCNAME, "NODATA alias.zone.test"},
		{"- alias.zone.test CNAME", "alias.zone.test", dns.TypeA, "NODATA alias.zone.test"},
		{"- alias.zone.test CNAME else.test", "alias.zone.test", dns.TypeA, "present a.zone.test 192.0.2.1"},
		{"- alias.zone.test CNAME", "far.zone.test", dns.TypeA, "NODATA alias.zone.test"},
		{"a.zone.test CNAME x.else.test", "a.zone.test", dns.TypeA, "present x.else.test 192.0.2.9"},
		{"a.zone.test CNAME x.else.test", "far.zone.test", dns.TypeA, "present x.else.test 192.0.2.9"},
		{"x.else.test A 192.0.2.10", "out.zone.test", dns.TypeA, "present x.else.test 192.0.2.10"},
		{"a.zone.test CNAME far.zone.test", "a.zone.test", dns.TypeA, "broken a.zone.test"},
		{"two.zone.test MX 0 .", "two.zone.test", dns.TypeMX, "present two.zone.test 0 "},
		{"- two.zone.test MX 20 b.zone.test", "two.zone.test", dns.TypeMX, "present two.zone.test 10 a.zone.test"},
		{"sub.deep.zone.test A 192.0.2.7", "deep.zone.test", dns.TypeA, "NODATA deep.zone.test"},
	} {
		o := dns.NewOverlay(s.Client(), s.Client(), edits(t, c.edits))
		a, err := o.Query(t.Context(), c.name, c.t)
		if got := told(a); got != c.want {
			t.Errorf("%s, %s %s:\n got %s\nwant %s", c.edits, c.name, c.t, got, c.want)
		}
		if (err == nil) != (a.Outcome == dns.Present) {
			t.Errorf("%s: %s with error %v", c.edits, a.Outcome, err)
		}
		// The authoritative servers say the same.
		b, _ := dns.AskAuthority(t.Context(), o, o, s.Addr().Port(), c.name, c.t)
		if got := told(b); got != c.want && a.Outcome != dns.Broken {
			t.Errorf("%s, %s %s at the authority:\n got %s (%s)\nwant %s", c.edits, c.name, c.t, got, b.Detail, c.want)
		}
	}
}

func edits(t *testing.T, lines string) (all []dns.Edit) {
	t.Helper()
	for line := range strings.SplitSeq(lines, "; ") {
		if line == "" {
			continue
		}
		e, err := dns.ParseEdit(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// told is an answer in a line.
func told(a *dns.Answer) string {
	s := fmt.Sprint(a.Outcome, " ", a.Name)
	for _, r := range a.Records {
		switch r.Type {
		case dns.TypeA, dns.TypeAAAA:
			s += " " + r.Addr.String()
		case dns.TypeMX:
			s += fmt.Sprintf(" %d %s", r.Pref, r.Host)
		case dns.TypeTXT:
			s += " " + r.Text
		default:
			s += " " + r.Host
		}
	}
	return s
}

// A record that is supposed stands even where DNS is silent; what is taken away
// there is not known to be gone with all its like.
func TestOverlayInSilence(t *testing.T) {
	s := start(t, overlaid)
	if err := s.Behave("zone.test", "servfail"); err != nil {
		t.Fatal(err)
	}
	for edit, want := range map[string]string{
		"a.zone.test A 192.0.2.7": "present a.zone.test 192.0.2.7",
		"- a.zone.test A":         "temporary a.zone.test",
	} {
		o := dns.NewOverlay(s.Client(), s.Client(), edits(t, edit))
		if a, _ := o.Query(t.Context(), "a.zone.test", dns.TypeA); told(a) != want {
			t.Errorf("%s: %s, want %s", edit, told(a), want)
		}
	}
}

func TestParseEdit(t *testing.T) {
	for line, want := range map[string]string{
		"":                                       "expected NAME TYPE DATA",
		"mail.example.net":                       "expected NAME TYPE DATA",
		"a.test A":                               "no IPv4 address",
		"a.test A 2001:db8::1":                   "no IPv4 address",
		"a.test AAAA 192.0.2.1":                  "no IPv6 address",
		"a.test AAAA ::ffff:1.2.3.4":             "no IPv6 address",
		"a.test NS ns.test":                      "is not A, AAAA",
		"a.test 300 IN":                          "expected NAME TYPE DATA",
		"a..test A 192.0.2.1":                    "not a domain name",
		"*.test A 192.0.2.1":                     "wildcard",
		"a.test MX mx.test":                      "preference and host",
		"a.test MX 65536 mx.test":                "preference and host",
		"a.test PTR":                             "empty",
		"a.test PTR b c":                         "",
		"a.test TXT":                             "missing",
		`a.test TXT "half`:                       "not a text in quotes",
		"a.test TXT a\x1b[2J":                    "control character",
		"a.test A 192.0.2.1\nb.test A 192.0.2.2": "control character",
		strings.Repeat("x", 9000):                "longer than",
	} {
		e, err := dns.ParseEdit(line)
		if want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%q: %v, %v; want %q", line, e, err, want)
		}
	}
	for line, want := range map[string]string{
		"A.Test. 3600 IN A 192.0.2.1":             "a.test. A 192.0.2.1",
		"+ bücher.test MX 10 mx.bücher.test":      "+ xn--bcher-kva.test. MX 10 mx.xn--bcher-kva.test.",
		"- a.test txt":                            "- a.test. TXT",
		`a.test TXT "v=DKIM1; k=rsa; " "p=AA\"B"`: `a.test. TXT "v=DKIM1; k=rsa; p=AA\"B"`,
		"a.test TXT v=DKIM1; k=rsa; p=AA":         `a.test. TXT "v=DKIM1; k=rsa; p=AA"`,
		"2001:db8::1 PTR a.test.":                 dns.Reverse(netip.MustParseAddr("2001:db8::1")) + ". PTR a.test.",
	} {
		e, err := dns.ParseEdit(line)
		if err != nil || e.String() != want {
			t.Errorf("%q: %s, %v; want %s", line, e, err, want)
		}
	}
}

// FuzzParseEdit: nothing that can be typed panics, and what was read reads the
// same when it is printed and read again.
func FuzzParseEdit(f *testing.F) {
	for _, s := range []string{"a.test A 192.0.2.1", "- a.test TXT", `+ a.test TXT "a\"b" "c\\\000"`, "a.test MX 0 .", "192.0.2.1 PTR a.test", `a\.b.test CNAME \000.test`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := dns.ParseEdit(line)
		if err != nil || len(e.RR.Text) > 200 {
			return
		}
		again, err := dns.ParseEdit(e.String())
		if err != nil || again != e {
			t.Errorf("%q is %q; read again %q, %v", line, e, again, err)
		}
	})
}

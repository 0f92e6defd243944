package preflight

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"blitiri.com.ar/go/spf"
	"github.com/google/go-cmp/cmp"
)

var ourAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25")}

func TestParseSPF(t *testing.T) {
	for _, c := range []struct{ term, fault, fixed string }{
		{"all", "", ""},
		{"-ALL", "", ""},
		{"all:x", "takes no argument", "all"},
		{"-all.", "unknown mechanism", "-all"},
		{"ip4:192.0.2.25", "", ""},
		{"ip4:192.0.2.0/24", "", ""},
		{"ip4:192.0.2.0/024", "bad prefix length", ""},
		{"ip4:192.0.2.0/33", "bad prefix length", ""},
		{"ip4:192.0.2", "needs an address", ""},
		{"ip4:", "needs an address", ""},
		{"ip4", "needs an address", ""},
		{"ip4:mail.example.net", "needs an address", "a:mail.example.net"},
		{"ip4:2001:db8::25", "other family", "ip6:2001:db8::25"},
		{"~ip6:192.0.2.0/24", "other family", "~ip4:192.0.2.0/24"},
		{"ip6:2001:db8::/32", "", ""},
		{"ip6:fe80::1%eth0", "needs an address", ""},
		{"ipv4:192.0.2.25", "unknown mechanism", "ip4:192.0.2.25"},
		{"?ip:2001:db8::25", "unknown mechanism", "?ip6:2001:db8::25"},
		{"192.0.2.25", "unknown mechanism", "ip4:192.0.2.25"},
		{"a", "", ""},
		{"a/24", "", ""},
		{"a//64", "", ""},
		{"a/24//64", "", ""},
		{"a/", "bad prefix length", ""},
		{"a//", "bad prefix length", ""},
		{"a/24/64", "bad prefix length", ""},
		{"a:", "needs a domain", ""},
		{"a:localhost", "needs a domain", ""},
		{"a:192.0.2.25", "needs a domain", "ip4:192.0.2.25"},
		{"a:mail.example.net/24", "", ""},
		{"a=mail.example.net", "read as a modifier", "a:mail.example.net"},
		{"ip4=192.0.2.25", "read as a modifier", "ip4:192.0.2.25"},
		{"mx:example.net//96", "", ""},
		{"ptr/24", "bad prefix length", ""},
		{"include:_spf.example.org.", "", ""},
		{"include:", "needs a domain", ""},
		{"include", "needs a domain", ""},
		{"include:example.org/24", "no prefix length", ""},
		{"exists:%{l/}.example.org", "", ""},
		{"include:%{d1r}._spf.%{d2}", "", ""},
		{"exists:%{i}._spf.%{d}", "", ""},
		{"exists:%{q}.example.net", "bad macro", ""},
		{"exists:%{i0}.example.net", "bad macro", ""},
		{"exists:%.example.net", "bad macro", ""},
		{"redirect=_spf.example.org", "", ""},
		{"redirect:_spf.example.org", "unknown mechanism", "redirect=_spf.example.org"},
		{"exp=explain.example.net", "", ""},
		{"moo=anything.at/all", "", ""},
		{"moo=%{", "bad macro", ""},
		{"bogus:foo", "unknown mechanism", ""},
		{"-", "unknown mechanism", ""},
	} {
		rec := parseSPF("v=spf1 " + c.term)
		if len(rec) != 1 {
			t.Errorf("%q: %d terms", c.term, len(rec))
			continue
		}
		if got := rec[0]; !strings.Contains(got.Fault, c.fault) || (got.Fault == "") != (c.fault == "") || got.Fixed != c.fixed {
			t.Errorf("%q: fault %q, fixed %q; want %q, %q", c.term, got.Fault, got.Fixed, c.fault, c.fixed)
		}
	}
	rec := parseSPF("v=spf1  a   redirect=a.example.net redirect=b.example.net ")
	if len(rec) != 3 || rec[0].At != 8 || rec[2].Fault == "" || rec[1].Fault != "" {
		t.Errorf("%+v", rec)
	}
}

func TestIsSPF(t *testing.T) {
	for txt, want := range map[string]bool{
		"v=spf1": true, "V=SPF1 -all": true, "v=spf1 ": true, "v=spf10 -all": false,
		"v=spf1;-all": false, " v=spf1 -all": false, "v=spf": false, "": false, "spf2.0/pra -all": false,
	} {
		if isSPF(txt) != want {
			t.Errorf("%q: want %v", txt, want)
		}
	}
}

func TestSuggestSPF(t *testing.T) {
	four := ourAddrs[:1]
	for _, c := range []struct {
		addrs   []netip.Addr
		records []string
		want    string
	}{
		{four, nil, "v=spf1 ip4:192.0.2.25 ~all"},
		{ourAddrs, nil, "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all"},
		{four, []string{"v=spf1 ip4:198.51.100.0/24 -all"}, "v=spf1 ip4:192.0.2.25 ip4:198.51.100.0/24 -all"},
		{four, []string{"v=spf1 IP4:192.0.2.25 mx ~all"}, "v=spf1 ip4:192.0.2.25 mx ~all"},
		{four, []string{"v=spf1 +all"}, "v=spf1 ip4:192.0.2.25 ~all"},
		{four, []string{"v=spf1 mx"}, "v=spf1 ip4:192.0.2.25 mx ~all"},
		{four, []string{"v=spf1 redirect=_spf.example.org"}, "v=spf1 ip4:192.0.2.25 redirect=_spf.example.org"},
		{four, []string{"v=spf1 redirect=_spf.example.org", "v=spf1 mx -all"}, "v=spf1 ip4:192.0.2.25 mx include:_spf.example.org -all"},
		{four, []string{"v=spf1 redirect=a.example.org", "v=spf1 redirect=b.example.org"}, "v=spf1 ip4:192.0.2.25 include:a.example.org include:b.example.org ~all"},
		{four, []string{"v=spf1 redirect=a.example.org", "v=spf1 redirect=A.example.org"}, "v=spf1 ip4:192.0.2.25 redirect=a.example.org"},
		{four, []string{"v=spf1 mx -all redirect=a.example.org"}, "v=spf1 ip4:192.0.2.25 mx -all redirect=a.example.org"},
		{four, []string{"v=spf1 redirect:a.example.org -all"}, "v=spf1 ip4:192.0.2.25 include:a.example.org -all"},
		{four, []string{"v=spf1 mx ?all", "v=spf1 a mx -all"}, "v=spf1 ip4:192.0.2.25 mx a -all"},
		{four, []string{"v=spf1 ipv4:192.0.2.25 a=www.example.net -all exp=e.example.net"}, "v=spf1 ip4:192.0.2.25 a:www.example.net -all exp=e.example.net"},
		{four, []string{"v=spf1 bogus:foo -all"}, "v=spf1 ip4:192.0.2.25 -all"},
	} {
		got := suggestSPF(c.records, c.addrs, func(spfTerm) string { return "" })
		if got.Text != c.want {
			t.Errorf("%q: %s\nwant %s", c.records, got.Text, c.want)
		}
	}
	if got := suggestSPF([]string{"v=spf1 bogus:foo -all"}, four, func(spfTerm) string { return "" }); len(got.Left) != 1 {
		t.Errorf("what was left out is not said: %q", got.Left)
	}
}

// nothing is a resolver without data, for the evaluator.
type nothing struct{ record string }

func (n nothing) LookupTXT(_ context.Context, name string) ([]string, error) {
	if name == "fuzz.example.net" {
		return []string{n.record}, nil
	}
	return nil, missing
}
func (nothing) LookupMX(context.Context, string) ([]*net.MX, error)          { return nil, missing }
func (nothing) LookupIPAddr(context.Context, string) ([]net.IPAddr, error)   { return nil, missing }
func (nothing) LookupAddr(context.Context, string) (names []string, _ error) { return nil, missing }

var slashInMacro = regexp.MustCompile(`%\{[^}]*/`)

var missing = &net.DNSError{Err: "no such name", IsNotFound: true}

// Whatever the parser takes for valid must not be an error of syntax to the
// evaluator, and what it suggests must be valid and stay as it is.
func FuzzSPF(f *testing.F) {
	for _, s := range []string{"a -all", "ipv4:192.0.2.25 a= ?all", "include:%{d}.x.example redirect=a.b", "ip4:1.2.3.4/0 ptr:x.y exists:%{l1r+-}.z moo=%%", "a:b.c/1//2 mx//0 exp=%{i}", "\x00 %{ %{s", "all:all all. -", "a:%{p}", "ip6:::ffff:1.2.3.4/96"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		txt := "v=spf1 " + s
		bad := func(t spfTerm) bool { return t.Fault != "" && !t.Mild }
		rec := parseSPF(txt)
		// A slash among the delimiters of a macro is right, but not to the evaluator.
		if !slices.ContainsFunc(rec, bad) && !slashInMacro.MatchString(txt) {
			_, err := spf.CheckHostWithSender(net.IPv4(203, 0, 113, 254), "helo.example.net", "postmaster@fuzz.example.net",
				spf.WithResolver(nothing{txt}), spf.OverrideLookupLimit(1000), spf.OverrideVoidLookupLimit(1000))
			for _, e := range []error{spf.ErrUnknownField, spf.ErrInvalidIP, spf.ErrInvalidMask, spf.ErrInvalidMacro, spf.ErrInvalidDomain} {
				if errors.Is(err, e) {
					t.Errorf("%q is valid to us, %v to the evaluator", txt, err)
				}
			}
		}
		keep := func(spfTerm) string { return "" }
		once := suggestSPF([]string{txt}, ourAddrs, keep)
		if again := parseSPF(once.Text); slices.ContainsFunc(again, func(t spfTerm) bool { return t.Fault != "" }) {
			t.Errorf("%q: suggested %q, which is not valid: %+v", txt, once.Text, again)
		}
		if twice := suggestSPF([]string{once.Text}, ourAddrs, keep); twice.Text != once.Text {
			t.Errorf("%q: suggested %q, then %q", txt, once.Text, twice.Text)
		}
	})
}

func TestDMARCWalk(t *testing.T) {
	for domain, want := range map[string][]string{
		"example.net":       {"example.net", "net"},
		"net":               {"net"},
		"a.b.example.net":   {"a.b.example.net", "b.example.net", "example.net", "net"},
		"a.b.c.d.e.f.g.h.i": {"a.b.c.d.e.f.g.h.i", "c.d.e.f.g.h.i", "d.e.f.g.h.i", "e.f.g.h.i", "f.g.h.i", "g.h.i", "h.i", "i"},
		"a.b.c.d.e.f.g.h":   {"a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"},
	} {
		if diff := cmp.Diff(want, dmarcWalk(domain)); diff != "" {
			t.Errorf("%s: %s", domain, diff)
		}
	}
}

func TestQuote(t *testing.T) {
	long := strings.Repeat("a", 255) + strings.Repeat("b", 10)
	for text, want := range map[string]string{
		"":         `""`,
		`a"b\c`:    `"a\"b\\c"`,
		"\x01\xff": `"\001\255"`,
		long:       `"` + long[:255] + `" "` + long[255:] + `"`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestSpecial(t *testing.T) {
	var s Special
	for _, a := range []string{"0.0.0.0", "10.1.2.3", "100.64.3.9", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.0.2.1", "192.168.0.1",
		"198.19.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "2001:db8::1", "2002::1", "fd00::1", "fe80::1", "fe80::1%eth0", "ff02::1", "100::1", "100:0:0:1::1", "64:ff9b:1::1", "3fff::1", "5f00::1", "192.88.99.1", "192.0.0.8", "240.0.0.1", "203.0.113.1", "198.51.100.1"} {
		if _, special := s.Addr(netip.MustParseAddr(a)); !special {
			t.Errorf("%s counts as public", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.3.1", "2a00:1450::1", "2600::1"} {
		if what, special := s.Addr(netip.MustParseAddr(a)); special {
			t.Errorf("%s counts as %s", a, what)
		}
	}
	for name, want := range map[string]bool{"mail.corp": true, "corp": true, "mail.mycorp": false, "a.b.local": true, "mail.example.com": true, "mail.examples.com": false, "x.home.arpa": true, "x.arpa": false} {
		if _, special := s.Name(name); special != want {
			t.Errorf("%s: want %v", name, want)
		}
	}
}

func TestMailbox(t *testing.T) {
	for rname, want := range map[string]string{"hostmaster.isp.example": "hostmaster@isp.example", `dns\.admin.isp.example`: "dns.admin@isp.example", "x": "x", ".x": "@x"} {
		if got := mailbox(rname); got != want {
			t.Errorf("%s: %s, want %s", rname, got, want)
		}
	}
}

package dns_test

import (
	"net/netip"
	"strings"
	"testing"

	"smtprelay/preflight/dns"
)

func TestCanonical(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5)
	for in, want := range map[string]string{
		"Mail.Example.NET.":     "mail.example.net",
		"mail":                  "mail",
		"mail_1.example.net":    "mail_1.example.net",
		"_dmarc.example.net":    "_dmarc.example.net",
		"25.0/26.2.0.192.arpa":  "25.0/26.2.0.192.arpa",
		"Bücher.example":        "xn--bcher-kva.example",
		"bücher。example":        "xn--bcher-kva.example",
		"faß.example":           "xn--fa-hia.example", // IDNA2008, not "fass"
		"XN--BCHER-KVA.example": "xn--bcher-kva.example",
		`a\.b.example`:          `a\.b.example`,
		`\065\.\066.example`:    `a\.b.example`,
		`\a.example`:            `a.example`,
		"a b.example":           `a\ b.example`,
		"a\x1bb.example":        `a\027b.example`,
		"[192.0.2.25]":          "[192.0.2.25]",
		long[:249] + ".abc":     long[:249] + ".abc",
		strings.Repeat("x", 63): strings.Repeat("x", 63),
		"*.example.net":         "*.example.net",
		"example.net\\.":        `example.net\.`,
		`example.net\\.`:        `example.net\\`,
		"0.0.0.0.ip6.arpa":      "0.0.0.0.ip6.arpa",
		"host.example.":         "host.example",
		"xn--a.example":         "xn--a.example",
		"EXAMPLE.com":           "example.com",
		"a-.b":                  "a-.b",
	} {
		if got, err := dns.Canonical(in); got != want || err != nil {
			t.Errorf("Canonical(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", ".", "..", "a..b", ".a", "a.b..", strings.Repeat("x", 64), long + "abcdef", "\xff.example", `a\ü.example`,
		"a\u200db\u0000é", "\u0301.example", `a\`} {
		if got, err := dns.Canonical(bad); err == nil {
			t.Errorf("Canonical(%q) = %q, want an error", bad, got)
		} else if !strings.HasPrefix(err.Error(), "name ") {
			t.Errorf("Canonical(%q): %v does not name it", bad, err)
		}
	}
}

func TestIsHostname(t *testing.T) {
	for _, good := range []string{"mail.example.net", "3com.com", "MAIL.example", "a.b", "x-1.xn--p1ai", strings.Repeat("a", 63) + ".b", "1.2.3.4a"} {
		if !dns.IsHostname(good) {
			t.Errorf("%q is none", good)
		}
	}
	for _, bad := range []string{"", ".", "mail", "mail.example.net.", "mail_1.example.net", "-a.example", "a-.example", "a..b", "192.0.2.25", "a.25",
		"[192.0.2.25]", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127), "bücher.example", "a b.example", `a\.b.example`, "a.b\n"} {
		if dns.IsHostname(bad) {
			t.Errorf("%q is one", bad)
		}
	}
}

func TestReverse(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.25":        "25.2.0.192.in-addr.arpa",
		"::ffff:192.0.2.25": "25.2.0.192.in-addr.arpa",
		"2001:db8::25":      "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
		"fe80::1%eth0":      "1." + strings.Repeat("0.", 28) + "8.e.f.ip6.arpa",
	} {
		if got := dns.Reverse(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Reverse(%s) = %q, want %q", addr, got, want)
		}
	}
	if got := dns.Reverse(netip.Addr{}); got != "" {
		t.Errorf("no address has the name %q", got)
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"mail.example.net.", `a\.b.example`, `\065.b`, "bücher。example", "xn--a.b", ".", "a..b", "\xff", "[::1]", "a b\t.c", `\`, `\25`, "ẞ.de", "１.２",
		strings.Repeat("a", 63) + ".b", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a", "_dmarc.b-.-c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := dns.Canonical(s)
		if err != nil {
			return
		}
		if again, err := dns.Canonical(c); again != c || err != nil {
			t.Errorf("%q -> %q -> %q, %v", s, c, again, err)
		}
		if long, err := dns.Canonical(strings.ToUpper(c)); long != c || err != nil { // by the wire, where c may not be
			t.Errorf("%q -> %q, in capitals %q, %v", s, c, long, err)
		}
		for i := range len(c) {
			if c[i] <= ' ' && c[i] != ' ' || c[i] > '~' || 'A' <= c[i] && c[i] <= 'Z' {
				t.Errorf("%q -> %q is not safe to print", s, c)
			}
		}
		if dns.IsHostname(c) && strings.ContainsAny(c, "\\ _[]:") {
			t.Errorf("%q is a host name", c)
		}
	})
}

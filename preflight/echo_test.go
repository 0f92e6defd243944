package preflight

import (
	"net/netip"
	"testing"
)

// echoes are greetings and refusals as they are seen in the wild, with
// 192.0.2.25 and 2001:db8::25 in the place of the client.
var echoes = []struct {
	text, remote string
	loose        bool
	want         string
}{
	{"mx.google.com at your service, [192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"mx.google.com at your service, [2001:db8::25]", "2001:db8:1::1", false, "2001:db8::25"},
	{"SJ1PEPF.mail.protection.outlook.com Hello [192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"mx.example.org Hello mail.example.net [192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"mx.example.org Hello mail.example.net [192.0.2.25], pleased to meet you", "198.51.100.1", false, "192.0.2.25"},
	{"mx.example.org Hello mail.example.net ([192.0.2.25]), pleased to meet you", "198.51.100.1", false, "192.0.2.25"},
	{"mx.example.org Hello mail.example.net [IPv6:2001:db8::25], pleased to meet you", "2001:db8:1::1", false, "2001:db8::25"},
	{"mx.example.org Hello mail.example.net (192.0.2.25)", "198.51.100.1", false, "192.0.2.25"},
	{"mx.example.org Hello [::ffff:192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"mtaproxy1.free.mail.bf1.yahoo.com Hello mail.example.net", "198.51.100.1", false, ""},
	{"mx.example.org", "198.51.100.1", false, ""},
	{"mx.example.org ESMTP Server 8.57.1.2 ready", "198.51.100.1", false, ""},
	{"[198.51.100.1] Hello mail.example.net [192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"Hello [192.0.2.25], also known as [192.0.2.26]", "198.51.100.1", false, ""},
	{"Hello [192.0.2.25] [192.0.2.25]", "198.51.100.1", false, "192.0.2.25"},
	{"Hello [2001:db8::25]", "198.51.100.1", false, ""},
	{"Hello [192.0.2.25]", "2001:db8:1::1", false, ""},
	{"Hello [192.0.2.256]", "198.51.100.1", false, ""},
	{"Hello [192.0.2.25", "198.51.100.1", false, ""},
	{"", "198.51.100.1", false, ""},

	{"<mail.example.net[192.0.2.25]>: Client host rejected: Access denied", "198.51.100.1", true, "192.0.2.25"},
	{"Client host rejected: cannot find your hostname, [192.0.2.25]", "198.51.100.1", true, "192.0.2.25"},
	{"[TSS04] Messages from 192.0.2.25 temporarily deferred due to unexpected volume", "198.51.100.1", true, "192.0.2.25"},
	{"[BL21] Connections will not be accepted from 192.0.2.25, because the ip is in a list", "198.51.100.1", true, "192.0.2.25"},
	{"Sorry, 192.0.2.25.", "198.51.100.1", true, "192.0.2.25"},
	{"IP=192.0.2.25 - None/bad reputation", "198.51.100.1", true, "192.0.2.25"},
	{"see https://lists.example/?ip=192.0.2.25", "198.51.100.1", true, "192.0.2.25"},
	{"[2001:db8::25] Our system has detected that this message does not meet IPv6 sending guidelines", "2001:db8:1::1", true, "2001:db8::25"},
	{"blocked: host-192.0.2.25.dyn.example", "198.51.100.1", true, ""},
	{"your network 192.0.2.0/24 is listed", "198.51.100.1", true, ""},
	{"5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient 192.0.2.25@contoso.com not found by SMTP address lookup", "198.51.100.1", true, ""},
	{"5.1.1 <192.0.2.25+x@gmail.example> no such user", "198.51.100.1", true, ""},
	{"<alice@[192.0.2.25]>: relaying denied", "198.51.100.1", false, ""},
	{"<192.0.2.66@dest.example> is unknown, [192.0.2.25]", "198.51.100.1", true, "192.0.2.25"},
	{"4.7.650 The mail server [192.0.2.25] has been temporarily rate limited", "198.51.100.1", true, "192.0.2.25"},
}

func TestEcho(t *testing.T) {
	for _, c := range echoes {
		got, ok := Echo(c.text, netip.MustParseAddr(c.remote), c.loose)
		if text := got.String(); ok && text != c.want || !ok && c.want != "" {
			t.Errorf("%q: %s %v, want %q", c.text, got, ok, c.want)
		}
	}
}

func FuzzEcho(f *testing.F) {
	for _, c := range echoes {
		f.Add(c.text, c.remote, c.loose)
	}
	f.Fuzz(func(t *testing.T, text, from string, loose bool) {
		remote, err := netip.ParseAddr(from)
		if err != nil {
			return
		}
		a, ok := Echo(text, remote, loose)
		if ok != a.IsValid() || ok && (a == remote.Unmap() || a.Is4() != remote.Unmap().Is4() || a.Is4In6()) {
			t.Errorf("%q from %s: %s", text, from, a)
		}
	})
}

package preflight

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestGeneric(t *testing.T) {
	const four, six = "192.0.2.25", "2001:db8::25"
	for _, c := range []struct {
		addr, name string
		score      int
	}{
		{four, "mail.example.net", -2},
		{four, "example.net", 0},
		{four, "192-0-2-25.dyn.isp.example.org", 6},
		{four, "25.2.0.192.isp.example.org", 3},
		{four, "a192x0x2x25.isp.example.org", 3},
		{four, "host-192-000-002-025.isp.example.org", 4},
		{four, "h192000002025.isp.example.org", 3},
		{four, "c0000219.isp.example.org", 3},
		{four, "ip190200c0.isp.example.org", 3},
		{four, "192-0-2-26.isp.example.org", 0}, // another address
		{four, "1192-0-2-25.isp.example.org", 0},
		{four, "192--0-2-25.isp.example.org", 0},
		{four, "0-192.example.org", 0},           // two octets alone say nothing
		{four, "mx.dyn-2-25.example.org", 3},     // beside a pool word they do
		{four, "mail.192-0-2-25.example.org", 1}, // whoever says mail means it
		{four, "MX2.Pool-17.example.org.", 1},
		{four, "static-192-0-2-25.example.org", 4},
		{four, "vps.example.org", 1},
		{four, "dynamo.example.org", 0}, // a word and not its beginning
		{four, "ec2-192-0-2-25.eu-west-1.compute.amazonaws.com", 6},
		{four, "web.bc.googleusercontent.com", 3},
		{four, "your-server.de", 0}, // the hoster itself
		{four, "static.25.2.0.192.clients.your-server.de", 7},
		{four, "", 0},
		{six, "mail.example.net", -2},
		{six, "2001-db8--25.isp.example.org", 3},
		{six, "ip6-2001-db8-0-0-0-0-0-25.isp.example.org", 4},
		{six, "20010db8000000000000000000000025.isp.example.org", 3},
		{six, "2001-0db8-0000-0000-0000-0000-0000-0025.isp.example.org", 3},
		{six, "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.isp.example.org", 3},
		{six, "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.isp.example.org", 0},
		{six, "2001-db8--26.isp.example.org", 0},
		{"::ffff:192.0.2.25", "192-0-2-25.isp.example.org", 3},
	} {
		if got, hits := generic(netip.MustParseAddr(c.addr), c.name); got != c.score {
			t.Errorf("%s %s: %d %v, want %d", c.addr, c.name, got, hits, c.score)
		}
	}
}

// Whatever is a hoster's ending can be the ending of a name.
func TestHosters(t *testing.T) {
	if len(hosters) < 35 {
		t.Fatalf("%d endings", len(hosters))
	}
	for h := range hosters {
		if _, hits := generic(netip.MustParseAddr("192.0.2.25"), "x."+h); len(hits) == 0 || hits[len(hits)-1].points != 3 {
			t.Errorf("%q does not match a name below it: %v", h, hits)
		}
	}
}

// FuzzGeneric: any name has a score that is the sum of the rules shown, and one that
// is made of the address is generic whatever stands around it.
func FuzzGeneric(f *testing.F) {
	f.Add(uint32(0xc0000219), "192-0-2-25.dyn.isp.example.org")
	f.Add(uint32(0xffffffff), "-.-..255\\.255")
	f.Add(uint32(0), "9999999999999999999999.\x00")
	f.Fuzz(func(t *testing.T, v4 uint32, name string) {
		addr := netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)})
		six := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: byte(v4 >> 24), 13: byte(v4 >> 16), 14: byte(v4 >> 8), 15: byte(v4)})
		for _, a := range []netip.Addr{addr, six, {}} {
			score, hits := generic(a, name)
			sum := 0
			for _, h := range hits {
				sum += h.points
			}
			if sum != score || len(hits) > 5 || score < -2 || score > 10 {
				t.Errorf("%s %q: %d, %v", a, name, score, hits)
			}
			if _, hits := generic(a, dashed(a)+"."+name); a.IsValid() && (len(hits) == 0 || hits[0].what != "the address") {
				t.Errorf("%s: not seen in %s", a, dashed(a)+"."+name)
			}
		}
	})
}

func dashed(a netip.Addr) string {
	return "x-" + strings.NewReplacer(".", "-", ":", "-").Replace(fmt.Sprint(a))
}

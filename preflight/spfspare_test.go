package preflight

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Networks put together let in whom they let in before, and nobody else.
func TestPackedKeepsSenders(t *testing.T) {
	for in, want := range map[string]string{
		"v=spf1 ip4:192.0.2.2 a ip4:192.0.2.3 ip4:192.0.2.0/31 -all":      "v=spf1 ip4:192.0.2.0/30 a -all",
		"v=spf1 ip4:192.0.2.2 -ip4:192.0.2.9 ip4:192.0.2.3 ~all":          "v=spf1 ip4:192.0.2.2 -ip4:192.0.2.9 ip4:192.0.2.3 ~all",
		"v=spf1 ip6:2001:db8::/33 ip6:2001:db8:8000::/33 redirect=a.test": "v=spf1 ip6:2001:db8::/32 redirect=a.test",
		"v=spf1 +ip4:192.0.2.77/24 ip4:192.0.2.1":                         "v=spf1 ip4:192.0.2.0/24",
		"v=spf1": "v=spf1",
		// Never so wide that SPF-NOT-PERMISSIVE would have it taken out again.
		"v=spf1 ip4:10.0.0.0/16 ip4:10.1.0.0/16 ip4:11.0.0.0/17 ip4:11.0.128.0/17": "v=spf1 ip4:10.0.0.0/16 ip4:10.1.0.0/16 ip4:11.0.0.0/16",
		"v=spf1 ip6:2001:db8::/32 ip6:2001:db9::/32":                               "v=spf1 ip6:2001:db8::/32 ip6:2001:db9::/32",
	} {
		if got := packed(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var terms []string
		for range r.IntN(40) {
			terms = append(terms, fmt.Sprintf("ip4:192.0.2.%d/%d", r.IntN(256), 26+r.IntN(7)))
		}
		text := strings.Join(append([]string{"v=spf1"}, terms...), " ")
		before, after := parseSPF(text), parseSPF(packed(text))
		if len(after) > len(before) {
			t.Errorf("seed %d: %s became %s", seed, text, packed(text))
		}
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			if lets(before, a) != lets(after, a) {
				t.Fatalf("seed %d: %s for %s, by %s", seed, text, a, packed(text))
			}
		}
	}
}

func lets(rec spfRecord, a netip.Addr) bool {
	for _, t := range rec {
		if t.Prefix.Masked().Contains(a) {
			return true
		}
	}
	return false
}

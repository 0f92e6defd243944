package preflight

import "net/netip"

// publicNets are where the public resolvers send their questions from: Google's
// list of locations (the blocks that it lies in), Cloudflare's list of its addresses,
// the networks that Cisco tells customers of Umbrella, and for Quad9, which
// publishes none, its own and those of its carrier PCH. It is no harm when one is
// missing: DNSBL-USABLE notices what comes of it.
var publicNets = []struct {
	operator string
	prefixes []string
}{
	{"Google", []string{
		"8.8.4.0/24", "8.8.8.0/24", "34.64.0.0/23", "34.64.2.0/24", "34.101.0.0/23", "34.101.2.0/24", "74.125.0.0/16", "172.217.32.0/20", "172.253.0.0/16", "173.194.0.0/16",
		"2001:4860::/32", "2404:6800::/32", "2607:f8b0::/32", "2800:3f0::/32", "2a00:1450::/32", "2c0f:fb50::/32",
	}},
	{"Cloudflare", []string{
		"1.0.0.0/24", "1.1.1.0/24", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "104.16.0.0/13", "104.24.0.0/14",
		"108.162.192.0/18", "131.0.72.0/22", "141.101.64.0/18", "162.158.0.0/15", "172.64.0.0/13", "173.245.48.0/20",
		"188.114.96.0/20", "190.93.240.0/20", "197.234.240.0/22", "198.41.128.0/17",
		"2400:cb00::/32", "2405:8100::/32", "2405:b500::/32", "2606:4700::/32", "2803:f800::/32", "2a06:98c0::/29", "2c0f:f248::/32",
	}},
	{"Cisco OpenDNS", []string{
		"67.215.64.0/19", "146.112.0.0/16", "155.190.0.0/16", "185.60.84.0/22", "204.194.232.0/21", "208.67.216.0/21", "208.69.32.0/21",
		"2620:0:ccc::/48", "2620:0:ccd::/48", "2620:119::/32",
	}},
	{"Quad9", []string{
		"9.9.9.0/24", "66.185.112.0/20", "74.63.16.0/20", "74.80.64.0/18", "149.112.112.0/24", "149.112.149.0/24", "199.249.255.0/24",
		"2620:fe::/48", "2620:171::/40",
	}},
}

// publicResolver names the operator of the public resolver that asks from an
// address; "" if it is none that is known.
func publicResolver(a netip.Addr) string {
	for _, n := range publicNets {
		for _, p := range n.prefixes {
			if netip.MustParsePrefix(p).Contains(a) {
				return n.operator
			}
		}
	}
	return ""
}

package dial

import "net/netip"

// block is a range and what it is, in the words of an error.
type block struct {
	prefix netip.Prefix
	what   string
}

func blocks(what string, prefixes ...string) []block {
	var bs []block
	for _, p := range prefixes {
		bs = append(bs, block{netip.MustParsePrefix(p), what})
	}
	return bs
}

func concat(bss ...[]block) []block {
	var all []block
	for _, bs := range bss {
		all = append(all, bs...)
	}
	return all
}

// forbidden stays forbidden in every network. Metadata services hand out a
// machine's credentials to whoever can speak to them from inside.
var forbidden = concat(
	blocks("a metadata service",
		"169.254.169.254/32", "fd00:ec2::254/128", "fd20:ce::254/128", "fd00:42::42/128",
		"100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
	blocks("link-local", "169.254.0.0/16", "fe80::/10"),
	blocks("unspecified", "0.0.0.0/8", "::/128"),
	blocks("multicast", "224.0.0.0/4", "ff00::/8"),
	blocks("broadcast", "255.255.255.255/32"),
)

// special is what the IANA special-purpose address registries (RFC 6890) call
// not globally reachable, and the transition ranges that lead there.
var special = concat(
	blocks("loopback", "127.0.0.0/8", "::1/128"),
	blocks("private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
	blocks("shared address space", "100.64.0.0/10"),
	blocks("for documentation", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
	blocks("for benchmarks", "198.18.0.0/15"),
	blocks("special-purpose", "192.0.0.0/24", "192.88.99.0/24", "2001::/23", "100::/64", "5f00::/16"),
	blocks("local NAT64", "64:ff9b:1::/48"),
	blocks("reserved", "240.0.0.0/4"),
)

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215; where the address lies in it is the network's affair, mostly at the end
	sixTo4     = netip.MustParsePrefix("2002::/16")      // RFC 3056
	global     = netip.MustParsePrefix("2000::/3")       // all that is allocated for global unicast
)

// never names what forbids a in any network; "" when nothing does.
func never(a netip.Addr) string { return judge(a, forbidden) }

// notPublic names why a is not a public address; "" when it is one.
func notPublic(a netip.Addr) string {
	if why := judge(a, special); why != "" {
		return why
	}
	if a.Is6() && !global.Contains(a) && !nat64.Contains(a) {
		return "not global unicast"
	}
	return ""
}

// judge looks at the IPv4 address inside, too: a translator on the way would
// connect us to it.
func judge(a netip.Addr, bs []block) string {
	for _, b := range bs {
		if b.prefix.Contains(a) {
			return b.what
		}
	}
	if v4, ok := embedded(a); ok {
		return judge(v4, bs)
	}
	return ""
}

// embedded is the IPv4 address that a NAT64 or 6to4 address leads to.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case nat64.Contains(a), localNAT64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

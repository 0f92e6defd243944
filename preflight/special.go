package preflight

import (
	"net/netip"
	"strings"
)

// Special says which addresses and names mean nothing on the public internet.
// A nil list stands for that of the registries.
type Special struct {
	Prefixes []SpecialPrefix
	Names    []string // a name itself and everything below it, canonical
}

// SpecialPrefix is a block of addresses with a purpose of its own.
type SpecialPrefix struct {
	Prefix netip.Prefix
	What   string // "private address space (RFC 1918)"
}

// Addr tells whether an address is special-purpose, and what it is.
func (s Special) Addr(a netip.Addr) (what string, special bool) {
	list := s.Prefixes
	if list == nil {
		list = specialPrefixes
	}
	a = a.WithZone("")
	for _, p := range list {
		if p.Prefix.Contains(a) {
			return p.What, true
		}
	}
	return "", false
}

// Name tells whether a canonical name can never be found in public DNS, and
// which rule says so.
func (s Special) Name(name string) (rule string, special bool) {
	list := s.Names
	if list == nil {
		list = specialNames
	}
	for _, n := range list {
		if name == n || strings.HasSuffix(name, "."+n) {
			return n, true
		}
	}
	return "", false
}

// The IANA registries of special-purpose addresses (RFC 6890, RFC 8190), and
// multicast, from which nothing can be sent.
var specialPrefixes = []SpecialPrefix{
	{netip.MustParsePrefix("0.0.0.0/8"), `"this network" (RFC 791)`},
	{netip.MustParsePrefix("10.0.0.0/8"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay anycast (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private address space (RFC 1918)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112)"},
	{netip.MustParsePrefix("::/128"), "the unspecified address (RFC 4291)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "an IPv4-mapped address (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local address translation (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "discard-only (RFC 6666)"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "a dummy address (RFC 9780)"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)"},
	{netip.MustParsePrefix("5f00::/16"), "segment routing (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "site-local (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

// Names that public DNS will never hold: RFC 6761, RFC 6762, RFC 7686, RFC 8375,
// RFC 9476, ICANN's reservation of .internal, and the top levels that networks
// made up for themselves and that are not delegated for that reason.
var specialNames = []string{
	"localhost", "test", "invalid", "example", "local", "onion", "home.arpa", "alt",
	"example.com", "example.net", "example.org",
	"internal", "lan", "home", "corp", "mail", "localdomain", "intranet", "private",
}

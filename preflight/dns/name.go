package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Names travel as text with the escapes of RFC 1035 section 5.1 and compare
// with ==: each has gone through its wire form once, so that an escaped dot
// stays part of its label and one name has one spelling.

var errName = errors.New("not a domain name")

// idn maps and checks as RFC 5891 section 5 has it for a lookup. Labels that
// are no host name (an underscore) pass: IsHostname judges those.
var idn = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// Canonical is the one spelling of a name: final dot off, A-labels, lower case.
// The root and whatever does not fit into a question are errors.
func Canonical(name string) (string, error) {
	s := name
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("name %q: not UTF-8", name)
	}
	if !ascii(s) {
		if strings.Contains(s, `\`) {
			return "", fmt.Errorf("name %q: an escape beside letters outside ASCII", name)
		}
		var err error
		if s, err = idn.ToASCII(s); err != nil {
			return "", fmt.Errorf("name %q: %w", name, err)
		}
	}
	c, err := normal(s)
	if err == nil && c == "" {
		err = errors.New("empty")
	}
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	return c, nil
}

// IsHostname tells whether a name may be that of a host on the internet (RFC 1123
// section 2.1, RFC 3696 section 2): two labels or more of letters, digits and inner
// hyphens, the last not all digits, 253 octets at most, no final dot.
func IsHostname(name string) bool {
	if len(name) > 253 {
		return false
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if len(l) == 0 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, ldh) != "" {
			return false
		}
	}
	return len(labels) >= 2 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

const ldh = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

// Reverse is the name whose PTR names an address: "25.2.0.192.in-addr.arpa"
// (RFC 1035 section 3.5, RFC 3596 section 2.5). It is "" for no address.
func Reverse(addr netip.Addr) string {
	addr = addr.Unmap()
	if !addr.IsValid() {
		return ""
	}
	b := addr.AsSlice()
	var s strings.Builder
	for i := len(b) - 1; i >= 0; i-- {
		if addr.Is4() {
			fmt.Fprintf(&s, "%d.", b[i])
		} else {
			fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
		}
	}
	if addr.Is4() {
		return s.String() + "in-addr.arpa"
	}
	return s.String() + "ip6.arpa"
}

// normal takes a name through its wire form. The root is "".
func normal(name string) (string, error) {
	if plain(name) {
		return name, nil
	}
	var wire [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false)
	if err != nil || n > 255 {
		return "", errName
	}
	s, _, err := dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		return "", errName
	}
	return spelled(s), nil
}

// plain tells whether a name is spelled as the way through the wire would spell it,
// without taking that way: lower case letters, digits, hyphens and underscores, in
// labels that fit.
func plain(name string) bool {
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			if label++; label > 63 {
				return false
			}
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return label > 0 && len(name) <= 253
}

// spelled is the canonical spelling of a name that comes from the wire.
func spelled(s string) string {
	return strings.TrimSuffix(lower(s), ".")
}

// lower folds ASCII and nothing else (RFC 4343 section 3).
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return strings.Map(fold, s)
		}
	}
	return s
}

func fold(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// within tells whether a canonical name is zone or below it, label by label.
func within(name, zone string) bool {
	return dns.IsSubDomain(dns.Fqdn(zone), dns.Fqdn(name))
}

// parent is the name one label up; "" above a single label.
func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return ""
	}
	return name[next:]
}

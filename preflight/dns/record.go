package dns

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// record is a record as this package hands it out; false if it has no data, as
// only an update may (RFC 2136 section 2.4). Types without fields of their
// own come with their data in Text.
func record(r dns.RR) (RR, bool) {
	h := r.Header()
	rr := RR{Name: spelled(h.Name), Type: Type(h.Rrtype), TTL: ttl(h.Ttl)}
	ok := h.Rdlength > 0
	switch r := r.(type) {
	case *dns.A:
		addr, fits := netip.AddrFromSlice(r.A)
		rr.Addr, ok = addr.Unmap(), ok && fits
	case *dns.AAAA:
		addr, fits := netip.AddrFromSlice(r.AAAA)
		rr.Addr, ok = addr, ok && fits
	case *dns.PTR:
		rr.Host = spelled(r.Ptr)
	case *dns.CNAME:
		rr.Host = spelled(r.Target)
	case *dns.NS:
		rr.Host = spelled(r.Ns)
	case *dns.MX:
		rr.Host, rr.Pref = spelled(r.Mx), r.Preference
	case *dns.TXT:
		rr.Text = text(r.Txt)
	case *dns.SPF:
		rr.Text = text(r.Txt)
	case *dns.SOA:
		rr.Host, rr.Mailbox, rr.Minimum = spelled(r.Ns), spelled(r.Mbox), ttl(r.Minttl)
		rr.Serial, rr.Refresh, rr.Retry, rr.Expire = r.Serial, ttl(r.Refresh), ttl(r.Retry), ttl(r.Expire)
	default:
		rr.Text = printable(strings.TrimPrefix(r.String(), h.String()))
	}
	return rr, ok
}

// ttl reads a TTL: one with the top bit set counts as zero (RFC 2181 section 8).
func ttl(n uint32) time.Duration {
	if n > math.MaxInt32 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// text joins the strings of a TXT without space (RFC 7208 section 3.3). Printable
// ASCII and tabs stand for themselves, quotes and backslashes too; any other
// octet is \DDD, so that no text can play tricks on a terminal or a log.
func text(parts []string) string {
	var s strings.Builder
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			c := p[i]
			if c == '\\' && i+1 < len(p) {
				c, i = unescape(p, i)
			}
			put(&s, c)
		}
	}
	return s.String()
}

// unescape reads the escape at p[i], which has an octet after the backslash, and
// returns the place of its last one.
func unescape(p string, i int) (byte, int) {
	if i+3 < len(p) && digit(p[i+1]) && digit(p[i+2]) && digit(p[i+3]) {
		return (p[i+1]-'0')*100 + (p[i+2]-'0')*10 + p[i+3] - '0', i + 3
	}
	return p[i+1], i + 1
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func printable(p string) string {
	var s strings.Builder
	for i := range len(p) {
		put(&s, p[i])
	}
	return s.String()
}

func put(s *strings.Builder, c byte) {
	if ' ' <= c && c <= '~' || c == '\t' {
		s.WriteByte(c)
		return
	}
	fmt.Fprintf(s, `\%03d`, c)
}

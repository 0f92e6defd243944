package dns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// read takes the answer on by what a server said: along the aliases in it, to
// data or a denial. It returns true when they lead to a name of which this packet
// says nothing, and which is to be asked for.
func (a Answer) read(m *dns.Msg) (Answer, bool) {
	a.Rcode, a.Auth, a.Outcome, a.Detail = rcode(m.Rcode), m.Authoritative, Temp, ede(m)
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return a, false
	}
	from := len(a.Chain)
	for {
		if a.take(m.Answer) {
			if a.Outcome == Present && m.Rcode == dns.RcodeNameError {
				a.Outcome, a.Records, a.Detail = Temp, nil, "the answer contradicts itself: data for a name that does not exist"
			}
			return a, false
		}
		to, ok := a.alias(m.Answer)
		if !ok {
			break
		}
		if a.Outcome == Broken || !a.follow(to) {
			return a, false
		}
	}
	soa := denial(m.Ns, a.Name)
	if soa != nil {
		a.Zone, a.NegTTL = spelled(soa.Hdr.Name), min(ttl(soa.Hdr.Ttl), ttl(soa.Minttl))
	}
	switch {
	case m.Rcode == dns.RcodeNameError: // of the last name, RFC 6604 section 3
		a.Outcome = NoName
	case soa != nil:
		a.Outcome = NoData
	case len(a.Chain) > from:
		return a, true
	default:
		a.Detail, a.Referral = join(neither(m), a.Detail), referral(m, a.Name)
	}
	return a, false
}

// take looks for data at the name that the answer has come to.
func (a *Answer) take(rrs []dns.RR) bool {
	var seen map[RR]bool // made for the second record
	for _, r := range rrs {
		h := r.Header()
		if Type(h.Rrtype) != a.Type || h.Class != dns.ClassINET || spelled(h.Name) != a.Name {
			continue
		}
		rr, ok := record(r)
		if !ok {
			a.Outcome, a.Detail, a.Records = Broken, a.Type.String()+" record without data", nil
			return true
		}
		a.TTL = min(a.TTL, rr.TTL)
		if len(a.Records) > 0 && seen == nil {
			seen = map[RR]bool{a.Records[0].untimed(): true}
		}
		if key := rr.untimed(); !seen[key] {
			if seen != nil {
				seen[key] = true
			}
			a.Records = append(a.Records, rr)
		}
	}
	if len(a.Records) > 0 {
		a.Outcome = Present
	}
	return len(a.Records) > 0
}

// untimed is the record whatever its TTL.
func (rr RR) untimed() RR {
	rr.TTL = 0
	return rr
}

// alias finds where a CNAME or DNAME of the answer leads the name to.
func (a *Answer) alias(rrs []dns.RR) (string, bool) {
	var cname *dns.CNAME
	var dname *dns.DNAME
	for _, r := range rrs {
		if r.Header().Class != dns.ClassINET {
			continue
		}
		owner := spelled(r.Header().Name)
		switch r := r.(type) {
		case *dns.CNAME:
			if owner == a.Name && r.Hdr.Rdlength > 0 && cname == nil {
				cname = r
			}
		case *dns.DNAME:
			if owner != a.Name && within(a.Name, owner) && r.Hdr.Rdlength > 0 {
				dname = r
			}
		}
	}
	if dname != nil && len(a.Chain) == 0 {
		a.Under = spelled(dname.Hdr.Name)
	}
	switch {
	case cname != nil:
		a.TTL = min(a.TTL, ttl(cname.Hdr.Ttl))
		return spelled(cname.Target), true
	case dname == nil:
		return "", false
	}
	a.TTL = min(a.TTL, ttl(dname.Hdr.Ttl))
	to, err := normal(strings.TrimSuffix(a.Name, spelled(dname.Hdr.Name)) + dname.Target) // RFC 6672 section 2.2
	if err != nil {
		a.Outcome, a.Detail = Broken, "DNAME at "+spelled(dname.Hdr.Name)+" makes the name too long"
	}
	return to, true
}

// follow goes one alias on, unless it leads in a circle or too far.
func (a *Answer) follow(to string) bool {
	circle := to == a.Question || slices.Contains(a.Chain, to)
	a.Chain = append(slices.Clip(a.Chain), to)
	a.Name = to
	switch {
	case circle:
		a.Outcome, a.Detail = Broken, "CNAME loop at "+to
	case len(a.Chain) > maxLinks:
		a.Outcome, a.Detail = Broken, fmt.Sprintf("more than %d CNAMEs", maxLinks)
	default:
		return true
	}
	return false
}

// looped tells whether the answer is broken by what its zones say, so that no
// other server can do better.
func (a Answer) looped() bool { return a.Outcome == Broken && a.Rcode != "" }

// denial is the SOA that proves (RFC 2308 section 2.2) that the zone of a name
// was asked. One of a zone elsewhere proves nothing.
func denial(rrs []dns.RR, name string) *dns.SOA {
	for _, r := range rrs {
		if s, ok := r.(*dns.SOA); ok && s.Hdr.Class == dns.ClassINET && s.Hdr.Rdlength > 0 && within(name, spelled(s.Hdr.Name)) {
			return s
		}
	}
	return nil
}

// neither says what an answer without data or denial looks like.
func neither(m *dns.Msg) string {
	for _, r := range m.Ns {
		if r.Header().Rrtype == dns.TypeNS {
			return "lame: a referral instead of an answer"
		}
	}
	return "neither data nor a proper denial"
}

// ede is what the server adds of itself (RFC 8914), safe to print.
func ede(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	var said []string
	for _, o := range opt.Option {
		e, ok := o.(*dns.EDNS0_EDE)
		if !ok {
			continue
		}
		s := dns.ExtendedErrorCodeToString[e.InfoCode]
		if s == "" {
			s = fmt.Sprintf("extended error %d", e.InfoCode)
		}
		if e.ExtraText != "" {
			s += " (" + printable(e.ExtraText[:min(len(e.ExtraText), 200)]) + ")"
		}
		switch e.InfoCode {
		case dns.ExtendedErrorCodeDNSBogus, dns.ExtendedErrorCodeSignatureExpired,
			dns.ExtendedErrorCodeDNSKEYMissing, dns.ExtendedErrorCodeRRSIGsMissing:
			s += ", DNSSEC validation failed: validating receivers see nothing either"
		}
		said = append(said, s)
	}
	return strings.Join(said[:min(len(said), 3)], "; ")
}

func rcode(n int) string {
	if s, ok := dns.RcodeToString[n]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", n)
}

func join(s, more string) string {
	if more == "" {
		return s
	}
	return s + ": " + more
}

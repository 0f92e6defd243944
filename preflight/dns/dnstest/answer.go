package dnstest

import (
	"cmp"
	"net"
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	ownZone  = "dnstest.invalid."
	ownName  = "ns." + ownZone
	maxLinks = 32
)

// world is what a question sees: data, and what is wrong with it.
type world struct {
	zones    *zones
	behave   map[string]string
	views    map[viewed][]mdns.RR // what the resolver sees instead
	invented netip.Addr           // for names that do not exist
}

// reply is an answer before it is a packet.
type reply struct {
	rcode          int
	answer, denial []mdns.RR
	secure         bool
	bogus          bool
	drop, truncate bool
	lame           bool // no authority for what it says
	flaw           flaw
}

// serve answers one packet.
func (s *Server) serve(w mdns.ResponseWriter, q *mdns.Msg) {
	asked := q.Question[0]
	s.mu.Lock()
	s.asked = append(s.asked, Question{strings.ToLower(asked.Name) + " " + mdns.Type(asked.Qtype).String(), q.RecursionDesired, time.Now()})
	delay := s.delay
	r := s.answer(canonical(asked.Name), asked.Qtype, q.RecursionDesired)
	if q.RecursionDesired {
		s.world.invent(&r, asked.Name, asked.Qtype)
	}
	s.mu.Unlock()
	if r.drop {
		return
	}
	time.Sleep(delay)
	if asked.Qclass != mdns.ClassINET {
		r = reply{rcode: mdns.RcodeRefused}
	}
	_, udp := w.LocalAddr().(*net.UDPAddr)
	r.send(w, q, udp)
}

// packet writes the reply as an answer to q.
func (r reply) packet(q *mdns.Msg, udp bool) *mdns.Msg {
	if m := r.ignorant(q); m != nil {
		return m
	}
	m := new(mdns.Msg)
	m.SetRcode(q, r.rcode)
	m.Compress = true
	m.Authoritative = !q.RecursionDesired && !r.lame && (r.rcode == mdns.RcodeSuccess || r.rcode == mdns.RcodeNameError)
	m.RecursionAvailable = true
	m.Answer, m.Ns = r.answer, r.denial
	size := mdns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		m.SetEdns0(1232, opt.Do())
		if r.bogus {
			own := m.IsEdns0()
			own.Option = append(own.Option, &mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeDNSBogus})
		}
		m.AuthenticatedData = r.secure && q.RecursionDesired && (q.AuthenticatedData || opt.Do())
	} else {
		m.AuthenticatedData = r.secure && q.RecursionDesired && q.AuthenticatedData
	}
	if !udp {
		return m
	}
	if r.truncate {
		m.Answer, m.Ns, m.Truncated = nil, nil, true
	}
	if r.flaw == oversized {
		return m
	}
	m.Truncate(size)
	m.Truncated = m.Truncated || r.truncate
	return m
}

// answer follows a name through the zones.
func (s *Server) answer(name string, t uint16, recurse bool) reply {
	r := reply{secure: true}
	seen := map[string]bool{}
	start := ""
	for {
		z := s.zone(name)
		if start == "" {
			start = z
		}
		if !recurse && z != start { // another zone's names are not ours to tell
			return r
		}
		if s.misbehave(&r, z, name, t, recurse) {
			return r
		}
		set := s.find(z, name, t)
		if own, ok := s.world.views[viewed{name, t}]; ok && recurse {
			set = own
			if len(own) == 0 {
				r.deny(s.soa(z), false)
				return r
			}
		}
		r.answer = append(r.answer, set...)
		to := target(set, t)
		switch {
		case len(set) == 0:
			r.deny(s.soa(z), s.exists(name) || s.world.zones.rrs[s.wildcard(z, name)] != nil)
			return r
		case to == "" || seen[to] || len(seen) == maxLinks:
			return r
		}
		seen[name], name = true, to
	}
}

// deny ends the chain at a name that has no data.
func (r *reply) deny(soa mdns.RR, exists bool) {
	r.denial = []mdns.RR{soa}
	if !exists {
		r.rcode = mdns.RcodeNameError
	}
}

// misbehave does what Behave and the answers line ask for. It returns true if that is
// all there is to say.
func (s *Server) misbehave(r *reply, z, name string, t uint16, recurse bool) bool {
	fail := func(rcode int) bool {
		*r = reply{rcode: rcode, truncate: r.truncate}
		return true
	}
	how, of := s.behaviour(name)
	switch how {
	case "mute":
		if len(s.find(z, name, t)) == 0 {
			r.drop = true
			return true
		}
	case "drop":
		r.drop = true
		return true
	case "servfail":
		return fail(mdns.RcodeServerFailure)
	case "refused":
		return fail(mdns.RcodeRefused)
	case "nxdomain", "absent":
		r.deny(s.soa(cmp.Or(z, of)), false)
		return true
	case "truncate":
		r.truncate = true
	case "lame":
		r.lame = true
	case string(empty):
		*r = reply{}
		return true
	default:
		r.flaw = flaw(how)
	}
	switch {
	case z == "" && len(r.answer) > 0: // a resolver that gets stuck on the way
		return fail(mdns.RcodeServerFailure)
	case z == "":
		return fail(mdns.RcodeRefused)
	case s.world.zones.answers[z] == "servfail" && recurse: // CD in the question changes nothing
		*r = reply{rcode: mdns.RcodeServerFailure, bogus: true, truncate: r.truncate}
		return true
	}
	r.secure = r.secure && s.world.zones.answers[z] == "secure"
	return false
}

// behaviour is that of the closest zone above that has one.
func (s *Server) behaviour(name string) (how, of string) {
	for asked := name; ; {
		if b, ok := s.world.behave[name]; ok && (b != "mute" || name == asked) {
			return b, name
		}
		if name == "." {
			return "", ""
		}
		name = above(name)
	}
}

// target is where an answer leads on to; "" if it is the end.
func target(set []mdns.RR, t uint16) string {
	if t == mdns.TypeCNAME {
		return ""
	}
	for _, rr := range set {
		if c, ok := rr.(*mdns.CNAME); ok {
			return canonical(c.Target)
		}
	}
	return ""
}

package dnstest

import (
	"net/netip"

	mdns "github.com/miekg/dns"
)

// A resolver that does not say what the zones say: it has a view of its own (or an
// old answer in its cache), or invents addresses for names that do not exist.

// View has the resolver, and not the authoritative server, see a record instead of
// what its zone has of that name and type; called again, one more. Without data it
// denies that the name exists.
func (s *Server) View(owner, rrtype, data string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := viewed{canonical(owner), mdns.StringToType[rrtype]}
	if s.world.views == nil {
		s.world.views = map[viewed][]mdns.RR{}
	}
	if data == "" {
		s.world.views[key] = []mdns.RR{}
		return nil
	}
	rrs, err := parse(canonical(owner) + " 300 IN " + rrtype + " " + data)
	if err != nil {
		return err
	}
	s.world.views[key] = append(s.world.views[key], rrs...)
	return nil
}

// viewed is a name and type that the resolver has its own view of.
type viewed struct {
	name string
	t    uint16
}

// Invent has the resolver answer an address for every name that does not exist.
func (s *Server) Invent(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.invented = addr
}

// invent turns a denial into an address, as some providers do.
func (w *world) invent(r *reply, name string, t uint16) {
	if r.rcode != mdns.RcodeNameError || t != mdns.TypeA || !w.invented.Is4() {
		return
	}
	r.rcode, r.denial, r.secure = mdns.RcodeSuccess, nil, false
	r.answer = append(r.answer, &mdns.A{
		Hdr: mdns.RR_Header{Name: name, Rrtype: t, Class: mdns.ClassINET, Ttl: 60}, A: w.invented.AsSlice(),
	})
}

// CloseTCP takes no more questions over TCP: connections are refused.
func (s *Server) CloseTCP() error {
	s.noTCP = true
	return s.servers[1].Shutdown()
}

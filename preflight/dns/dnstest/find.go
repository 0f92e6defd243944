package dnstest

import (
	"strings"

	mdns "github.com/miekg/dns"
)

// zone is the zone that answers for a name; "" if none does. Absent zones do not, and the
// zone above an absent one is there even if no text has it. So is the root for its own
// name: its NS are how one asks whether a resolver lives.
func (s *Server) zone(name string) string {
	if name == "." {
		return name
	}
	for {
		_, loaded := s.world.zones.answers[name]
		if (loaded || name == ownZone || s.aboveAbsent(name)) && !s.absent(name) {
			return name
		}
		if name == "." {
			return ""
		}
		name = above(name)
	}
}

func (s *Server) absent(name string) bool {
	how, _ := s.behaviour(name)
	return how == "absent"
}

// aboveAbsent tells whether a name is the zone to deny an absent one.
func (s *Server) aboveAbsent(name string) bool {
	for zone, how := range s.world.behave {
		if how == "absent" && name == registry(zone) {
			return true
		}
	}
	return false
}

// registry is who would have delegated a zone: the /8 of an IPv4 reverse zone, the /16 of
// an IPv6 one, the name above of any other.
func registry(zone string) string {
	up := above(zone)
	switch {
	case mdns.IsSubDomain("in-addr.arpa.", zone):
		up = last(up, 3)
	case mdns.IsSubDomain("ip6.arpa.", zone):
		up = last(up, 6)
	}
	return up
}

// find is what a zone has for a name: the type asked for, or an alias.
func (s *Server) find(z, name string, t uint16) []mdns.RR {
	if set := s.apex(z, name, t); set != nil {
		return set
	}
	if d := s.dname(z, name); d != nil {
		return d
	}
	owner := name
	if !s.exists(name) {
		owner = s.wildcard(z, name)
	}
	sets := s.world.zones.rrs[owner]
	set := sets[t]
	if set == nil {
		set = sets[mdns.TypeCNAME]
	}
	if owner == name {
		return set
	}
	var made []mdns.RR
	for _, rr := range set {
		rr = mdns.Copy(rr)
		rr.Header().Name = name
		made = append(made, rr)
	}
	return made
}

// apex makes up what a zone must have and its text has not.
func (s *Server) apex(z, name string, t uint16) []mdns.RR {
	if len(s.world.zones.rrs[name][t]) > 0 {
		return nil
	}
	h := mdns.RR_Header{Name: name, Rrtype: t, Class: mdns.ClassINET, Ttl: 3600}
	switch {
	case name == ownName && t == mdns.TypeA && s.addr.Addr().Is4():
		return []mdns.RR{&mdns.A{Hdr: h, A: s.addr.Addr().AsSlice()}}
	case name == ownName && t == mdns.TypeAAAA && s.addr.Addr().Is6():
		return []mdns.RR{&mdns.AAAA{Hdr: h, AAAA: s.addr.Addr().AsSlice()}}
	case name == z && t == mdns.TypeNS:
		return []mdns.RR{&mdns.NS{Hdr: h, Ns: ownName}}
	case name == z && t == mdns.TypeSOA:
		return []mdns.RR{s.soa(z)}
	}
	return nil
}

// soa is the SOA of a zone, its own or one made up.
func (s *Server) soa(z string) mdns.RR {
	if set := s.world.zones.rrs[z][mdns.TypeSOA]; len(set) > 0 {
		return set[0]
	}
	return &mdns.SOA{
		Hdr: mdns.RR_Header{Name: z, Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: 3600},
		Ns:  ownName, Mbox: "hostmaster." + strings.TrimPrefix(z, "."),
		Serial: s.world.zones.serial, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: 900,
	}
}

// dname is a DNAME above a name, with the CNAME that it stands for.
func (s *Server) dname(z, name string) []mdns.RR {
	for up := name; up != z && up != "."; {
		up = above(up)
		for _, rr := range s.world.zones.rrs[up][mdns.TypeDNAME] {
			d := rr.(*mdns.DNAME)
			to := strings.TrimSuffix(name, up) + strings.TrimPrefix(d.Target, ".")
			if _, ok := mdns.IsDomainName(to); !ok {
				continue
			}
			h := mdns.RR_Header{Name: name, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: d.Hdr.Ttl}
			return []mdns.RR{d, &mdns.CNAME{Hdr: h, Target: to}}
		}
	}
	return nil
}

// wildcard is the owner that stands for a name that does not exist (RFC 4592): the "*"
// under the closest name above that exists.
func (s *Server) wildcard(z, name string) string {
	for up := name; up != z && up != "."; {
		if up = above(up); up == z || s.exists(up) {
			return "*." + strings.TrimPrefix(up, ".")
		}
	}
	return name
}

// exists tells whether a name has records, or stands above one that has (RFC 8020: then
// it exists, without data).
func (s *Server) exists(name string) bool {
	if name == ownName || s.zone(name) == name || len(s.world.zones.rrs[name]) > 0 && !s.absent(name) {
		return true
	}
	for owner := range s.world.zones.rrs {
		if mdns.IsSubDomain(name, owner) && !s.absent(owner) {
			return true
		}
	}
	for z := range s.world.zones.answers {
		if mdns.IsSubDomain(name, z) && !s.absent(z) {
			return true
		}
	}
	return false
}

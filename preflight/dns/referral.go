package dns

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// referral is whom a server sends on to instead of an answer (RFC 1034 section
// 4.3.2): the servers of a zone that the name is in, with the addresses that came
// along. Whether it leads further down, only who asked can tell.
func referral(m *dns.Msg, name string) *Zone {
	var z *Zone
	for _, r := range m.Ns {
		ns, ok := r.(*dns.NS)
		if !ok || ns.Hdr.Class != dns.ClassINET || ns.Hdr.Rdlength == 0 {
			continue
		}
		owner := spelled(ns.Hdr.Name)
		if !within(name, owner) || z != nil && owner != z.Name {
			continue
		}
		if z == nil {
			z = &Zone{Name: owner}
		}
		host := spelled(ns.Ns)
		known := slices.ContainsFunc(z.Servers, func(s NameServer) bool { return s.Host == host })
		if !known && len(z.Servers) < maxNameServers {
			z.Servers = append(z.Servers, NameServer{Host: host, Addrs: glue(m.Extra, host)})
		}
	}
	return z
}

// glue are the addresses of a host that came along with a referral.
func glue(rrs []dns.RR, host string) (addrs []netip.Addr) {
	for _, r := range rrs {
		if spelled(r.Header().Name) != host || r.Header().Class != dns.ClassINET {
			continue
		}
		if rr, ok := record(r); ok && rr.Addr.IsValid() && !slices.Contains(addrs, rr.Addr) && len(addrs) < maxServerAddrs {
			addrs = append(addrs, rr.Addr)
		}
	}
	return addrs
}

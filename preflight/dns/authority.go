package dns

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
)

const (
	maxNameServers = 8 // of a zone that are looked at
	maxServerAddrs = 4 // of each
)

// Zone is who runs a name.
type Zone struct {
	Name    string       // where the zone is cut, canonical; "" is the root
	Primary string       // MNAME of its SOA
	Mailbox string       // RNAME of its SOA, as a domain name
	Servers []NameServer // 8 at most, in the order of the answer
}

// NameServer of a zone, with 4 addresses at most.
type NameServer struct {
	Host  string
	Addrs []netip.Addr
}

// Authority finds the zone that a name's records stand in. Aliases are followed:
// for a reverse name delegated without a class boundary (RFC 2317) it is the zone
// where the PTR is to be added. A name that does not exist has a zone as well:
// the closest above it. With an error the Zone holds what was learnt before; its
// Name is known if Primary is.
func Authority(ctx context.Context, r Resolver, name string) (Zone, error) {
	cut, _, err := cutOf(ctx, r, name)
	if err != nil {
		return Zone{}, err
	}
	return describe(ctx, r, cut)
}

// OwnZone finds the zone that a name itself stands in: where it is an alias,
// that of the alias.
func OwnZone(ctx context.Context, r Resolver, name string) (Zone, error) {
	return ownZone(ctx, r, name)
}

// cutOf walks upwards until an answer names a zone. It returns the zone and whether
// an alias led there.
func cutOf(ctx context.Context, r Resolver, name string) (cut string, aliased bool, err error) {
	name, err = normal(name)
	if err != nil {
		return "", false, &Error{Name: name, Type: TypeSOA, Outcome: Broken, Detail: err.Error()}
	}
	for {
		a, err := r.Query(ctx, name, TypeSOA)
		aliased = aliased || len(a.Chain) > 0
		switch {
		case a.Outcome == Present:
			return a.Records[0].Name, aliased, nil
		case a.Outcome == Temp || a.Outcome == Broken:
			return "", aliased, err
		case a.Zone != "":
			return a.Zone, aliased, nil
		}
		if name = a.Name; name == "" { // the root itself denies its SOA
			return "", aliased, err
		}
		name = parent(name)
	}
}

// describe asks for the SOA of a zone, its servers and their addresses.
func describe(ctx context.Context, r Resolver, cut string) (Zone, error) {
	z := Zone{Name: cut}
	soa, err := r.Query(ctx, cut, TypeSOA)
	if err != nil {
		return z, fmt.Errorf("describe zone %s: %w", cut, err)
	}
	z.Primary, z.Mailbox = soa.Records[0].Host, soa.Records[0].Mailbox
	ns, err := LookupNS(ctx, r, cut)
	if err != nil {
		return z, fmt.Errorf("describe zone %s: %w", cut, err)
	}
	hosts := ns.Records[:min(len(ns.Records), maxNameServers)]
	z.Servers = make([]NameServer, len(hosts))
	var all sync.WaitGroup
	for i, h := range hosts {
		all.Go(func() { z.Servers[i] = NameServer{Host: h, Addrs: addrs(ctx, r, h)} })
	}
	all.Wait()
	return z, nil
}

// addrs are the addresses of a name server. One that has none is lame, which
// shows when nobody can ask it.
func addrs(ctx context.Context, r Resolver, host string) []netip.Addr {
	var four, six Set[netip.Addr]
	var both sync.WaitGroup
	both.Go(func() { four, _ = LookupAddrs(ctx, r, host, false) })
	both.Go(func() { six, _ = LookupAddrs(ctx, r, host, true) })
	both.Wait()
	var mixed []netip.Addr
	for i := range max(len(four.Records), len(six.Records)) {
		if i < len(four.Records) {
			mixed = append(mixed, four.Records[i])
		}
		if i < len(six.Records) {
			mixed = append(mixed, six.Records[i])
		}
	}
	return mixed[:min(len(mixed), maxServerAddrs)]
}

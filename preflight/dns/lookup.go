package dns

import (
	"context"
	"net/netip"
)

// LookupAddrs asks for the addresses of a name: AAAA if v6, A otherwise. Like
// every lookup it fails with an *Error, and the Set then says what is known of
// the chain and of the denial.
func LookupAddrs(ctx context.Context, r Resolver, name string, v6 bool) (Set[netip.Addr], error) {
	t := TypeA
	if v6 {
		t = TypeAAAA
	}
	return lookup(ctx, r, name, t, func(rr RR) netip.Addr { return rr.Addr })
}

// LookupMX asks for the exchangers of a domain, in the order of the answer.
func LookupMX(ctx context.Context, r Resolver, name string) (Set[MX], error) {
	return lookup(ctx, r, name, TypeMX, func(rr RR) MX { return MX{Pref: rr.Pref, Host: rr.Host} })
}

// LookupTXT asks for texts, the strings of each joined.
func LookupTXT(ctx context.Context, r Resolver, name string) (Set[string], error) {
	return lookup(ctx, r, name, TypeTXT, func(rr RR) string { return rr.Text })
}

// LookupNS asks for the name servers of a zone.
func LookupNS(ctx context.Context, r Resolver, name string) (Set[string], error) {
	return lookup(ctx, r, name, TypeNS, func(rr RR) string { return rr.Host })
}

func lookup[T any](ctx context.Context, r Resolver, name string, t Type, part func(RR) T) (Set[T], error) {
	a, err := r.Query(ctx, name, t)
	s := Set[T]{Name: a.Name, Chain: a.Chain, TTL: a.TTL, NegTTL: a.NegTTL, Zone: a.Zone, Secure: a.Secure}
	for _, rr := range a.Records {
		s.Records = append(s.Records, part(rr))
	}
	return s, err
}

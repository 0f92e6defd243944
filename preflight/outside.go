package preflight

import (
	"context"
	"net/netip"

	"smtprelay/preflight/dns"
)

// Trial is how far a smart host let us.
type Trial struct {
	Addr      netip.AddrPort
	Connected bool
	TLS       string // "", "TLS1.3"
	Verified  bool
	TLSErr    string // why TLS or its verification failed
	Authed    bool
	AuthErr   string // "535 5.7.8 ..."
	Refused   bool   // AuthErr is the remote's definite refusal
	Err       string // first failure of connecting or greeting
	Temporary bool   // Err may pass
}

// Trier connects to a smart host, greets, starts TLS, authenticates and quits; no message is sent.
type Trier interface {
	Try(ctx context.Context, s SmartHost) Trial
}

// Outside is the only way of a run to the world.
type Outside struct {
	DNS           dns.Resolver
	Asker         dns.Asker                // authoritative servers; nil: they are not asked
	AuthorityPort uint16                   // where they listen; 0 = 53
	Try           Trier                    // nil: SMARTHOST-* that connect are skipped
	Bind          func(a netip.Addr) error // can a TCP socket be bound to it; nil: tries
	Addrs         func() []netip.Addr      // of the interfaces; nil: asks the system

	Resolvers func() []netip.AddrPort              // who DNS asks; nil: not known
	Lines     func(ctx context.Context) []dns.Line // TCP to each resolver; nil: DNS-TCP is skipped
	Hosts     string                               // the file that overrides DNS for this machine; "" = /etc/hosts
	Landmarks Landmarks                            // names that a resolver shows itself by
	lists     *listings                            // what block lists said before; nil: nothing
	walks     *walks                               // likewise of walks from the root
	disputes  *disputes                            // likewise of what resolver and zone do not agree on
	Probe     Prober                               // nil: nobody is asked, NET-* are skipped
	Observed  *Observations                        // what others saw of us; nil: what this run learns
	Mirrors   []Mirror                             // for discovery = "active"; nil: the usual ones
	Temporary func(a netip.Addr) bool              // is it an IPv6 privacy address; nil: asks the system
	Clock     func() Clock                         // nil: the system's

	// From asks one DNS server from a local address; nil: mirrors in DNS are not asked.
	From func(bind netip.Addr, server netip.AddrPort) dns.Resolver
}

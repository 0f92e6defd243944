package deliver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay/policy"
)

// smartName stands for the source in the attempts of mail that leaves by a smart
// host.
const smartName = "smarthost"

// smart knows the smart hosts, in order of preference.
type smart struct {
	dns   dns.Resolver
	hosts []preflight.SmartHost
	names []string // of hosts
	ehlo  string
}

func newSmart(o Options, r dns.Resolver) *smart {
	s := &smart{dns: r, hosts: o.SmartHosts, ehlo: smartEHLO(o)}
	for _, sh := range o.SmartHosts {
		s.names = append(s.names, sh.Host)
	}
	slices.Sort(s.names)
	return s
}

func smartEHLO(o Options) string {
	if o.SmartEHLO != "" {
		return o.SmartEHLO
	}
	if len(o.Names) > 0 {
		return o.Names[0]
	}
	if n, err := os.Hostname(); err == nil {
		return n
	}
	return "localhost"
}

// hops are the addresses of all smart hosts. One that cannot be used is passed
// over; only when all are is there an error, and never one that fails mail.
func (s *smart) hops(ctx context.Context) ([]hop, error) {
	var all []hop
	why := &decision{why: "no smart host is configured", ours: true}
	for _, sh := range s.hosts {
		hops, err := s.one(ctx, sh)
		if err != nil {
			why = &decision{
				why:  fmt.Sprintf("smart host %s: %s", sh.Name, detail(err)),
				ours: true,
			}
		}
		all = append(all, hops...)
	}
	if len(all) == 0 {
		return nil, at("resolve", why)
	}
	return all, nil
}

func (s *smart) one(ctx context.Context, sh preflight.SmartHost) ([]hop, error) {
	need, err := demand(sh)
	if err != nil {
		return nil, err
	}
	addrs, err := s.addresses(ctx, sh.Host)
	if err != nil {
		return nil, err
	}
	h := hop{
		host: sh.Host, source: smartName, ehlo: s.ehlo,
		trusted: true, implicit: sh.Implicit, need: need,
	}
	if sh.User != "" {
		h.login = &login{sh.User, sh.Password}
	}
	var hops []hop
	for _, a := range addrs[:min(len(addrs), maxAddrs)] {
		h.addr = netip.AddrPortFrom(a, sh.Port)
		hops = append(hops, h)
	}
	return hops, nil
}

// addresses of a smart host, which may be an address itself. "localhost" is
// known without asking (RFC 6761 section 6.3).
func (s *smart) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}, nil
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	return addresses(ctx, s.dns, host)
}

// demand is what is asked of the way to a smart host: what the operator asks,
// and that a password goes over no open wire unless he said "none".
func demand(sh preflight.SmartHost) (policy.Requirement, error) {
	r, err := asked(sh)
	if err != nil || sh.User == "" || r.Level == policy.Never {
		return r, err
	}
	return policy.Merge(r, policy.Requirement{Source: "auth", Level: policy.Encrypted}), nil
}

// asked is the operator's part. Anything but his two other words means that TLS
// is required and verified.
func asked(sh preflight.SmartHost) (policy.Requirement, error) {
	r := policy.Requirement{Source: smartName, Level: policy.Verified, Names: []string{strings.TrimSuffix(sh.Host, ".")}}
	switch sh.TLS {
	case "opportunistic":
		r.Level = policy.Opportunistic
	case "none":
		r.Level = policy.Never
	}
	if len(sh.CA) > 0 {
		r.Roots = x509.NewCertPool()
		if !r.Roots.AppendCertsFromPEM(sh.CA) {
			return r, errors.New("ca_file has no certificate in it")
		}
	}
	return r, nil
}

package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"smtprelay/preflight/dns"
	"smtprelay/relay/dial"
)

// Bounds of one domain's exchangers: a zone may name thousands.
const (
	maxHosts = 10
	maxAddrs = 4
)

// exchanger is a host that takes a domain's mail, with addresses that may be
// dialled.
type exchanger struct {
	host  string
	pref  uint16
	addrs []netip.AddrPort
}

// resolver finds the exchangers of domains.
type resolver struct {
	dns   dns.Resolver
	port  uint16
	names []string // ours
	check func(netip.AddrPort) error
}

// exchangers of a domain, in the order in which they are to be tried. The error
// is a *decision when there are none.
func (r *resolver) exchangers(ctx context.Context, domain string) ([]exchanger, error) {
	if a, ok := literal(domain); ok {
		return r.usable(domain, []looked{{exchanger: exchanger{host: domain}, addrs: []netip.Addr{a}}})
	}
	hosts, err := r.hosts(ctx, domain)
	if err != nil {
		return nil, err
	}
	return r.usable(domain, r.look(ctx, hosts))
}

// hosts asks for MX. Only a definite "the name is there and has no MX" makes the
// domain its own exchanger (RFC 5321 section 5.1).
func (r *resolver) hosts(ctx context.Context, domain string) ([]exchanger, error) {
	set, err := dns.LookupMX(ctx, r.dns, domain)
	var de *dns.Error
	switch {
	case err == nil:
	case errors.As(err, &de) && de.Outcome == dns.NoData:
		return []exchanger{{host: domain}}, nil
	case errors.Is(err, dns.ErrNotFound):
		return nil, &absent{decision{status: "5.1.2", why: "domain " + domain + " does not exist"}}
	default:
		return nil, &decision{status: "4.4.3", why: fmt.Sprintf("MX of %s: %s", domain, detail(err))}
	}
	if slices.ContainsFunc(set.Records, func(m dns.MX) bool { return m.Host == "" }) {
		if len(set.Records) == 1 {
			return nil, &decision{status: "5.1.10", final: true, why: domain + " takes no mail (null MX)"} // RFC 7505
		}
		// RFC 7505 section 3 allows no other record beside it; those are used.
		set.Records = slices.DeleteFunc(set.Records, func(m dns.MX) bool { return m.Host == "" })
	}
	return r.ordered(domain, set.Records)
}

// ordered sorts by preference, shuffled within one, and cuts the list where it
// comes to ourselves: mail only ever goes towards its destination.
func (r *resolver) ordered(domain string, mxs []dns.MX) ([]exchanger, error) {
	rand.Shuffle(len(mxs), func(i, j int) { mxs[i], mxs[j] = mxs[j], mxs[i] })
	slices.SortStableFunc(mxs, func(a, b dns.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	var hosts []exchanger
	for _, m := range mxs {
		hosts = append(hosts, exchanger{host: m.Host, pref: m.Pref})
	}
	for _, h := range hosts {
		if r.ours(h.host) {
			hosts = before(hosts, h.pref)
			break
		}
	}
	if len(hosts) == 0 {
		return nil, loop(domain)
	}
	return hosts[:min(len(hosts), maxHosts)], nil
}

func (r *resolver) ours(host string) bool {
	return slices.ContainsFunc(r.names, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), host) })
}

// before leaves the exchangers that are preferred to pref.
func before(xs []exchanger, pref uint16) []exchanger {
	i := slices.IndexFunc(xs, func(x exchanger) bool { return x.pref >= pref })
	if i < 0 {
		return xs
	}
	return xs[:i]
}

func loop(domain string) error {
	return &decision{status: "5.4.6", final: true, why: "mail for " + domain + " leads back to us"}
}

// looked is an exchanger with all its addresses, and why it has none.
type looked struct {
	exchanger
	addrs []netip.Addr
	err   error
}

var errLost = errors.New("the answer could not be read")

// look asks for the addresses of all hosts, of both families, at once.
func (r *resolver) look(ctx context.Context, hosts []exchanger) []looked {
	found := make([]looked, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		found[i] = looked{exchanger: h, err: errLost}
		wg.Go(func() {
			defer func() { _ = recover() }() // one bad answer must not stop the rest
			found[i].addrs, found[i].err = addresses(ctx, r.dns, h.host)
		})
	}
	wg.Wait()
	return found
}

// addresses of a host. Without any, the error tells a definite denial of both
// families (dns.ErrNotFound) from anything else.
func addresses(ctx context.Context, r dns.Resolver, host string) ([]netip.Addr, error) {
	var six dns.Set[netip.Addr]
	var err6 error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err6 = errLost
		defer func() { _ = recover() }()
		six, err6 = dns.LookupAddrs(ctx, r, host, true)
	}()
	four, err4 := dns.LookupAddrs(ctx, r, host, false)
	<-done
	all := slices.Concat(six.Records, four.Records)
	switch {
	case len(all) > 0:
		return all, nil
	case err4 != nil && !errors.Is(err4, dns.ErrNotFound):
		return nil, err4
	}
	return nil, err6
}

// usable keeps what may be dialled. Where nothing is left, the error says whether
// that is for good: one temporary answer is enough to wait, one host without
// address to look again.
func (r *resolver) usable(domain string, found []looked) ([]exchanger, error) {
	var xs []exchanger
	var missing, forbidden, temporary error
	self := false
	for _, f := range found {
		switch {
		case f.err == nil:
		case errors.Is(f.err, dns.ErrNotFound):
			missing = fmt.Errorf("%s has no address", f.host)
		default:
			temporary = fmt.Errorf("address of %s: %s", f.host, detail(f.err))
		}
		x := f.exchanger
		for _, a := range f.addrs {
			to := netip.AddrPortFrom(a, r.port)
			if err := r.check(to); err == nil {
				x.addrs = append(x.addrs, to)
			} else {
				forbidden = fmt.Errorf("%s: %w", f.host, err)
				self = self || errors.Is(err, dial.ErrSelf)
			}
		}
		if self { // of its own preference and beyond nothing is used (RFC 5321 section 5.1)
			xs = before(xs, f.pref)
			break
		}
		if len(x.addrs) > 0 {
			xs = append(xs, x)
		}
	}
	switch {
	case len(xs) > 0:
		return xs, nil
	case temporary != nil:
		return nil, &decision{status: "4.4.3", why: temporary.Error()}
	case missing != nil:
		return nil, &absent{decision{status: "5.4.4", why: missing.Error()}}
	case self:
		return nil, loop(domain)
	}
	return nil, &decision{status: "5.4.4", final: true, why: printable(forbidden.Error(), 200)}
}

// literal parses an address literal, "[192.0.2.1]" (RFC 5321 section 4.1.3).
func literal(domain string) (netip.Addr, bool) {
	if len(domain) < 2 || domain[0] != '[' || domain[len(domain)-1] != ']' {
		return netip.Addr{}, false
	}
	s := domain[1 : len(domain)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// detail of a DNS error, in a few words.
func detail(err error) string {
	var de *dns.Error
	if errors.As(err, &de) && de.Detail != "" {
		return printable(de.Detail, 200)
	}
	return printable(err.Error(), 200)
}

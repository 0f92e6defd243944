package preflight

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"smtprelay/preflight/dns"
)

const (
	spfLookups = 10 // terms that ask DNS, RFC 7208 section 4.6.4
	spfVoids   = 2  // of them those that find nothing
	spfFar     = 64 // how far we count beyond that
)

// spfNobody is an address that no record lists, a reserved one (RFC 1112 section 4,
// RFC 6666): it walks every term.
var (
	spfNobody  = netip.MustParseAddr("240.0.0.1")
	spfNobody6 = netip.MustParseAddr("100::1")
)

// spfResult is what an evaluation came to, with what it cost.
type spfResult struct {
	spf.Result
	Err     error
	Lookups int
	Voids   []string // names that gave nothing
}

// evaluate does check_host as a receiver would. With far the limits are lifted,
// to count by how much they are exceeded.
func (p *Probe) evaluate(ctx context.Context, addr netip.Addr, helo, domain string, far bool) spfResult {
	return p.checkHost(ctx, addr, helo, "postmaster@"+domain, far)
}

func (p *Probe) checkHost(ctx context.Context, addr netip.Addr, helo, sender string, far bool) spfResult {
	e := &spfLooker{probe: p, v6: addr.Is6(), first: true, hosts: map[string]bool{}}
	opts := []spf.Option{spf.WithContext(ctx), spf.WithResolver(e)}
	if far {
		opts = append(opts, spf.OverrideLookupLimit(spfFar), spf.OverrideVoidLookupLimit(spfFar))
	}
	res, err := spf.CheckHostWithSender(net.IP(addr.AsSlice()), helo, sender, opts...)
	if !far && len(e.voids) > spfVoids { // the evaluator does not count all of them
		res, err = spf.PermError, spf.ErrVoidLookupLimitReached
	}
	return spfResult{Result: res, Err: err, Lookups: e.lookups, Voids: e.voids}
}

// spfLooker is the evaluator's resolver. It counts what RFC 7208 counts: each
// term that asks, but not the addresses of exchangers and of names of an address.
type spfLooker struct {
	probe   *Probe
	v6      bool
	first   bool // the record itself is not a term
	free    int  // address questions that come with the last mx or ptr
	lookups int
	voids   []string
	hosts   map[string]bool // names of `a` terms, without macros; false: of `exists` too
}

func (e *spfLooker) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if !e.first {
		e.lookups++
	}
	e.first, e.free = false, 0
	a, err := e.ask(ctx, name, dns.TypeTXT)
	var all []string
	for _, r := range a.Records {
		all = append(all, r.Text)
	}
	if text, ok := e.probe.instead[a.Question]; ok {
		all, err = []string{text}, nil
	}
	for _, text := range all {
		e.read(a.Question, text)
	}
	return all, err
}

// read notes which names a record asks the client's own addresses of.
func (e *spfLooker) read(domain, text string) {
	if !isSPF(text) {
		return
	}
	for _, t := range parseSPF(text) {
		name := cmp.Or(strings.ToLower(strings.TrimSuffix(t.Domain, ".")), domain)
		switch {
		case t.Modifier:
		case t.Name == "a" && !e.known(name):
			e.hosts[name] = true
		case t.Name == "exists":
			e.hosts[name] = false
		}
	}
}

func (e *spfLooker) known(name string) bool {
	_, ok := e.hosts[name]
	return ok
}

func (e *spfLooker) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	e.lookups++
	a, err := e.ask(ctx, name, dns.TypeMX)
	e.void(a)
	var all []*net.MX
	for _, r := range a.Records {
		if r.Host != "" {
			all = append(all, &net.MX{Host: r.Host, Pref: r.Pref})
		}
	}
	e.free = len(all)
	return all, err
}

func (e *spfLooker) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	e.lookups++
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: addr}
	}
	a, err := e.ask(ctx, dns.Reverse(ip), dns.TypePTR)
	e.void(a)
	names := hosts(a)
	e.free = min(len(names), spfLookups)
	return names, err
}

// LookupIPAddr asks for addresses of the client's family, and for IPv4 always,
// since `exists` looks for nothing else (RFC 7208 section 5.7). Of an `a` term only
// those of the family count: none is a void look-up.
func (e *spfLooker) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	term := e.free == 0
	if term {
		e.lookups++
	} else {
		e.free--
	}
	a, err := e.ask(ctx, name, dns.TypeA)
	if e.v6 && (err == nil || notFound(err)) {
		six, err6 := e.ask(ctx, name, dns.TypeAAAA)
		if term && absent(six) && !absent(a) && e.hosts[six.Question] {
			e.void(six)
			term = false
		}
		if err6 == nil || !notFound(err6) {
			four := a
			a, err = six, err6
			if err6 == nil {
				a = &dns.Answer{Question: six.Question, Type: six.Type, Outcome: dns.Present}
				a.Records = append(append(a.Records, six.Records...), four.Records...)
			}
		}
	}
	if term {
		e.void(a)
	}
	var all []net.IPAddr
	for _, r := range a.Records {
		all = append(all, net.IPAddr{IP: r.Addr.AsSlice()})
	}
	return all, err
}

func (e *spfLooker) void(a *dns.Answer) {
	if absent(a) {
		e.voids = append(e.voids, a.Question)
	}
}

// ask makes of an answer the one kind of error that the evaluator reads. A name
// that cannot be asked for at all does not exist (RFC 7208 section 4.3).
func (e *spfLooker) ask(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	canonical, err := dns.Canonical(name)
	if err != nil {
		a := &dns.Answer{Question: name, Name: name, Type: t, Outcome: dns.NoName}
		return a, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	}
	a, err := e.probe.Query(ctx, canonical, t)
	if err == nil {
		return a, nil
	}
	return a, &net.DNSError{Err: outcome(a), Name: canonical, Server: a.Server, IsNotFound: absent(a), IsTemporary: a.Outcome == dns.Temp}
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay/dial"
)

// prober greets exchangers with the client that delivery uses, along the way
// that delivery would take.
type prober struct {
	c  *client
	mx *resolver
}

// NewProber is the preflight's way to mail servers. It sends no message.
func NewProber(o Options, r dns.Resolver) preflight.Prober {
	c := newClient(o)
	port := o.Port
	if port == 0 {
		port = 25
	}
	return &prober{c, &resolver{dns: r, port: port, names: o.Names, check: c.dialer(hop{}).Check}}
}

// probeTries are the addresses of a domain's exchangers that are tried.
const probeTries = 2

// Greet tries the first exchangers of a domain until one speaks.
func (p *prober) Greet(ctx context.Context, src preflight.Source, domain string) (g preflight.Greeting) {
	senders, err := parseSources([]preflight.Source{src})
	if err != nil {
		return preflight.Greeting{Err: detail(err), Unsure: true}
	}
	if src.Bind == "" && src.Public == "" {
		senders[0].v6 = false // IPv6 is used only from an address that was named
	}
	xs, err := p.mx.exchangers(ctx, domain)
	if err != nil {
		var ab *absent
		var d *decision
		gone := errors.As(err, &ab) || errors.As(err, &d) && d.final
		return preflight.Greeting{Err: whyNone(err), Absent: gone, Unsure: !gone}
	}
	var hops []hop
	for _, x := range xs {
		hops = append(hops, x.hops(senders)...)
	}
	if len(hops) == 0 {
		return preflight.Greeting{Err: domain + " has no address of this family", Absent: true}
	}
	for _, h := range hops[:min(len(hops), probeTries)] {
		if g = p.one(ctx, h); g.Code != 0 || ctx.Err() != nil {
			break
		}
	}
	return g
}

// whyNone is why a domain has no exchangers, in words.
func whyNone(err error) string {
	var ab *absent
	var d *decision
	switch {
	case errors.As(err, &ab):
		return ab.why
	case errors.As(err, &d):
		return d.why
	}
	return detail(err)
}

func (p *prober) one(ctx context.Context, h hop) preflight.Greeting {
	g := preflight.Greeting{Host: h.host, Addr: h.addr.Addr()}
	s, err := p.c.open(ctx, h)
	g.At = time.Now()
	if err == nil {
		defer s.quit()
		g.Code, g.Banner, g.Hello, g.Names = 220, s.banner, s.said, certNames(s.tls)
		return g
	}
	var f *fault
	errors.As(err, &f)
	said, answered := remote(err)
	switch {
	case answered:
		g.Code, g.Banner, g.Err = said.code, said.text, words(said)
	case f.stage == "connect" || f.stage == "greet":
		g.Err = why(err)
		g.Unsure = bindFault(err) || errors.Is(err, dial.ErrForbidden) || errors.Is(ctx.Err(), context.Canceled)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			g.Err = "timed out"
		}
	default:
		g.Code, g.Err = 220, why(err) // it had greeted by then
	}
	return g
}

func certNames(c tls.ConnectionState) []string {
	if len(c.PeerCertificates) == 0 {
		return nil
	}
	return c.PeerCertificates[0].DNSNames
}

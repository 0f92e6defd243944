package preflight

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// Mirror is a service that tells whoever asks by which address it is seen.
type Mirror struct {
	Operator string
	Host     string   // its name or address
	Port     uint16   // UDP
	Name     string   // DNS: what to ask for; "": it speaks STUN
	Type     dns.Type // of that
}

// mirrors are those asked with discovery = "active". DNS ones are asked
// themselves: through a resolver they would tell the resolver's address.
var mirrors = []Mirror{
	{Operator: "google.com", Host: "stun.l.google.com", Port: 19302},
	{Operator: "cloudflare.com", Host: "stun.cloudflare.com", Port: 3478},
	{Operator: "google.com", Host: "ns1.google.com", Port: 53, Name: "o-o.myaddr.l.google.com", Type: dns.TypeTXT},
	{Operator: "opendns.com", Host: "resolver1.opendns.com", Port: 53, Name: "myip.opendns.com", Type: dns.TypeA},
	{Operator: "akamai.net", Host: "ns1-1.akamaitech.net", Port: 53, Name: "whoami.akamai.net", Type: dns.TypeA},
}

// reflect asks every mirror from a source, at the same time.
func (r *run) reflect(ctx context.Context, s *Source) {
	all := r.out.Mirrors
	if all == nil {
		all = mirrors
	}
	var wg sync.WaitGroup
	for _, m := range all {
		wg.Go(func() {
			defer func() { _ = recover() }() // one bad answer must not stop the rest
			method := byWhoami
			if m.Name == "" {
				method = bySTUN
			}
			if a := r.mirrored(ctx, s, m); r.plan.outer(s, a) {
				r.seen.add(Observation{Source: s.key(), Method: method, Operator: m.Operator, Addr: a, At: time.Now()})
			}
		})
	}
	wg.Wait()
}

// outer tells whether an address can be a source's as the world sees it.
func (p *Plan) outer(s *Source, a netip.Addr) bool {
	if !a.IsValid() || a.Is4() != s.v4() {
		return false
	}
	_, special := p.special(a)
	return !special
}

// mirrored is what one mirror says; the zero Addr when it says nothing.
func (r *run) mirrored(ctx context.Context, s *Source, m Mirror) netip.Addr {
	bind, _ := netip.ParseAddr(s.Bind)
	kind := dns.TypeAAAA
	if s.v4() {
		kind = dns.TypeA
	}
	host, err := netip.ParseAddr(m.Host)
	if err != nil {
		a, _ := r.dns.Query(ctx, m.Host, kind)
		if len(a.Records) == 0 {
			return netip.Addr{}
		}
		host = a.Records[0].Addr
	}
	at := netip.AddrPortFrom(host, m.Port)
	if _, special := r.plan.special(host); special || host.Is4() != s.v4() {
		return netip.Addr{}
	}
	if m.Name == "" {
		seen, _ := stun(ctx, bind, at)
		return seen
	}
	if r.out.From == nil {
		return netip.Addr{}
	}
	if m.Type != dns.TypeTXT {
		m.Type = kind
	}
	a, _ := r.out.From(bind, at).Query(ctx, m.Name, m.Type)
	return whoami(a)
}

// whoami reads the answer of a DNS mirror: an address, or a text that is one.
func whoami(a *dns.Answer) netip.Addr {
	for _, rec := range a.Records {
		if rec.Addr.IsValid() {
			return rec.Addr.Unmap()
		}
		if seen, err := netip.ParseAddr(strings.TrimSpace(rec.Text)); err == nil {
			return seen.Unmap() // the other text of Google's is the client subnet, which is none
		}
	}
	return netip.Addr{}
}

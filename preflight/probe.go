package preflight

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// Probe is what one run of a check sees: its subject, the plan, and the world
// through questions that it keeps as evidence. Which of Source, Sender and
// SmartHost is set follows from the check's scope.
type Probe struct {
	Plan      *Plan
	Source    *Source
	Sender    *Sender
	SmartHost *SmartHost

	run     *run
	dns     dns.Resolver     // the resolver, or what the zones themselves say
	earlier func() []Finding // of the checks before this one, of the same source

	instead map[string]string // SPF records that are tried: domain -> text

	mu      sync.Mutex
	answers []*dns.Answer
}

// Query asks and remembers the answer, so that a Probe is a resolver too.
func (p *Probe) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a, err := p.dns.Query(ctx, name, t)
	p.keep(a)
	return a, err
}

// keep an answer as evidence.
func (p *Probe) keep(a *dns.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
}

// ask is Query for those who read the outcome.
func (p *Probe) ask(ctx context.Context, name string, t dns.Type) *dns.Answer {
	a, _ := p.Query(ctx, name, t)
	return a
}

// aside asks without leaving evidence: for remedies, whose questions have no
// bearing on the finding and on how long it may be believed.
func (p *Probe) aside(ctx context.Context, name string, t dns.Type) *dns.Answer {
	a, _ := p.dns.Query(ctx, name, t)
	return a
}

// evidence is what was asked, each question once, with the least TTL of the
// answers, and the longest: for so long somebody may hold on to one of them.
func (p *Probe) evidence() (es []Evidence, ttl, kept time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for _, a := range p.answers {
		e := Evidence{Question: question(a), Answer: outcome(a), Rcode: a.Rcode, Server: a.Server, NegTTL: a.NegTTL, Took: a.RTT}
		if seen[e.Question+e.Server] {
			continue
		}
		seen[e.Question+e.Server] = true
		es = append(es, e)
		life := max(a.TTL, a.NegTTL)
		if !definite(a) || life == 0 {
			continue
		}
		if kept = max(kept, life); ttl == 0 || life < ttl {
			ttl = life
		}
	}
	return es, ttl, kept
}

// addr is the address that the world sees the source by.
func (p *Probe) addr() netip.Addr { return p.Plan.egress(p.Source) }

// ehlo is the canonical EHLO name, "" when there is none that can be asked for.
func (p *Probe) ehlo() string {
	if p.Source == nil {
		return ""
	}
	name, err := dns.Canonical(p.Source.EHLO)
	if err != nil || !dns.IsHostname(name) {
		return ""
	}
	return name
}

// egress is the address that the world sees a source by: the configured one,
// else the one it binds if that is public; the zero Addr if it is not known.
func (p *Plan) egress(s *Source) netip.Addr {
	if s.Public != "" {
		a, _ := netip.ParseAddr(s.Public)
		return a
	}
	a, err := netip.ParseAddr(s.Bind)
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}
	}
	if _, special := p.special(a); special {
		return netip.Addr{}
	}
	return a
}

// egresses are the usable addresses of all sources, each once.
func (p *Plan) egresses() []netip.Addr {
	var all []netip.Addr
	seen := map[netip.Addr]bool{}
	for i := range p.Sources {
		a := p.egress(&p.Sources[i])
		if _, special := p.special(a); a.IsValid() && !special && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// special tells whether an address is no public one. On an internal network
// (Policy.Private) its own addresses count as public; where nothing can be sent
// from or to, and link-local, where the metadata services of clouds live, never do.
func (p *Plan) special(a netip.Addr) (what string, special bool) {
	what, special = p.Special.Addr(a)
	if special && p.Policy.Private && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() {
		return "", false
	}
	return what, special
}

// specialName likewise.
func (p *Plan) specialName(name string) (rule string, special bool) {
	if p.Policy.Private {
		return "", false
	}
	return p.Special.Name(name)
}

// try connects to the smart host.
func (p *Probe) try(ctx context.Context) *Trial {
	for i := range p.Plan.SmartHosts {
		if s := &p.Plan.SmartHosts[i]; s == p.SmartHost {
			t := &p.run.trials[i]
			t.once.Do(func() { t.Trial = p.run.out.Try.Try(ctx, *s) })
			return &t.Trial
		}
	}
	return &Trial{}
}

// interfaces lists the machine's addresses.
func (p *Probe) interfaces() []netip.Addr {
	if p.run.out.Addrs != nil {
		return p.run.out.Addrs()
	}
	all, _ := net.InterfaceAddrs()
	var found []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				found = append(found, ip.Unmap())
			}
		}
	}
	return found
}

package preflight

import (
	"context"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

const (
	probeTime  = 10 * time.Second // one mail server, from DNS to QUIT
	probeEvery = time.Hour        // a source at most
	probeDaily = 24 * time.Hour   // one that is well
	probeAgain = time.Minute      // where nothing was reached to ask
)

// MaxProbes bounds the domains that are asked about a source.
const MaxProbes = 16

// DefaultProbe are domains of three operators that most mail goes to anyway.
func DefaultProbe() []string { return []string{"gmail.com", "outlook.com", "yahoo.com"} }

// inquire asks the world about a source, unless it was asked lately, and
// returns what it said. The zero Round: nothing came before ctx ended.
func (r *run) inquire(ctx context.Context, i int) Round {
	s := &r.plan.Sources[i]
	if !r.asks(s) {
		return Round{}
	}
	key := s.key()
	if last, due := r.seen.due(key, time.Now()); !due {
		return last
	}
	done := r.seen.asking.DoChan(key, func() (any, error) {
		if last, due := r.seen.due(key, time.Now()); !due {
			return last, nil // somebody else was faster
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
		defer cancel()
		return r.seen.put(key, r.round(ctx, s)), nil
	})
	select {
	case res := <-done:
		return res.Val.(Round)
	case <-ctx.Done():
		return Round{}
	}
}

// asks tells whether there is anybody to ask, and a name to ask by.
func (r *run) asks(s *Source) bool {
	name, err := dns.Canonical(s.EHLO)
	return r.out.Probe != nil && !r.plan.SmartHostOnly && !r.plan.Policy.Private && err == nil && dns.IsHostname(name)
}

func (r *run) round(ctx context.Context, s *Source) Round {
	domains := r.plan.Policy.Probe
	if len(domains) == 0 {
		domains = DefaultProbe()
	}
	domains = domains[:min(len(domains), MaxProbes)]
	n := Round{At: time.Now(), Witnesses: make([]Witness, len(domains))}
	var all sync.WaitGroup
	for i, d := range domains {
		n.Witnesses[i] = Witness{Host: d, Unsure: true}
		all.Go(func() {
			defer func() { _ = recover() }() // one bad answer must not stop the rest
			g := r.out.Probe.Greet(ctx, *s, d)
			n.Witnesses[i] = g.witness(d)
			if a, ok := g.echo(); ok && r.plan.discovers() && r.plan.outer(s, a) {
				r.seen.add(Observation{Source: s.key(), Method: byProbe, Operator: organisation(g.Host), Addr: a, At: time.Now()})
			}
		})
	}
	if r.plan.discovers() && r.plan.Policy.Discovery == DiscoverActive {
		all.Go(func() { r.reflect(ctx, s) })
	}
	all.Wait()
	return n
}

// due tells whether it is time to ask about a source, and returns what was said
// last: at a start, when something looked wrong or happened since, once a day else.
func (o *Observations) due(source string, now time.Time) (Round, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, ok := o.kept.Rounds[source]
	age := now.Sub(n.At)
	spoke, _ := n.spoke()
	ahead, _ := n.offset()
	switch {
	case !ok || age < 0:
		return n, true
	case n.moot():
		return n, age >= probeAgain
	case age < probeEvery:
		return n, false
	}
	wrong := spoke == 0 && !o.heard[source].After(n.At) || !n.honest() || ahead.Abs() > maxSkew
	return n, age >= probeDaily || wrong || o.wanted[source] || !o.begun[source]
}

func (o *Observations) put(source string, n Round) Round {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Rounds[source] = n
	o.begun[source], o.wanted[source] = true, false
	return n
}

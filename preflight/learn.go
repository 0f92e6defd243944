package preflight

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Discovery is how the public address is learnt.
const (
	DiscoverPassive = "passive" // from what mail servers say of us
	DiscoverActive  = "active"  // and by asking services that do nothing else
	DiscoverOff     = "off"
)

// family of the connections that a source makes: that of its addresses. One that
// has none sends over IPv4, as IPv6 is used only from an address that was named.
func (s *Source) v4() bool {
	for _, text := range []string{s.Bind, s.Public} {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsUnspecified() {
			return a.Unmap().Is4()
		}
	}
	return true
}

// discovers tells whether others are believed at all about our address.
func (p *Plan) discovers() bool {
	return !p.SmartHostOnly && !p.Policy.Private && p.Policy.Discovery != DiscoverOff
}

// Learn returns the plan with the public address filled in where the operator
// wrote none, the bound one is not public, and two witnesses agree. p itself is
// not changed.
func (p *Plan) Learn(o *Observations, at time.Time) *Plan {
	if o == nil || !p.discovers() {
		return p
	}
	n := *p
	n.Sources = append([]Source(nil), p.Sources...)
	for i := range n.Sources {
		s := &n.Sources[i]
		if s.Public != "" || p.egress(s).IsValid() {
			continue
		}
		if v, ok := p.seen(o, s, at); ok {
			s.Public, s.learned = v.addr.String(), v.operators
		}
	}
	return &n
}

// seen is the one address of a source that is believed.
func (p *Plan) seen(o *Observations, s *Source, at time.Time) (only view, ok bool) {
	for _, v := range o.views(s.key(), at) {
		if v.believed() {
			if ok {
				return view{}, false // it has two: which is the next is anybody's guess
			}
			only, ok = v, true
		}
	}
	return only, ok
}

// learned is the plan after a first look at the world, for those who have to know
// the addresses before the checks run. What others say is kept in o.Observed.
func learned(ctx context.Context, p *Plan, o Outside) *Plan {
	r := newRun(p, o)
	r.learn(ctx)
	return r.plan
}

// learn asks about the sources whose address nobody has told us, before the
// checks begin that rest on it.
func (r *run) learn(ctx context.Context) {
	if !r.plan.discovers() {
		return
	}
	var all sync.WaitGroup
	for i := range r.plan.Sources {
		if s := &r.plan.Sources[i]; s.Public == "" && !r.plan.egress(s).IsValid() {
			all.Go(func() { r.inquire(ctx, i) })
		}
	}
	all.Wait()
	r.plan = r.plan.Learn(r.seen, time.Now())
}

// both writes "a.example and b.example", and more with commas.
func both(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

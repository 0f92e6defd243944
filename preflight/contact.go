package preflight

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"smtprelay/preflight/dns"
)

// Contact is a connection to a mail server that delivery made, or tried to.
type Contact struct {
	Source   string     // name of the source
	Host     string     // of the exchanger
	Addr     netip.Addr // likewise
	Said     string     // the answer to our EHLO, or a refusal
	Refused  bool       // Said is a refusal
	EHLO     string     // the name that we gave
	Envelope []string   // addresses that we said before it was said
	TimedOut bool       // no connection came about in time
}

// manyTimeouts in a row make it worth asking whether port 25 is open at all.
const manyTimeouts = 10

// Met hears of every connection that delivery makes to a mail server, from any
// goroutine. It costs next to nothing, and asks nobody.
func (g *Gate) Met(c Contact) {
	s := g.plan.source(c.Source)
	if s == nil {
		return
	}
	now, o := time.Now(), g.out.Observed
	if c.TimedOut {
		if o.timedOut(s.key()) {
			g.nudge()
		}
		return
	}
	o.reached(s.key(), now)
	if c.Refused {
		g.sawUs(s, c, byRefusal, now)
		return
	}
	g.sawUs(s, c, byMail, now)
	if addr := g.plan.Learn(o, now).seenAs(o, s.Name, now); addr.IsValid() {
		if name, err := dns.Canonical(cmp.Or(c.EHLO, s.EHLO)); err == nil {
			o.use(Use{Source: s.configured(), Addr: addr, EHLO: name, Last: now})
		}
	}
}

// sawUs takes in the address that a mail server tells us ours is. One that we
// did not know of is a reason to look again, and to ask the witnesses of our choice.
func (g *Gate) sawUs(s *Source, c Contact, method string, now time.Time) {
	if !g.plan.discovers() {
		return
	}
	said := c.Said
	if method == byMail {
		said = firstLine(said)
	}
	a, ok := Echo(said, c.Addr, method == byRefusal, slices.Concat(c.Envelope, []string{c.EHLO})...)
	if !ok || !g.plan.outer(s, a) {
		return
	}
	o := g.out.Observed
	o.add(Observation{Source: s.key(), Method: method, Operator: organisation(c.Host), Addr: a, At: now})
	if l := g.plan.Learn(o, now); l.egress(l.source(s.Name)) != a {
		o.want(s.key())
		g.nudge()
	}
}

func (p *Plan) source(name string) *Source {
	for i := range p.Sources {
		if p.Sources[i].Name == name {
			return &p.Sources[i]
		}
	}
	return nil
}

// seenAs is the address that a source is seen by, else the one it should be.
func (p *Plan) seenAs(o *Observations, name string, now time.Time) netip.Addr {
	s := p.source(name)
	if v, ok := p.seen(o, s, now); ok {
		return v.addr
	}
	return p.egress(s)
}

// timedOut counts; true when there have been so many that it is time to ask.
func (o *Observations) timedOut(source string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timeouts[source]++
	if o.timeouts[source] != manyTimeouts {
		return false
	}
	o.wanted[source] = true
	return true
}

// want an inquiry as soon as one may be.
func (o *Observations) want(source string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wanted[source] = true
}

// reached: port 25 is open.
func (o *Observations) reached(source string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.timeouts, source)
	o.heard[source] = now
}

// answered tells when a mail server last answered a delivery, in this run of the program.
func (o *Observations) answered(source string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.heard[source]
}

// nudge has Watch look soon, though not more often than RecheckMin: what
// strangers say must not keep us busy.
func (g *Gate) nudge() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.soon.IsZero() {
		g.soon = g.looked.Add(g.plan.Policy.RecheckMin)
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// due is when to look at host and sources again. g.mu is held.
func (g *Gate) due() time.Time {
	if g.soon.IsZero() || g.next.Before(g.soon) {
		return g.next
	}
	return g.soon
}

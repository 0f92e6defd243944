package preflight

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"smtprelay/preflight/dns"
)

// consensus is what the name servers of all topics came to.
type consensus struct {
	zones  []string // where some server spoke with authority
	faults []string // lame servers, and those that differ
	zone   string   // of the first fault
	server string   // likewise: its name
	topic  topic
	mute   string // why nobody was heard
}

// poll asks every server about every topic, all at once.
func (p *Probe) poll(ctx context.Context) (c consensus) {
	ts := p.topics()
	each := make([]consensus, len(ts))
	var all sync.WaitGroup
	for i, t := range ts {
		all.Go(func() { each[i] = p.pollOne(ctx, t) })
	}
	all.Wait()
	for _, o := range each {
		c.zones = union(c.zones, o.zones)
		if len(c.faults) == 0 {
			c.zone, c.server, c.topic = o.zone, o.server, o.topic
		}
		c.faults = union(c.faults, o.faults)
		c.faults = c.faults[:min(len(c.faults), maxFaults)]
		if c.mute == "" {
			c.mute = o.mute
		}
	}
	return c
}

// pollOne asks about one topic, and where the name is an alias also in the zone
// that it leads to.
func (p *Probe) pollOne(ctx context.Context, t topic) (c consensus) {
	for range maxPolls {
		z, voices, err := dns.AskServers(ctx, p.run.dns, p.run.servers, p.run.out.AuthorityPort, t.name, t.t)
		if err != nil {
			c.mute = "its zone was not found: " + detail(err)
			return c
		}
		first, on := p.hear(&c, t, z, voices)
		if first == nil || !on || len(c.faults) > 0 {
			return c
		}
		t.name = first.Name
	}
	return c
}

const maxPolls = 4 // zones on the way of an alias

// detail is the reason of a failed question without the question.
func detail(err error) string {
	var e *dns.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

// hear weighs what the servers of one zone said. One is lame only where another
// spoke with authority: if none did, it may be our way to them that is blocked. It
// returns the first good answer, and whether that leads on to another zone.
func (p *Probe) hear(c *consensus, t topic, z dns.Zone, voices []dns.Voice) (first *dns.Answer, on bool) {
	var from dns.Voice
	var lame []dns.Voice
	fault := func(v dns.Voice, text string) {
		if len(c.faults) == 0 {
			c.zone, c.server, c.topic = z.Name, v.Host, t
		}
		c.faults = append(c.faults, text)
	}
	for _, v := range voices {
		p.keep(v.Answer)
		leaves := v.Auth && len(v.Chain) > 0
		switch {
		case v.Rcode == "": // silent, or beyond our reach
		case !v.Outcome.Definite() && !leaves:
			lame = append(lame, v)
		case first == nil:
			first, from, on = v.Answer, v, leaves && !v.Outcome.Definite()
		case !alike(first, v.Answer):
			fault(v, fmt.Sprintf("%s %s: %s says %s, %s says %s", t.name, t.t, from, brief(first), v, brief(v.Answer)))
		}
	}
	if first == nil {
		c.mute = notReached
		if len(lame) > 0 {
			c.mute = fmt.Sprintf("no name server of %s spoke with authority (%s: %s): port 53 may be intercepted", z.Name, lame[0], lame[0].Why())
		}
		return nil, false
	}
	for _, v := range lame {
		t = topic{z.Name, dns.TypeSOA} // it fails for the zone, whatever is asked
		fault(v, fmt.Sprintf("%s: %s", v, v.Why()))
	}
	c.zones = union(c.zones, []string{z.Name})
	return first, on
}

// alike compares two answers as far as their zone goes: what follows an alias out
// of it is not theirs to say.
func alike(a, b *dns.Answer) bool {
	if len(a.Chain) > 0 && len(b.Chain) > 0 && a.Outcome != b.Outcome {
		return a.Chain[0] == b.Chain[0]
	}
	return a.Agrees(b)
}

// brief is an answer in a few words, its alias included.
func brief(a *dns.Answer) string {
	s := outcome(a)
	if len(a.Chain) > 0 {
		s = "alias of " + a.Chain[0]
	}
	if len(s) > maxBrief {
		s = s[:maxBrief] + "..."
	}
	return s
}

const (
	maxBrief  = 100 // octets of an answer that are shown
	maxFaults = 8   // that are named
)

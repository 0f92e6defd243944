package preflight

import (
	"context"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

var dnsAuthConsistent = &Check{
	ID:       "DNS-AUTH-CONSISTENT",
	Scope:    ScopeZone,
	Title:    "every name server of the zone gives the same answers",
	Severity: Recommended,
	Change:   "x",
	Why:      "a receiver asks any one of them: one that refuses, or still has the old zone, fails our mail now and then",
	Ref:      "RFC 1912 section 2.8",
	Needs:    []string{"DNS-REACHABLE"},
	Final:    true,
	Words: Words{
		How:      "Asks every server of the zones that matter (EHLO name and reverse name for a source; SPF, MX, DMARC and DKIM for a sender domain) for the names we need. All answers have to be alike. A server that refuses, fails or has no authority counts only where another one has; one that is silent counts for nothing.",
		Found:    "ns2.invalid (127.0.0.2): REFUSED",
		Expected: "all agree",
		Mend:     "Have the name servers of example.net agree",
		Ask:      "whoever runs the zone",
		Basis:    "It calls a server that is named for a zone and does not serve it lame, and asks to avoid that.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Asker == nil {
			return skip("authoritative servers are not asked")
		}
		c := p.poll(ctx)
		switch {
		case len(c.faults) > 0:
			return fail(p.unifying(ctx, c), "all agree", "%s", strings.Join(c.faults, "; "))
		case len(c.zones) > 0:
			return pass("every name server of %s agrees", list(c.zones))
		case c.mute != "":
			return skip(c.mute)
		}
		return skip("no name to ask for")
	},
}

// topic is a question that receivers ask about the source or sender.
type topic struct {
	name string
	t    dns.Type
}

// topics are those of the zones of the EHLO name, of the address, and of the
// sender domain.
func (p *Probe) topics() (ts []topic) {
	if p.Source != nil {
		if p.named() {
			ts = append(ts, topic{p.ehlo(), dns.TypeA}, topic{p.ehlo(), dns.TypeAAAA}, topic{p.ehlo(), dns.TypeTXT})
		}
		if a := p.addr(); a.IsValid() {
			if _, special := p.Plan.special(a); !special {
				ts = append(ts, topic{dns.Reverse(a), dns.TypePTR})
			}
		}
		return ts
	}
	ts = append(ts, topic{p.envelope(), dns.TypeTXT}, topic{p.envelope(), dns.TypeMX}, topic{"_dmarc." + p.Sender.Domain, dns.TypeTXT})
	for _, k := range p.Sender.Keys {
		ts = append(ts, topic{keyName(p.Sender.Domain, k.Selector), dns.TypeTXT})
	}
	return ts
}

// unifying tells the zone's owner which server is to be looked at.
func (p *Probe) unifying(ctx context.Context, c consensus) Remedy {
	r := Remedy{Title: "Have the name servers of " + c.zone + " agree"}
	d := delegation{}
	if d.Zone, d.err = dns.Authority(ctx, p.run.dns, c.zone); d.err != nil {
		d.Zone.Name = c.zone
	}
	d.whose(&r)
	r.Message = fmt.Sprintf("Please look at the name servers of %s: %s. Whoever asks that server gets a wrong answer or none.",
		c.zone, strings.TrimSuffix(strings.Join(c.faults, "; "), "."))
	r.Steps = []string{fmt.Sprintf("dig @%s %s %s +norecurse", c.server, c.topic.name, c.topic.t)}
	return r
}

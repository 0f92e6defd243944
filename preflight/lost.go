package preflight

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// lost looks for the zone from the root down when the resolver has no answer, and
// says where the way ends. Servers that are no servers of the zone they are said to
// serve are a fault of the delegation; all else may pass.
func (p *Probe) lost(ctx context.Context, a *dns.Answer) Result {
	o := p.run.out
	if o.Asker == nil {
		return awaits("PTR-EXISTS")
	}
	t := p.run.walks.to(ctx, p.run.dns, o, dns.Reverse(p.addr()))
	d := delegation{Zone: t.Zone}
	r := d.remedy(p, t.Answer)
	r.Steps = append(r.Steps, "relay preflight --trace")
	if definite(t.Answer) {
		return Result{Status: Pass, Found: fmt.Sprintf("zone %s: they say %s, the resolver says %s", d, outcome(t.Answer), outcome(a)), Expected: wantDelegation, Remedy: r}
	}
	if lame := allLame(t); lame != "" {
		r.Title = "Have the servers of " + d.Name + " serve it"
		return fail(r, wantDelegation, "zone %s: every server is lame: %s", d.Name, lame)
	}
	return Result{Status: Unknown, Found: fmt.Sprintf("on the way from the root: %s", outcome(t.Answer)), Expected: wantDelegation, Remedy: r}
}

// walkPause is how long a walk is good for: the servers of the root are everybody's,
// and while a zone is silent we look every few seconds.
const walkPause = 5 * time.Minute

// walks remembers where the last walk to a name of ours ended.
type walks struct {
	mu sync.Mutex
	by map[string]pastWalk
}

type pastWalk struct {
	dns.Trace
	until time.Time
}

func newWalks() *walks { return &walks{by: map[string]pastWalk{}} }

// to walks to a name of PTR records if it is time to.
func (w *walks) to(ctx context.Context, r dns.Resolver, o Outside, name string) dns.Trace {
	w.mu.Lock()
	past, known := w.by[name]
	w.mu.Unlock()
	if known && time.Now().Before(past.until) {
		return past.Trace
	}
	t := dns.Walk(ctx, r, o.Asker, o.AuthorityPort, name, dns.TypePTR)
	if ctx.Err() != nil {
		return t // cut short: that says nothing of the next look
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.by[name] = pastWalk{t, time.Now().Add(walkPause)}
	return t
}

// allLame lists the servers of the zone where a walk ended if none of them is one.
// That nobody lets us ask at the root says nothing of the zones below.
func allLame(t dns.Trace) string {
	if t.Zone.Name == "" {
		return ""
	}
	var all []string
	for _, s := range t.Steps {
		switch {
		case s.Zone != t.Zone.Name:
		case s.Kind != dns.Lame:
			return ""
		default:
			all = append(all, fmt.Sprintf("%s (%s)", s.Host, strings.TrimPrefix(said(s), "lame: ")))
		}
	}
	return list(all)
}

// said is what a server of a walk said, in a few words.
func said(s dns.Step) string {
	a := s.Answer
	switch s.Kind {
	case dns.Referred:
		return "refers to " + a.Referral.Name
	case dns.Aliased:
		return "is an alias of " + a.Chain[0]
	case dns.Lame:
		if a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN" {
			return "lame: " + a.Rcode
		}
		return cmp.Or(a.Detail, "lame")
	}
	return outcome(a)
}

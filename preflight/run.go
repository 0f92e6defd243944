package preflight

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

const (
	checkTime = 15 * time.Second
	spfTime   = 20 * time.Second // RFC 7208 section 4.6.4
	runTime   = 30 * time.Second
	atOnce    = 64 // questions on their way
)

// Run runs every check once for each of its subjects, all at the same time, and
// returns the findings in the order of Checks and how many questions were asked.
// It takes 30 s at most; what has no answer by then is unknown.
func Run(ctx context.Context, p *Plan, o Outside) ([]Finding, int) {
	return runUnder(ctx, nil, p, o)
}

// runUnder is Run for sender domains alone: what is known of host and sources is
// not looked at again, but for whether a resolver answers at all. The findings
// that were known are not among those returned.
func runUnder(ctx context.Context, known []Finding, p *Plan, o Outside) ([]Finding, int) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	r := newRun(p, o)
	if r.settle(known); len(known) == 0 {
		r.learn(ctx) // else p is the plan that was learnt when they were found
	}
	var all sync.WaitGroup
	for _, t := range r.tasks {
		if !t.known {
			all.Go(func() { r.do(ctx, t) })
		}
	}
	all.Wait()
	fs := make([]Finding, 0, len(r.tasks))
	for _, t := range r.tasks {
		if !t.known {
			fs = append(fs, t.finding)
		}
	}
	return fs, r.memo.Questions() + r.servers.questions()
}

// settle takes findings as known.
func (r *run) settle(known []Finding) {
	by := make(map[string]Finding, len(known))
	for _, f := range known {
		by[f.key()] = f
	}
	for _, t := range r.tasks {
		f, ok := by[t.finding.key()]
		if ok && t.check != dnsReachable {
			t.finding, t.known = f, true
			close(t.done)
			if t.check == dnsHonest && f.Status == Pass {
				r.honest.trust()
			}
		}
	}
}

// run is what the checks of one run share.
type run struct {
	plan     *Plan
	out      Outside
	dns      dns.Resolver // what the resolver says, its inventions taken out
	memo     *dns.Memo
	zones    *zones   // what the authoritative servers say
	servers  *servers // single ones
	honest   *honest
	tasks    []*task
	index    map[subject]*task
	trials   []trial // by smart host
	lists    *listings
	walks    *walks
	disputes *disputes
	seen     *Observations
}

// trial connects to a smart host once, for all who want to know.
type trial struct {
	once sync.Once
	Trial
}

func newRun(p *Plan, o Outside) *run {
	r := &run{plan: p, out: o, index: map[subject]*task{}, trials: make([]trial, len(p.SmartHosts))}
	slots := make(chan struct{}, atOnce)
	r.memo = dns.NewMemo(&turnstile{r: o.DNS, slots: slots})
	r.honest = newHonest(r.memo, p, o.Landmarks)
	r.dns = r.honest
	r.servers = &servers{asker: o.Asker, slots: slots, by: map[netip.AddrPort]*server{}}
	r.zones = newZones(r)
	if r.lists = o.lists; r.lists == nil {
		r.lists = newListings()
	}
	if r.walks = o.walks; r.walks == nil {
		r.walks = newWalks()
	}
	if r.disputes = o.disputes; r.disputes == nil {
		r.disputes = newDisputes()
	}
	if r.seen = o.Observed; r.seen == nil {
		r.seen = NewObservations()
	}
	for _, c := range Checks {
		for _, s := range subjects(c, p) {
			t := &task{subject: s, done: make(chan struct{}), finding: Finding{Check: c}}
			if s.source >= 0 {
				t.finding.Source = p.Sources[s.source].Name
			}
			if s.sender >= 0 {
				t.finding.Sender = p.Senders[s.sender].Name()
			}
			if s.smartHost >= 0 {
				t.finding.SmartHost = p.SmartHosts[s.smartHost].Name
			}
			r.tasks = append(r.tasks, t)
			r.index[s] = t
		}
	}
	return r
}

// turnstile lets so many questions pass at a time.
type turnstile struct {
	r     dns.Resolver
	slots chan struct{}
}

func (t *turnstile) Query(ctx context.Context, name string, q dns.Type) (*dns.Answer, error) {
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done(): // nobody waits for it any more, and the resolver says so
		return t.r.Query(ctx, name, q)
	}
	defer func() { <-t.slots }()
	return t.r.Query(ctx, name, q)
}

package preflight

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
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

// subject is a check and whom it speaks of, by place in the plan; -1 is nobody.
type subject struct {
	check                     *Check
	source, sender, smartHost int
}

type task struct {
	subject
	finding Finding
	known   bool // before the run
	done    chan struct{}
	second  bool // it, or what it needs, passed by the second opinion: the resolver's picture is old
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

func subjects(c *Check, p *Plan) (all []subject) {
	switch c.Scope {
	case ScopeHost:
		return []subject{{c, -1, -1, -1}}
	case ScopeSource:
		for i := range p.Sources {
			all = append(all, subject{c, i, -1, -1})
		}
	case ScopeSender:
		for i := range p.Senders {
			all = append(all, subject{c, -1, i, -1})
		}
	case ScopeZone:
		for i := range p.Sources {
			all = append(all, subject{c, i, -1, -1})
		}
		for i := range p.Senders {
			all = append(all, subject{c, -1, i, -1})
		}
	case ScopePair:
		for i := range p.Senders {
			for k := range p.Sources {
				all = append(all, subject{c, k, i, -1})
			}
		}
	case ScopeSmartHost:
		for i := range p.SmartHosts {
			all = append(all, subject{c, -1, -1, i})
		}
	}
	return all
}

// needed is the task of another check that speaks of the same subject, nil if
// there is none.
func (r *run) needed(c *Check, s subject) *task {
	s.check = c
	if c.Scope != ScopeSource && c.Scope != ScopePair && c.Scope != ScopeZone {
		s.source = -1
	}
	if c.Scope != ScopeSender && c.Scope != ScopePair && c.Scope != ScopeZone {
		s.sender = -1
	}
	if c.Scope != ScopeSmartHost {
		s.smartHost = -1
	}
	return r.index[s]
}

// do runs one check once all that it needs have passed.
func (r *run) do(ctx context.Context, t *task) {
	defer close(t.done)
	f := &t.finding
	if why := r.moot(t); why != "" {
		f.Result = skip(why)
	} else if f.WaitsFor, why = r.await(t); f.WaitsFor != "" || why != "" {
		f.Result = skip(why)
	} else {
		f.Result = r.look(ctx, t)
	}
	if byID(f.Because) != nil {
		f.WaitsFor, f.Because = f.Because, ""
	}
	f.Severity = severity(f.Check, f.Severity, r.plan.Policy.Severity)
}

// moot says why a check does not apply to the plan at all.
func (r *run) moot(t *task) string {
	if why := r.plan.strange(t); why != "" {
		return why
	}
	if !r.plan.SmartHostOnly || t.check.Scope == ScopeSmartHost {
		return ""
	}
	if t.check == dnsReachable {
		for i := range r.plan.SmartHosts {
			if named(&r.plan.SmartHosts[i]) {
				return "" // its name is to be resolved
			}
		}
	}
	return "smart host"
}

// await waits for the checks that this one needs. The first that did not pass
// is named by its own root: what it waits for, or why it does not apply.
func (r *run) await(t *task) (waitsFor, because string) {
	for _, id := range t.check.Needs {
		c := byID(id)
		if c == dnsReachable && t.smartHost >= 0 && !named(&r.plan.SmartHosts[t.smartHost]) {
			continue
		}
		n := r.needed(c, t.subject)
		if n == nil {
			continue
		}
		<-n.done
		t.second = t.second || n.second
		switch f := n.finding; {
		case f.Status == Pass:
		case f.Status != Skip:
			return id, ""
		default:
			return f.WaitsFor, f.Because
		}
	}
	return "", ""
}

// look runs the check, and once more where its failure may be old. What rests on
// a check that was saved that way looks at the authoritative servers from the first.
func (r *run) look(ctx context.Context, t *task) Result {
	limit := checkTime
	if strings.HasPrefix(t.check.ID, "SPF-") || slices.Contains(authChecks, t.check) {
		limit = spfTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if t.second && !t.check.Final {
		res, p, _ := r.overZones(ctx, t)
		r.attest(ctx, res.Evidence, p.answers)
		return res
	}
	res, p := r.examine(ctx, t, r.dns)
	if r.doubtful(t, res, p) {
		return r.again(ctx, t, res, p)
	}
	if res.Status == Pass {
		r.disputes.end(t)
	}
	return res
}

// examine runs the check itself over one view of DNS. One that panics has learnt nothing.
func (r *run) examine(ctx context.Context, t *task, view dns.Resolver) (res Result, p *Probe) {
	p = &Probe{Plan: r.plan, run: r, dns: view}
	if t.source >= 0 {
		p.Source = &r.plan.Sources[t.source]
	}
	if t.sender >= 0 {
		p.Sender = &r.plan.Senders[t.sender]
	}
	if t.smartHost >= 0 {
		p.SmartHost = &r.plan.SmartHosts[t.smartHost]
	}
	p.earlier = func() []Finding { return r.earlier(t) }
	defer func() {
		if e := recover(); e != nil {
			res = Result{Status: Unknown, Found: fmt.Sprintf("the check itself broke: %v", e)}
		}
	}()
	res = t.check.Run(ctx, p)
	res.Remedy = p.possible(res.Remedy)
	res.Evidence, res.TTL, res.NegTTL = p.evidence()
	return res, p
}

// earlier waits for the checks before this one that speak of its source alone.
func (r *run) earlier(t *task) (fs []Finding) {
	for _, other := range r.tasks {
		if other == t {
			break
		}
		if other.source == t.source && other.sender < 0 && other.source >= 0 {
			<-other.done
			fs = append(fs, other.finding)
		}
	}
	return fs
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

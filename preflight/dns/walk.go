package dns

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a walk may cost at most.
const (
	maxWalk  = 20 * time.Second
	maxSteps = 200 // questions to servers; the deepest IPv6 reverse name is 34 labels below the root
)

// Trace is the way from the root to a name, as a resolver without a cache goes it.
type Trace struct {
	Name   string // asked for, canonical
	Type   Type
	Steps  []Step
	Zone   Zone    // the last one that was reached
	Answer *Answer // what it says, Chain included; Temp, with the reason in Detail, where the walk got stuck
}

// Step is one server that was asked.
type Step struct {
	Zone   string // it was asked as a server of; "" is the root
	Host   string
	Kind   Kind
	Answer *Answer // Referral is set with Kind Referred
}

// Kind of a step: what the server's word is worth.
type Kind int

const (
	Silent   Kind = iota // it said nothing, or has no address
	Lame                 // it is no server of the zone: REFUSED, no authority, a referral that leads nowhere new
	Failed               // it has trouble: SERVFAIL and the like
	Referred             // it knows who knows
	Aliased              // the name is an alias
	Answered             // data, or a denial
)

var kinds = []string{"silent", "lame", "failed", "referral", "alias", "answer"}

func (k Kind) String() string { return kinds[k] }

// Walk goes from the root servers that the resolver names to a name, asks all
// servers of each zone on the way (of the root one that answers), and follows
// aliases. The resolver is asked for the root and for addresses that no referral
// brought along, nothing else. It takes 20 s and 200 steps at most. Port 0 is 53.
func Walk(ctx context.Context, r Resolver, a Asker, port uint16, name string, t Type) Trace {
	ctx, cancel := context.WithTimeout(ctx, maxWalk)
	defer cancel()
	w := walker{r: r, a: a, port: cmp.Or(port, 53)}
	whole, open := blank(name, t)
	w.trace = Trace{Name: whole.Question, Type: t}
	for open {
		whole, open = w.to(ctx, whole)
	}
	w.trace.Answer, _ = whole.finish()
	return w.trace
}

// walker is one walk under way.
type walker struct {
	r     Resolver
	a     Asker
	port  uint16
	trace Trace
	known []Zone // reached so far, from the root down
}

// to walks to the name that the answer has come to. It returns true where an alias
// leads on from there.
func (w *walker) to(ctx context.Context, whole Answer) (Answer, bool) {
	whole.Secure = false // nobody has validated
	if err := w.start(ctx, whole.Name); err != nil {
		return stuck(whole, "ask the resolver for the root servers: "+err.Error()), false
	}
	for ctx.Err() == nil && len(w.trace.Steps) < maxSteps {
		z := w.known[len(w.known)-1]
		w.trace.Zone = z
		best := w.best(w.ask(ctx, z, whole.Name, whole.Type))
		switch best.Kind {
		case Referred:
			w.known = append(w.known, *best.Answer.Referral)
		case Aliased:
			from := best.Answer
			whole.Rcode, whole.Auth, whole.Server, whole.TTL = from.Rcode, from.Auth, from.Server, min(whole.TTL, from.TTL)
			return whole, whole.follow(from.Chain[0])
		case Answered:
			chain, question, ttl := whole.Chain, whole.Question, min(whole.TTL, best.Answer.TTL)
			whole = *best.Answer
			whole.Chain, whole.Question, whole.TTL = chain, question, ttl
			return whole, false
		default:
			return stuck(whole, "no server of "+cmp.Or(z.Name, "the root")+" answers for it"), false
		}
	}
	return stuck(whole, "the way is too long"), false
}

// start goes back to the closest zone of a name that is known already; that is the
// root at first.
func (w *walker) start(ctx context.Context, name string) error {
	if w.known == nil {
		ns, err := LookupNS(ctx, w.r, ".")
		if err != nil {
			return err
		}
		root := Zone{}
		for _, host := range ns.Records[:min(len(ns.Records), maxNameServers)] {
			root.Servers = append(root.Servers, NameServer{Host: host})
		}
		w.known = []Zone{root}
	}
	for !within(name, w.known[len(w.known)-1].Name) {
		w.known = w.known[:len(w.known)-1]
	}
	return nil
}

func stuck(whole Answer, why string) Answer {
	whole.Outcome, whole.Detail = Temp, why
	return whole
}

// best is the step to go on from: the first of those whose word is worth the most.
func (w *walker) best(steps []Step) (best Step) {
	for _, s := range steps {
		if s.Kind > best.Kind {
			best = s
		}
	}
	return best
}

// ask puts the question to the servers of a zone: of the root to one after the other
// until one answers, of others to all at once.
func (w *walker) ask(ctx context.Context, z Zone, name string, t Type) []Step {
	servers := z.Servers[:min(len(z.Servers), maxSteps-len(w.trace.Steps))]
	steps := make([]Step, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		one := func() { steps[i] = w.one(ctx, z.Name, s, name, t) }
		if z.Name != "" {
			all.Go(one)
			continue
		}
		if one(); steps[i].Kind >= Referred {
			steps = steps[:i+1]
			break
		}
	}
	all.Wait()
	if z.Name != "" {
		slices.SortStableFunc(steps, func(a, b Step) int { return strings.Compare(a.Host, b.Host) })
	}
	w.trace.Steps = append(w.trace.Steps, steps...)
	return steps
}

// one asks a server at its addresses in turn until it says something.
func (w *walker) one(ctx context.Context, zone string, s NameServer, name string, t Type) Step {
	if len(s.Addrs) == 0 {
		s.Addrs = addrs(ctx, w.r, s.Host)
	}
	step := Step{Zone: zone, Host: s.Host, Answer: &Answer{Question: name, Name: name, Type: t, Detail: "it has no address"}}
	for _, addr := range s.Addrs {
		ctx, cancel := context.WithTimeout(ctx, perAuthority)
		step.Answer, _ = w.a.Ask(ctx, netip.AddrPortFrom(addr, w.port), name, t)
		cancel()
		if step.Answer.Rcode != "" || step.Answer.Outcome == Broken {
			break
		}
	}
	step.Kind = worth(step.Answer, zone)
	return step
}

// worth is what the answer of a server of a zone is worth.
func worth(a *Answer, zone string) Kind {
	switch {
	case len(a.Chain) > 0 && a.Auth:
		return Aliased
	case a.Outcome.Definite() && a.Outcome != Broken:
		return Answered
	case a.Referral != nil && a.Referral.Name != zone && within(a.Referral.Name, zone):
		return Referred
	case a.Outcome == Broken:
		return Failed
	case a.Rcode == "":
		return Silent
	case a.Rcode == "NOERROR" || a.Rcode == "NXDOMAIN" || a.Rcode == "REFUSED" || a.Rcode == "NOTAUTH":
		return Lame
	}
	return Failed
}

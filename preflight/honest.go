package preflight

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// Landmarks are names of the world outside by which a resolver shows what it is.
// Zero fields are the usual ones. Where Policy.Private holds none is asked for.
type Landmarks struct {
	Parents []string // no name made up stands below them
	Whoami  string   // its TXT is the address that it was asked from
	Signed  string   // a zone that is signed
	Bogus   string   // a name whose signature is wrong
}

func (l Landmarks) defaults() Landmarks {
	if l.Parents == nil {
		l.Parents = []string{"com", "arpa"} // where names are, and beside the reverse zones
	}
	l.Whoami = cmp.Or(l.Whoami, "o-o.myaddr.l.google.com")
	l.Signed = cmp.Or(l.Signed, "com")
	l.Bogus = cmp.Or(l.Bogus, "dnssec-failed.org")
	return l
}

func (p *Probe) landmarks() Landmarks { return p.run.honest.marks }

// honest takes out of a resolver's answers the addresses that it gives to names
// that do not exist: whoever believed them would find a server where there is none.
type honest struct {
	r     dns.Resolver
	marks Landmarks
	names []string // that do not exist
	once  sync.Once
	known chan struct{} // closed when lies are there
	lies  []netip.Addr
}

// patience is how long an address waits for the word on whether it is invented.
const patience = 3 * time.Second

func newHonest(r dns.Resolver, p *Plan, l Landmarks) *honest {
	h := &honest{r: r, marks: l.defaults(), known: make(chan struct{})}
	if !p.Policy.Private {
		label := strings.ToLower(rand.Text())
		for _, parent := range h.marks.Parents {
			h.names = append(h.names, label+"."+parent)
		}
	}
	return h
}

func (h *honest) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a, err := h.r.Query(ctx, name, t)
	if t != dns.TypeA && t != dns.TypeAAAA || a.Outcome != dns.Present {
		return a, err
	}
	h.once.Do(func() { go h.listen(context.WithoutCancel(ctx)) })
	select {
	case <-h.known:
		return h.without(a)
	case <-ctx.Done():
		return a, err
	}
}

// trust the resolver: it was found to invent nothing.
func (h *honest) trust() { h.once.Do(func() { close(h.known) }) }

// listen learns what the resolver says of names that do not exist.
func (h *honest) listen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer close(h.known)
	for _, a := range h.made(ctx) {
		h.lies = append(h.lies, addrs(a)...)
	}
}

// made asks for the names that do not exist: AAAA only of one that has an A.
func (h *honest) made(ctx context.Context) []*dns.Answer {
	answers := make([][]*dns.Answer, len(h.names))
	var all sync.WaitGroup
	for i, name := range h.names {
		all.Go(func() {
			a, _ := h.r.Query(ctx, name, dns.TypeA)
			answers[i] = []*dns.Answer{a}
			if a.Outcome == dns.Present {
				six, _ := h.r.Query(ctx, name, dns.TypeAAAA)
				answers[i] = append(answers[i], six)
			}
		})
	}
	all.Wait()
	return slices.Concat(answers...)
}

// without is the answer less what is invented. A name with nothing else does not exist.
func (h *honest) without(a *dns.Answer) (*dns.Answer, error) {
	invented := func(r dns.RR) bool { return slices.Contains(h.lies, r.Addr) }
	if !slices.ContainsFunc(a.Records, invented) {
		return a, nil
	}
	b := *a
	b.Records = slices.DeleteFunc(slices.Clone(a.Records), invented)
	if len(b.Records) > 0 {
		return &b, nil
	}
	b.Outcome, b.Rcode, b.TTL = dns.NoName, "NXDOMAIN", 0
	return &b, &dns.Error{Name: a.Question, Type: a.Type, Outcome: b.Outcome, Detail: "NXDOMAIN"}
}

var dnsHonest = &Check{
	ID:       "DNS-HONEST",
	Scope:    ScopeHost,
	Title:    "the resolver admits that a name does not exist",
	Severity: Recommended,
	Change:   "v",
	Why:      "a resolver that leads names which do not exist to a page of its own hides missing records and sends mail there",
	Ref:      "RFC 2308 section 2.1; RFC 8020 section 2",
	Needs:    []string{"DNS-REACHABLE"},
	Outward:  true,
	Words: Words{
		How:       "Makes up a name below com and one below arpa, and asks for their addresses. NXDOMAIN passes. An address fails, and from then on every answer with that address is read as if the name did not exist. Where no answer comes it is unknown.",
		Found:     "the resolver answers 198.51.100.80 for names that do not exist",
		Expected:  "NXDOMAIN",
		Mend:      `servers = ["127.0.0.1:53"]`,
		Ask:       "whoever runs this machine and its network; the setting goes under [dns]",
		Quote:     `Name errors (NXDOMAIN) are indicated by the presence of "Name Error" in the RCODE field.`,
		Receivers: "None sees it; it keeps our own picture true.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		const expected = "NXDOMAIN"
		var lies []netip.Addr
		var open *dns.Answer
		for _, a := range p.run.honest.made(ctx) {
			p.keep(a)
			switch {
			case !definite(a):
				open = a
			default:
				for _, lie := range addrs(a) {
					if !slices.Contains(lies, lie) {
						lies = append(lies, lie)
					}
				}
			}
		}
		switch {
		case len(lies) > 0:
			r := betterResolver("Use a resolver that admits what does not exist")
			r.Steps = []string{fmt.Sprintf("dig %s a", p.run.honest.names[0])}
			return fail(r, expected, "the resolver answers %s for names that do not exist", list(lies))
		case open != nil: // the name was made up: it tells nobody anything, and is another one next time
			r := betterResolver("Find out why the resolver has no answer for names that do not exist")
			r.Steps = []string{fmt.Sprintf("dig no-such-name.%s a", parent(open.Question))}
			return Result{Status: Unknown, Found: "a made-up name below " + parent(open.Question) + ": " + outcome(open), Expected: expected, Remedy: r}
		}
		return pass("a name that does not exist is denied")
	},
}

// ownResolver has us ask one on this machine.
const ownResolver = "[dns]\nservers = [\"127.0.0.1:53\"]"

// betterResolver is the remedy where the resolver itself is the fault.
func betterResolver(title string) Remedy {
	return Remedy{Title: title, Who: "whoever runs this machine and its network", Setting: ownResolver}
}

package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// Probe is what one run of a check sees: its subject, the plan, and the world
// through questions that it keeps as evidence. Which of Source, Sender and
// SmartHost is set follows from the check's scope.
type Probe struct {
	Plan      *Plan
	Source    *Source
	Sender    *Sender
	SmartHost *SmartHost

	run     *run
	earlier func() []Finding // of the checks before this one, of the same source

	mu      sync.Mutex
	answers []*dns.Answer
}

// Query asks and remembers the answer, so that a Probe is a resolver too.
func (p *Probe) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a, err := p.run.dns.Query(ctx, name, t)
	p.mu.Lock()
	p.answers = append(p.answers, a)
	p.mu.Unlock()
	return a, err
}

// ask is Query for those who read the outcome.
func (p *Probe) ask(ctx context.Context, name string, t dns.Type) *dns.Answer {
	a, _ := p.Query(ctx, name, t)
	return a
}

// aside asks without leaving evidence: for remedies, whose questions have no
// bearing on the finding and on how long it may be believed.
func (p *Probe) aside(ctx context.Context, name string, t dns.Type) *dns.Answer {
	a, _ := p.run.dns.Query(ctx, name, t)
	return a
}

// evidence is what was asked, each question once, with the least TTL of the
// answers and the longest life of the denials among them.
func (p *Probe) evidence() (es []Evidence, ttl, neg time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for _, a := range p.answers {
		e := Evidence{Question: question(a), Answer: outcome(a), Server: a.Server, NegTTL: a.NegTTL, Took: a.RTT}
		if seen[e.Question] {
			continue
		}
		seen[e.Question] = true
		es = append(es, e)
		neg = max(neg, a.NegTTL)
		if life := max(a.TTL, a.NegTTL); definite(a) && life > 0 && (ttl == 0 || life < ttl) {
			ttl = life
		}
	}
	return es, ttl, neg
}

// addr is the address that the world sees the source by.
func (p *Probe) addr() netip.Addr { return p.Plan.egress(p.Source) }

// ehlo is the canonical EHLO name, "" when there is none that can be asked for.
func (p *Probe) ehlo() string {
	if p.Source == nil {
		return ""
	}
	name, err := dns.Canonical(p.Source.EHLO)
	if err != nil || !dns.IsHostname(name) {
		return ""
	}
	return name
}

// egress is the address that the world sees a source by: the configured one,
// else the one it binds if that is public; the zero Addr if it is not known.
func (p *Plan) egress(s *Source) netip.Addr {
	if s.Public != "" {
		a, _ := netip.ParseAddr(s.Public)
		return a
	}
	a, err := netip.ParseAddr(s.Bind)
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}
	}
	if _, special := p.special(a); special {
		return netip.Addr{}
	}
	return a
}

// egresses are the usable addresses of all sources, each once.
func (p *Plan) egresses() []netip.Addr {
	var all []netip.Addr
	seen := map[netip.Addr]bool{}
	for i := range p.Sources {
		a := p.egress(&p.Sources[i])
		if _, special := p.special(a); a.IsValid() && !special && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// special tells whether an address is no public one. On an internal network
// (Policy.Private) its own addresses count as public; where nothing can be sent
// from or to, and link-local, where the metadata services of clouds live, never do.
func (p *Plan) special(a netip.Addr) (what string, special bool) {
	what, special = p.Special.Addr(a)
	if special && p.Policy.Private && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() {
		return "", false
	}
	return what, special
}

// specialName likewise.
func (p *Plan) specialName(name string) (rule string, special bool) {
	if p.Policy.Private {
		return "", false
	}
	return p.Special.Name(name)
}

// family is the type of the records that hold an address.
func family(a netip.Addr) dns.Type {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// holds tells whether an answer has an address among its records.
func holds(a *dns.Answer, addr netip.Addr) bool {
	for _, r := range a.Records {
		if r.Addr == addr {
			return true
		}
	}
	return false
}

func addrs(a *dns.Answer) []netip.Addr {
	var all []netip.Addr
	for _, r := range a.Records {
		all = append(all, r.Addr)
	}
	return all
}

func hosts(a *dns.Answer) []string {
	var all []string
	for _, r := range a.Records {
		all = append(all, r.Host)
	}
	return all
}

func list[T any](all []T) string {
	var b strings.Builder
	for i, v := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, v)
	}
	return b.String()
}

func definite(a *dns.Answer) bool { return a.Outcome != dns.Temp }

// absent is a denial, one way or the other.
func absent(a *dns.Answer) bool { return a.Outcome == dns.NoData || a.Outcome == dns.NoName }

func question(a *dns.Answer) string { return a.Question + ". " + typeName(a.Type) }

// outcome is an answer in a few words: its data, or why there are none.
func outcome(a *dns.Answer) string {
	switch a.Outcome {
	case dns.Present:
		var all []string
		for _, r := range a.Records {
			all = append(all, data(r))
		}
		return list(all)
	case dns.NoName:
		return "NXDOMAIN"
	case dns.NoData:
		return "NODATA"
	case dns.Broken:
		return "broken: " + cmp.Or(a.Detail, "an alias leads nowhere")
	}
	if a.Rcode == "" || a.Rcode == "NOERROR" || a.Rcode == "NXDOMAIN" {
		return cmp.Or(a.Detail, "no answer")
	}
	if a.Detail == "" || strings.Contains(a.Detail, a.Rcode) {
		return cmp.Or(a.Detail, a.Rcode)
	}
	return a.Rcode + ": " + a.Detail
}

// data is a record's data in presentation form, names absolute.
func data(r dns.RR) string {
	switch r.Type {
	case dns.TypeA, dns.TypeAAAA:
		return r.Addr.String()
	case dns.TypeTXT:
		return Quote(r.Text)
	case dns.TypeMX:
		return fmt.Sprintf("%d %s.", r.Pref, r.Host)
	}
	return r.Host + "."
}

func typeName(t dns.Type) string {
	switch t {
	case dns.TypeA:
		return "A"
	case dns.TypeNS:
		return "NS"
	case dns.TypeCNAME:
		return "CNAME"
	case dns.TypeSOA:
		return "SOA"
	case dns.TypePTR:
		return "PTR"
	case dns.TypeMX:
		return "MX"
	case dns.TypeTXT:
		return "TXT"
	case dns.TypeAAAA:
		return "AAAA"
	}
	return fmt.Sprintf("TYPE%d", t)
}

// Results, the short way.

func pass(format string, a ...any) Result {
	return Result{Status: Pass, Found: fmt.Sprintf(format, a...)}
}

func fail(r Remedy, expected, format string, a ...any) Result {
	return Result{Status: Fail, Found: fmt.Sprintf(format, a...), Expected: expected, Remedy: r}
}

// unknown is the result when an answer that matters did not come.
func unknown(expected string, a *dns.Answer) Result {
	r := Result{Status: Unknown, Found: question(a) + ": " + outcome(a), Expected: expected}
	r.Remedy = Remedy{
		Title: "Find out why " + question(a) + " has no answer",
		Steps: []string{fmt.Sprintf("dig %s. %s", a.Question, typeName(a.Type))},
	}
	return r
}

func skip(because string) Result { return Result{Status: Skip, Because: because} }

// awaits skips until another check passes. The run turns the id into WaitsFor.
func awaits(id string) Result { return Result{Status: Skip, Because: id} }

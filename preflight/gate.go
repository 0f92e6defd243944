package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Gate is what the stages ask: may this mail be sent, and from where. It
// answers from the verdicts of the moment, which Watch keeps fresh. Its methods
// may be called at any time and from anywhere, but Start comes first.
type Gate struct {
	plan   Plan
	out    Outside
	paced  Outside // the same, for what can wait
	memory Memory
	log    *slog.Logger

	journal  *journal
	sights   *sights
	keys     *keys
	evidence *evidence
	broken   broken
	asked    chan chan<- *Report // who wants a look now
	wake     chan struct{}       // there is news of our addresses

	mu      sync.RWMutex
	learnt  *Plan     // with the addresses that were learnt by the last look at the sources
	base    []held    // host, sources and smart hosts, as believed
	found   []Finding // of the same, as last seen
	history History   // of the same
	looked  time.Time // when they were last looked at
	next    time.Time // when to look at them again
	soon    time.Time // look by then, whatever next says; zero: as it says
	looks   int       // at them
	now     *judgement
	changed chan struct{}

	telling sync.Mutex // what looks found is taken in and logged one after the other; before mu
	saving  sync.Mutex
	saved   time.Time
}

// NewGate makes a gate that lets nothing go direct until Start has looked. A
// nil memory keeps no history, a nil log says nothing.
func NewGate(p Plan, o Outside, m Memory, log *slog.Logger) *Gate {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p.Policy = p.Policy.Defaults(len(p.SmartHosts) > 0)
	if o.Try != nil {
		o.Try = &patientTrier{Trier: o.Try, pause: p.Policy.RecheckMin, last: map[string]pastTrial{}}
	}
	if o.Observed == nil {
		o.Observed = NewObservations()
	}
	o.lists, o.walks, o.disputes = newListings(), newWalks(), newDisputes()
	b := newBudget()
	g := &Gate{plan: p, out: o.within(b, false), paced: o.within(b, true), memory: m, log: log, changed: make(chan struct{})}
	g.asked, g.wake = make(chan chan<- *Report), make(chan struct{}, 1)
	g.learnt, g.base = &g.plan, unseen()
	g.journal = newJournal(log)
	g.journal.rest = g.open
	g.sights = newSights(g)
	g.keys = newKeys(&g.plan, log)
	g.evidence, g.broken.seen = newEvidence(), map[string][]string{}
	g.now = g.compose(time.Time{})
	return g
}

// unseen is what is known before the first look.
func unseen() []held {
	c := &Check{ID: "DNS-REACHABLE", Scope: ScopeHost, Severity: Mandatory, Title: "a resolver answers"}
	return believed([]Finding{{Check: c, Result: Result{Status: Unknown, Severity: Mandatory, Found: "nothing was asked yet"}}})
}

// Report is the latest. It is not changed later.
func (g *Gate) Report() *Report { return g.judgement().report }

// Changed is closed when a verdict or its action changes. Take it before
// looking at the Report, so that no change is missed.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.changed
}

func (g *Gate) judgement() *judgement {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.now
}

// firstLook is how long a session waits for the first look at a sender domain.
const firstLook = 5 * time.Second

// Judge is asked at submission. Only a sender domain that fails is refused
// here, and only where the operator wants that; all else is accepted, and the
// queue waits for what has to become good.
func (g *Gate) Judge(ctx context.Context, m Mail) Ruling {
	if g.plan.SmartHostOnly {
		return Ruling{Do: ActSmartHost}
	}
	if m.Author == "" {
		return Ruling{Do: ActSend}
	}
	until := time.Now().Add(firstLook)
	c := g.about(ctx, m, false, until)
	rejects := func() bool { return g.plan.Policy.OnSenderFail == ActReject && c.sender().Status == Fail }
	if rejects() {
		c = g.about(ctx, m, true, until) // it may have been mended
	}
	if rejects() {
		return Ruling{Do: ActReject, Code: 550, Status: "5.7.1", Text: c.text()}
	}
	switch r := c.route("", nil); {
	case r.SmartHost:
		return Ruling{Do: ActSmartHost}
	case r.Source == nil:
		return Ruling{Do: ActHold}
	}
	return Ruling{Do: ActSend}
}

// Route is asked before every delivery: the next source to try, the smart
// host, or how long to wait and why. tried names the sources that could not
// reach the destination to.
func (g *Gate) Route(ctx context.Context, m Mail, to string, tried []string) Route {
	if g.plan.SmartHostOnly {
		return Route{SmartHost: true}
	}
	r := g.about(ctx, m, false, time.Now().Add(firstLook)).route(to, tried)
	if r.Wait > 0 {
		r.Awaits = passport(m, tried)
		g.waiting(m)
	}
	return r
}

// Waits tells whether a Route that said to wait would say so again, and whether
// what a mail was refused for has not been mended. It asks nobody.
func (g *Gate) Waits(awaited string) bool {
	if r, ok := readRefusal(awaited); ok {
		failing, known := g.fails(r)
		return !known || !g.broken.note(awaited, failing)
	}
	m, tried := readPassport(awaited)
	waits := g.weigh(m, g.sights.known).route("", tried).Wait > 0
	if waits {
		g.waiting(m)
	}
	return waits
}

// waiting has those looked at first whose mail waits.
func (g *Gate) waiting(m Mail) {
	if m != (Mail{}) {
		who, _ := g.sender(m)
		g.sights.waiting(who, time.Now())
	}
}

// passport is what a mail's route depends on, as text: the queue keeps it. What
// an odd queue hands back is read as the null sender's.
func passport(m Mail, tried []string) string {
	text, _ := json.Marshal(append([]string{m.Author, m.Envelope}, tried...))
	return string(text)
}

func readPassport(text string) (m Mail, tried []string) {
	var words []string
	if json.Unmarshal([]byte(text), &words) == nil && len(words) > 1 {
		m.Author, m.Envelope, tried = words[0], words[1], words[2:]
	}
	return m, tried
}

// mailCase is one message before the gate.
type mailCase struct {
	*judgement                      // of host and sources
	seen       *sight               // of the sender; nil: nothing
	name       string               // of the sender; "" when nobody is named
	who        string               // the same for people, with the envelope's domain where it is another
	counts     func(id string) bool // findings that speak to this mail; nil: all
	first      bool                 // nothing is known of the sender yet
	next       time.Time            // when more will be known
}

// forNotice picks what counts for the null sender: there is no envelope domain
// whose SPF could pass (RFC 7208 section 2.4), only the EHLO name, which is the
// source's, and the signature of the notice's own author. AUTH-* weigh those two.
func forNotice(id string) bool {
	return strings.HasPrefix(id, "DKIM-") || strings.HasPrefix(id, "AUTH-")
}

// about is the case of a mail, with a look at a sender of whom nothing is known,
// or nothing fresh where that is asked for; it may wait until then.
func (g *Gate) about(ctx context.Context, m Mail, fresh bool, until time.Time) mailCase {
	return g.weigh(m, func(s Sender) *sight { return g.sights.look(ctx, s, fresh, until) })
}

// weigh a mail by what is seen of its sender; nil: nothing is.
func (g *Gate) weigh(m Mail, see func(Sender) *sight) mailCase {
	j := g.judgement()
	c := mailCase{judgement: j, next: j.report.Next}
	if m.Envelope == "" {
		c.counts = forNotice
	}
	if m.Envelope == "" && m.Author == "" {
		return c
	}
	s, _ := g.sender(m)
	c.name, c.who = s.Name(), s.Name()
	if m.Envelope != "" && m.Envelope != c.name {
		c.who += " (envelope " + m.Envelope + ")"
	}
	if c.seen = see(s); c.seen == nil {
		c.first, c.next = true, time.Now().Add(firstLook)
		return c
	}
	c.next = earlier(c.seen.next, c.next)
	return c
}

// sender finds the configured sender that a message is of, or makes one of it.
// A domain that we sign for keeps its keys under another envelope domain, and with
// none.
func (g *Gate) sender(m Mail) (s Sender, listed bool) {
	s = Sender{Domain: cmp.Or(m.Author, m.Envelope), Envelope: cmp.Or(m.Envelope, nullSender)}
	if s.Envelope == s.Domain {
		s.Envelope = ""
	}
	for _, i := range g.sights.domains[s.Domain] {
		c := g.plan.Senders[i]
		if m.Envelope == cmp.Or(c.Envelope, c.Domain) {
			return c, true
		}
		s.Keys = c.Keys
	}
	return s, false
}

func (c mailCase) sender() standing {
	if c.first {
		return standing{Status: Unknown, Because: []string{"first look"}}
	}
	return c.judged().senderWithPairs(c.name, c.counts)
}

// judged is what is known of host, sources and sender side by side.
func (c mailCase) judged() *judgement {
	if c.seen == nil {
		return c.judgement
	}
	return c.seen.judge(c.judgement)
}

// text is the failure that a client is told of, in one line of ASCII.
func (c mailCase) text() string {
	reason := ""
	for _, h := range c.about() {
		if blocks(h.Result) && (c.counts == nil || c.counts(h.Check.ID)) {
			reason = fmt.Sprintf(": %s: %s", h.Check.ID, h.Found)
			break
		}
	}
	return oneLine("mail of "+c.who+" would be refused by its receivers"+reason, 400)
}

// about the sender and its pairs.
func (c mailCase) about() []held {
	j := c.judged()
	hs := slices.Clone(j.senders[c.name])
	for _, s := range c.plan.Sources {
		hs = append(hs, j.pairs[pair{s.Name, c.name}]...)
	}
	return hs
}

// oneLine fits any text into a line of printable ASCII.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), limit)]
}

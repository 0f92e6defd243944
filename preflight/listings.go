package preflight

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// Block lists count the questions of each address and refuse who asks too much.
const (
	listEvery = 6 * time.Hour   // what a list said holds so long
	listPause = 5 * time.Minute // and when it said nothing it is asked again after
	listTrust = 24 * time.Hour  // what it said before covers its silence so long
)

// listings remembers what block lists said between looks. The questions follow from
// the configuration, so there are few.
type listings struct {
	now func() time.Time

	mu sync.Mutex
	by map[string]lastWord
}

type lastWord struct {
	answer *dns.Answer
	at     time.Time // of the answer
	next   time.Time // when to ask again
}

func newListings() *listings { return &listings{now: time.Now, by: map[string]lastWord{}} }

// ask asks if it is time to.
func (l *listings) ask(ctx context.Context, r dns.Resolver, name string, t dns.Type) *dns.Answer {
	key, now := name+" "+t.String(), l.now()
	l.mu.Lock()
	was, known := l.by[key]
	l.mu.Unlock()
	if known && now.Before(was.next) {
		return was.answer
	}
	a, _ := r.Query(ctx, name, t)
	if ctx.Err() != nil && !definite(a) {
		return a // cut short: that says nothing
	}
	is := lastWord{a, now, now.Add(listEvery)}
	if !definite(a) {
		is.next = now.Add(listPause)
		if known && definite(was.answer) && now.Sub(was.at) < listTrust {
			is.answer, is.at = was.answer, was.at
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[key] = is
	return is.answer
}

// listLook is what one list says, and whether it can be believed.
type listLook struct {
	list     BlockList
	trouble  string        // why it is of no use
	open     *dns.Answer   // what it did not answer
	listings []string      // under which it has the address
	text     string        // what it says to those
	answers  []*dns.Answer // all, without keys
}

// lookAtLists asks every list for its test entries, and for an address unless that is
// the zero Addr.
func (p *Probe) lookAtLists(ctx context.Context, addr netip.Addr) []listLook {
	lists := p.Plan.Policy.DNSBL
	looks := make([]listLook, len(lists))
	var all sync.WaitGroup
	for i, b := range lists {
		all.Go(func() { looks[i] = p.lookAtList(ctx, b, addr) })
	}
	all.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range looks {
		p.answers = append(p.answers, l.answers...)
	}
	return looks
}

// The test entries of RFC 5782 section 5: every list has the first and none the second.
var (
	everListed  = netip.MustParseAddr("127.0.0.2")
	neverListed = netip.MustParseAddr("127.0.0.1")
)

func (p *Probe) lookAtList(ctx context.Context, b BlockList, addr netip.Addr) listLook {
	l := listLook{list: b}
	test := l.ask(ctx, p, everListed, dns.TypeA)
	switch {
	case l.settled():
		return l
	case absent(test):
		l.trouble = "is dead: it does not list its own test entry"
		return l
	}
	if never := l.ask(ctx, p, neverListed, dns.TypeA); !l.settled() && never.Outcome == dns.Present {
		l.trouble = "is dead: it lists everything"
	}
	if l.settled() || !addr.IsValid() {
		l.listings = nil // those of the test
		return l
	}
	l.listings = nil
	l.ask(ctx, p, addr, dns.TypeA)
	slices.Sort(l.listings)
	if len(l.listings) > 0 && !l.settled() {
		if a := l.put(ctx, p, addr, dns.TypeTXT); a.Outcome == dns.Present {
			l.text = a.Records[0].Text
			l.text = l.text[:min(len(l.text), 200)]
		}
	}
	return l
}

// settled: nothing more is to be learnt of the list now.
func (l *listLook) settled() bool { return l.trouble != "" || l.open != nil }

func (l *listLook) put(ctx context.Context, p *Probe, addr netip.Addr, t dns.Type) *dns.Answer {
	a := l.list.masked(p.run.lists.ask(ctx, p.run.dns, l.list.entry(addr), t))
	l.answers = append(l.answers, a)
	return a
}

// ask for an entry, and take in what the answer means.
func (l *listLook) ask(ctx context.Context, p *Probe, addr netip.Addr, t dns.Type) *dns.Answer {
	a := l.put(ctx, p, addr, t)
	switch a.Outcome {
	case dns.Temp:
		l.open = a
	case dns.Broken:
		l.trouble = "is dead: " + outcome(a)
	}
	for _, said := range addrs(a) {
		listing, trouble := l.list.read(said)
		if trouble != "" {
			l.trouble = trouble
		}
		if listing != "" && !slices.Contains(l.listings, listing) {
			l.listings = append(l.listings, listing)
		}
	}
	return a
}

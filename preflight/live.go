package preflight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"smtprelay/preflight/dns"
)

// A key signs only once the world can fetch it: a signature that cannot be
// verified is worth less than none. So its record is looked for where receivers
// will find it in the end, at the authoritative servers. While nobody has ever
// answered and the sender's mail waits for that, a key signs all the same: what is
// not signed when it is taken never will be. Should there turn out to be no
// record, receivers treat the signature as none (RFC 6376 section 6.1).

type keys struct {
	plan *Plan
	log  *slog.Logger

	mu sync.Mutex
	by map[string]*keyState // by name of the record
}

type keyState struct {
	record string
	live   bool
	heard  bool      // somebody has answered, so that live is not just not known
	since  time.Time // of the first look that did not find it, while it is not live
	silent int       // looks without an answer, in a row
	next   time.Time
}

func newKeys(p *Plan, log *slog.Logger) *keys {
	k := &keys{plan: p, log: log, by: map[string]*keyState{}}
	for _, s := range p.Senders {
		for _, key := range s.Keys {
			k.by[keyName(s.Domain, key.Selector)] = &keyState{record: key.Record}
		}
	}
	return k
}

func keyName(domain, selector string) string { return selector + "._domainkey." + domain }

// Live tells whether a key may sign: its record has been seen at the
// authoritative servers of its zone, and nothing definite has been seen against
// it since; or nobody has said anything of it, and the domain's mail is held
// until DNS answers.
func (g *Gate) Live(domain, selector string) bool {
	g.keys.mu.Lock()
	s, ok := g.keys.by[keyName(domain, selector)]
	live, heard := ok && s.live, ok && s.heard
	g.keys.mu.Unlock()
	return live || ok && !heard && g.waits(domain)
}

// waits tells whether mail of the domain is held because nothing is known of it.
func (g *Gate) waits(domain string) bool {
	j := g.judgement()
	if g.plan.SmartHostOnly || j.policy.onSender(Unknown) != ActHold {
		return false
	}
	return slices.ContainsFunc(g.sights.domains[domain], func(i int) bool {
		n, _ := g.sights.get(g.plan.Senders[i].key())
		return n.judge(j).sender(domain, nil).Status == Unknown
	})
}

// next look at any key; zero when there is none.
func (k *keys) next() (t time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.by {
		if t.IsZero() || s.next.Before(t) {
			t = s.next
		}
	}
	return t
}

// recall what an earlier run of the program saw: a key stays live while DNS is
// silent. published is what to remember for that.
func (k *keys) recall(seen map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, s := range k.by {
		published, heard := seen[name]
		s.live, s.heard = published != "" && published == tag(s.record, "p"), heard
	}
}

func (k *keys) published() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := map[string]string{}
	for name, s := range k.by {
		switch {
		case s.live:
			seen[name] = tag(s.record, "p")
		case s.heard:
			seen[name] = "" // it is known not to be there
		}
	}
	return seen
}

// look at the keys that are due, at most so many at the same time, those first
// that are due for longest.
func (k *keys) look(ctx context.Context, now time.Time, most int, out Outside) (news bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	k.mu.Lock()
	var due []string
	for name, s := range k.by {
		if !now.Before(s.next) {
			due = append(due, name)
		}
	}
	slices.SortFunc(due, func(a, b string) int { return k.by[a].next.Compare(k.by[b].next) })
	k.mu.Unlock()
	return k.these(ctx, due[:min(len(due), most)], now, out)
}

// first looks at those keys of a sender that nobody has looked at since the
// program started: its mail is there.
func (k *keys) first(ctx context.Context, who Sender, out Outside) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var names []string
	k.mu.Lock()
	for _, key := range who.Keys {
		name := keyName(who.Domain, key.Selector)
		if s := k.by[name]; s != nil && s.next.IsZero() {
			names = append(names, name)
		}
	}
	k.mu.Unlock()
	k.these(ctx, names, time.Now(), out)
}

// these keys, at the same time.
func (k *keys) these(ctx context.Context, names []string, now time.Time, out Outside) (news bool) {
	var all sync.WaitGroup
	var changed atomic.Bool
	for _, name := range names {
		all.Go(func() {
			if k.one(ctx, name, now, out) {
				changed.Store(true)
			}
		})
	}
	all.Wait()
	return changed.Load()
}

// one key. A temporary error leaves what is known.
func (k *keys) one(ctx context.Context, name string, now time.Time, out Outside) (news bool) {
	a, asked, heard := k.ask(ctx, name, out)
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.by[name]
	was, first := *s, s.next.IsZero()
	s.heard = s.heard || heard
	s.silent++
	if definite(a) {
		s.live = a.Outcome == dns.Present && len(a.Records) == 1 && sameKey(a.Records[0].Text, s.record)
		s.silent = 0
	}
	if s.live || s.since.IsZero() {
		s.since = now
	}
	s.next = now.Add(k.wait(s, a, now))
	if s.live != was.live || s.heard != was.heard && !s.live || first && !s.live {
		k.tell(name, s, seen(a)+asked)
	}
	return s.live != was.live
}

// seen is an answer in a few words, for the log.
func seen(a *dns.Answer) string {
	switch {
	case a.Outcome != dns.Present:
		return outcome(a)
	case len(a.Records) > 1:
		return fmt.Sprintf("%d records", len(a.Records))
	}
	key, err := parseDKIM(a.Records[0].Text)
	if err != nil {
		return err.Error()
	}
	return key.String()
}

// ask the authoritative servers. Where none of them can be reached at all, the
// resolver has to do; where they do not agree it is no way round them. heard is
// false when nobody answered at all.
func (k *keys) ask(ctx context.Context, name string, out Outside) (a *dns.Answer, asked string, heard bool) {
	if out.Asker != nil {
		a, err := dns.AskAuthority(ctx, out.DNS, out.Asker, out.AuthorityPort, name, dns.TypeTXT)
		if !errors.Is(err, dns.ErrTemporary) || a.Server != "" {
			return a, " at the authoritative servers", true
		}
	}
	a, _ = out.DNS.Query(ctx, name, dns.TypeTXT)
	return a, " (resolver only: no authoritative server was reached)", definite(a)
}

func (k *keys) wait(s *keyState, a *dns.Answer, now time.Time) time.Duration {
	pol := k.plan.Policy
	if s.live {
		return min(max(a.TTL, pol.RecheckMin), pol.RecheckMax)
	}
	if s.silent > 0 {
		return min(step(silentSteps, s.silent), pol.RecheckMin)
	}
	w := 5 * time.Minute
	if now.Sub(s.since) < 10*time.Minute {
		w = time.Minute
	}
	return min(w, pol.RecheckMin)
}

func (k *keys) tell(name string, s *keyState, asked string) {
	selector, domain, _ := strings.Cut(name, "._domainkey.")
	switch {
	case s.live:
		k.log.Info("DKIM key is published and signs", "domain", domain, "selector", selector, "reason", asked)
	case !s.heard:
		k.log.Warn("DKIM key could not be looked for and signs what waits", "domain", domain, "selector", selector, "reason", asked)
	default:
		k.log.Warn("DKIM key is not seen published and does not sign", "domain", domain, "selector", selector, "reason", asked)
	}
}

// sameKey compares two records as receivers read them.
func sameKey(a, b string) bool {
	x, err := parseDKIM(a)
	y, err2 := parseDKIM(b)
	return err == nil && err2 == nil && x.same(y)
}

// tag is the value of a tag in a tag list, without white space.
func tag(list, name string) string {
	for part := range strings.SplitSeq(list, ";") {
		if n, v, ok := strings.Cut(part, "="); ok && strings.TrimSpace(n) == name {
			return strings.Join(strings.Fields(v), "")
		}
	}
	return ""
}

package preflight

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// A key signs only once the world can fetch it: a signature that cannot be
// verified is worth less than none. So its record is looked for where receivers
// will find it in the end, at the authoritative servers.

type keys struct {
	plan *Plan
	out  Outside
	log  *slog.Logger

	mu sync.Mutex
	by map[string]*keyState // by name of the record
}

type keyState struct {
	record string
	live   bool
	since  time.Time // of the first look that did not find it, while it is not live
	next   time.Time
}

func newKeys(p *Plan, o Outside, log *slog.Logger) *keys {
	k := &keys{plan: p, out: o, log: log, by: map[string]*keyState{}}
	for _, s := range p.Senders {
		for _, key := range s.Keys {
			k.by[keyName(s.Domain, key.Selector)] = &keyState{record: key.Record}
		}
	}
	return k
}

func keyName(domain, selector string) string { return selector + "._domainkey." + domain }

// Live tells whether the record of a key has been seen at the authoritative
// servers of its zone, and nothing definite has been seen against it since.
func (g *Gate) Live(domain, selector string) bool {
	g.keys.mu.Lock()
	defer g.keys.mu.Unlock()
	s, ok := g.keys.by[keyName(domain, selector)]
	return ok && s.live
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
		s.live = seen[name] != "" && seen[name] == tag(s.record, "p")
	}
}

func (k *keys) published() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := map[string]string{}
	for name, s := range k.by {
		if s.live {
			seen[name] = tag(s.record, "p")
		}
	}
	return seen
}

// look at all keys that are due, at the same time.
func (k *keys) look(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var all sync.WaitGroup
	k.mu.Lock()
	for name, s := range k.by {
		if !now.Before(s.next) {
			all.Go(func() { k.one(ctx, name, now) })
		}
	}
	k.mu.Unlock()
	all.Wait()
}

// one key. A temporary error leaves what is known.
func (k *keys) one(ctx context.Context, name string, now time.Time) {
	a, asked := k.ask(ctx, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.by[name]
	was, first := s.live, s.next.IsZero()
	if a.Outcome == dns.Temp {
		asked = "DNS did not answer"
	} else {
		s.live = a.Outcome == dns.Present && len(a.Records) == 1 && sameKey(a.Records[0].Text, s.record)
	}
	if s.live || s.since.IsZero() {
		s.since = now
	}
	s.next = now.Add(k.wait(s, a, now))
	if s.live != was || first && !s.live {
		k.tell(name, s.live, asked)
	}
}

// ask the authoritative servers, or where none of them can be reached at all,
// the resolver.
func (k *keys) ask(ctx context.Context, name string) (a *dns.Answer, asked string) {
	if k.out.Asker != nil {
		a, err := dns.AskAuthority(ctx, k.out.DNS, k.out.Asker, k.out.AuthorityPort, name, dns.TypeTXT)
		if !errors.Is(err, dns.ErrTemporary) {
			return a, "authoritative servers"
		}
	}
	a, _ = k.out.DNS.Query(ctx, name, dns.TypeTXT)
	return a, "resolver only: no authoritative server was reached"
}

func (k *keys) wait(s *keyState, a *dns.Answer, now time.Time) time.Duration {
	pol := k.plan.Policy
	if s.live {
		return min(max(a.TTL, pol.RecheckMin), pol.RecheckMax)
	}
	w := 5 * time.Minute
	if now.Sub(s.since) < 10*time.Minute {
		w = time.Minute
	}
	return min(w, pol.RecheckMin)
}

func (k *keys) tell(name string, live bool, asked string) {
	selector, domain, _ := strings.Cut(name, "._domainkey.")
	if live {
		k.log.Info("DKIM key is published and signs", "domain", domain, "selector", selector, "reason", asked)
		return
	}
	k.log.Warn("DKIM key is not seen published and does not sign", "domain", domain, "selector", selector, "reason", asked)
}

// sameKey compares the public keys of two records (RFC 6376 section 3.6.1:
// white space inside p= means nothing).
func sameKey(a, b string) bool {
	p := tag(a, "p")
	return p != "" && p == tag(b, "p")
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

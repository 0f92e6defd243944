package preflight

import (
	"context"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// The second opinion. A resolver may hold an old answer for as long as its TTL
// says, and someone who has just mended his zone is not to be told that it is
// broken. So a check that fails by what the resolver says is run once more over
// the authoritative servers, and only what these say as well is believed. A run
// in which nothing fails asks nothing more.

// notReached stands in the evidence for a second opinion that nobody gave.
const notReached = "no authoritative server was reached"

// zones is DNS past all caches: the authoritative servers, each found through the
// resolver. Where not all of them answer, or they differ, the resolver's word has to do.
type zones struct {
	run  *run
	memo *dns.Memo // Query over AskAuthority
}

func newZones(r *run) *zones {
	z := &zones{run: r}
	z.memo = dns.NewMemo(resolverFunc(func(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
		return dns.AskAuthority(ctx, r.dns, r.servers, r.out.AuthorityPort, name, t)
	}))
	return z
}

func (z *zones) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	if a, err := z.memo.Query(ctx, name, t); definite(a) && len(a.Mute) == 0 {
		return a, err
	}
	return z.run.dns.Query(ctx, name, t)
}

// few is likewise, where the word of some servers will do.
func (z *zones) few(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	if a, err := z.memo.Query(ctx, name, t); definite(a) {
		return a, err
	}
	return z.run.dns.Query(ctx, name, t)
}

// said is what the second opinion on a question was, for the evidence.
func (z *zones) said(ctx context.Context, a *dns.Answer) string {
	second, _ := z.memo.Query(ctx, a.Question, a.Type)
	if second.Server == "" {
		return notReached
	}
	said := speaker(second) + ". " + outcome(second)
	if len(second.Mute) > 0 {
		said += "; " + unheard(second)
	}
	return said
}

// speaker is the name server that gave an answer.
func speaker(a *dns.Answer) string {
	server, _, _ := strings.Cut(a.Server, " ")
	return server
}

// unheard says which name servers the speaker could not be held against.
func unheard(a *dns.Answer) string { return list(a.Mute) + " did not answer" }

// disputed are the answers of the resolver that some servers contradict while others
// are mute, each with what those say.
func (z *zones) disputed(ctx context.Context, answers []*dns.Answer) (all [][2]*dns.Answer) {
	for _, a := range answers {
		b, _ := z.memo.Query(ctx, a.Question, a.Type)
		if definite(a) && definite(b) && len(b.Mute) > 0 && !sameWord(a, b) {
			all = append(all, [2]*dns.Answer{a, b})
		}
	}
	return all
}

func sameWord(a, b *dns.Answer) bool { return a.Agrees(b) || absent(a) && absent(b) }

// doubtful tells whether a failure may come from a cache. What was not asked of
// DNS does not, and the checks of the host and of smart hosts are about what this
// machine sees.
func (r *run) doubtful(t *task, res Result, p *Probe) bool {
	switch t.check.Scope {
	case ScopeHost, ScopeSmartHost:
		return false
	}
	return res.Status == Fail && !t.check.Final && r.out.Asker != nil && len(p.answers) > 0
}

// again runs a check that failed over the authoritative servers. If it passes there
// the failure was old; if it fails there as well, what it found there is newer; and
// if that is open, so is the finding.
func (r *run) again(ctx context.Context, t *task, first Result, p *Probe) Result {
	second, q, open := r.overZones(ctx, t)
	res := first
	switch {
	case second.Status == Pass:
		t.second = true
		res = second
		if old := outlived(p.answers, q.answers); old > 0 {
			res.Found += " (cached answers still old, up to " + spoken(old) + ")"
		}
		res.NegTTL = max(res.NegTTL, first.NegTTL)
	case second.Status == Fail || open:
		res = second
	}
	res.Evidence = first.Evidence
	for _, e := range second.Evidence {
		if !asked(first.Evidence, e.Question) {
			res.Evidence = append(res.Evidence, e)
		}
	}
	r.attest(ctx, res.Evidence, q.answers)
	return res
}

// overZones runs a check over the authoritative servers. open: it fails by the word of
// the resolver, which may be old, and not by that of the servers that speak.
func (r *run) overZones(ctx context.Context, t *task) (res Result, p *Probe, open bool) {
	res, p = r.examine(ctx, t, r.zones)
	if res.Status != Fail {
		r.disputes.end(t)
		return res, p, false
	}
	apart := r.zones.disputed(ctx, p.answers)
	if len(apart) > 0 {
		other, _ := r.examine(ctx, t, resolverFunc(r.zones.few))
		open = other.Status != Fail
	}
	if !open {
		r.disputes.end(t)
		return res, p, false
	}
	if r.disputes.settled(t, apart, time.Now()) {
		return res, p, false
	}
	return between(res, apart[0][0], apart[0][1]), p, true
}

func asked(es []Evidence, question string) bool {
	for _, e := range es {
		if e.Question == question {
			return true
		}
	}
	return false
}

// attest writes beside each question that was asked again what the second opinion was.
func (r *run) attest(ctx context.Context, es []Evidence, answers []*dns.Answer) {
	for i := range es {
		for _, a := range answers {
			if question(a) == es[i].Question {
				es[i].Second = r.zones.said(ctx, a)
				break
			}
		}
	}
}

// outlived is how long a cache may keep the longest-lived of the old answers that
// differ from the new ones.
func outlived(old, now []*dns.Answer) (d time.Duration) {
	for _, a := range old {
		for _, b := range now {
			if question(a) == question(b) && !a.Agrees(b) {
				d = max(d, a.TTL, a.NegTTL)
			}
		}
	}
	return d
}

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
// resolver. Where they do not answer, or differ, the resolver's word has to do.
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
	server, _, _ := strings.Cut(second.Server, " ")
	return server + ". " + outcome(second)
}

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
// the failure was old; if it fails there as well, what it found there is newer.
func (r *run) again(ctx context.Context, t *task, first Result, p *Probe) Result {
	second, q := r.examine(ctx, t, r.zones)
	res := first
	switch second.Status {
	case Pass:
		t.second = true
		res = second
		if old := outlived(p.answers, q.answers); old > 0 {
			res.Found += " (cached answers still old, up to " + spoken(old) + ")"
		}
		res.NegTTL = max(res.NegTTL, first.NegTTL)
	case Fail:
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

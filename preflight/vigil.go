package preflight

import (
	"context"
	"errors"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// Vigil looks again and again for a person who is mending DNS. What was found
// wrong is asked for at the authoritative servers from then on, past all
// caches, so that a record shows as soon as it is published; all else comes
// from the resolver. It keeps no history and believes what it sees.
type Vigil struct {
	plan   *Plan
	out    Outside
	report *Report

	due   map[string]bool // questions for the authoritative servers
	items []*vigilItem    // all that was ever wrong or waited, as it is now
	told  map[string]bool // what the reports that were printed say to do
	news  time.Time       // of the last change
}

// vigilItem is a finding that was not in order when the watch began, or later.
type vigilItem struct {
	Finding
	bad     time.Time     // last seen to fail
	kept    time.Duration // how long receivers may keep what they were told then
	changed bool          // by the last look
	wrong   bool          // at any time; else it only waited for something else
}

// NewVigil begins a watch.
func NewVigil(p *Plan, o Outside) *Vigil {
	if o.Try != nil {
		o.Try = &patientTrier{Trier: o.Try, pause: p.Policy.Defaults(true).RecheckMin, last: map[string]pastTrial{}}
	}
	if o.Observed == nil {
		o.Observed = NewObservations()
	}
	o.disputes = newDisputes()
	return &Vigil{plan: p, out: o, due: map[string]bool{}, told: map[string]bool{}}
}

// Look looks. When ctx ends meanwhile, nothing has been seen, and it is false.
func (v *Vigil) Look(ctx context.Context) (*Report, bool) {
	began := time.Now()
	o := v.out
	o.DNS = &firsthand{v.out, v.due}
	fs, questions := Run(ctx, v.plan, o)
	if ctx.Err() != nil {
		return nil, false
	}
	now := time.Now()
	r := Judge(v.plan.Learn(o.Observed, now), fs, now)
	r.Host, r.Took, r.Questions = hostName(), now.Sub(began), questions
	v.take(fs, now)
	v.report = r
	return r, true
}

// take notes what a look found.
func (v *Vigil) take(fs []Finding, now time.Time) {
	due := map[string]bool{} // another map: questions of the last run may still be under way
	for q := range v.due {
		due[q] = true
	}
	byKey := map[string]*vigilItem{}
	for _, i := range v.items {
		i.changed = false
		byKey[i.key()] = i
	}
	for _, f := range fs {
		wrong := problem(f)
		if wrong && f.Check.Scope != ScopeHost && f.Check.Scope != ScopeSmartHost && !strings.HasPrefix(f.Check.ID, "DNSBL-") {
			for _, e := range f.Evidence {
				due[e.Question] = true
			}
		}
		i := byKey[f.key()]
		if i == nil && (wrong || f.Status == Skip && f.WaitsFor != "") {
			i = &vigilItem{Finding: f, changed: true}
			v.items = append(v.items, i)
		}
		if i != nil {
			i.see(f, now)
			if i.changed {
				v.news = now
			}
		}
	}
	v.due = due
}

func (i *vigilItem) see(f Finding, now time.Time) {
	i.changed = i.changed || i.Status != f.Status || f.Status == Fail && gist(i.Found) != gist(f.Found)
	i.Finding = f
	i.wrong = i.wrong || problem(f)
	if f.Status == Fail {
		i.bad = now
		// A wrong answer is kept as long as a right one.
		if kept := f.NegTTL; kept > 0 {
			i.kept = max(i.kept, kept)
		} else {
			i.kept = max(i.kept, f.TTL)
		}
	}
}

// until is when the last receiver has forgotten what was wrong; zero when
// nobody can remember it, or it is wrong still.
func (i *vigilItem) until() time.Time {
	if i.Status != Pass || i.kept == 0 || i.bad.IsZero() {
		return time.Time{}
	}
	return i.bad.Add(i.kept)
}

// Done tells whether mail may go direct; strictly, whether nothing is left to do.
func (v *Vigil) Done(strict bool) bool {
	return v.report != nil && (v.report.Overall == Pass || v.report.Overall == Degraded && !strict)
}

// Exit is the exit code of what was seen last: 3 if that is nothing.
func (v *Vigil) Exit() int {
	if v.report == nil {
		return 3
	}
	return v.report.Exit()
}

// Wait is how long to wait before the next look. Somebody who has just changed
// something is likely to watch; nobody watches for hours. Below five seconds
// resolvers repeat the failure they remember (RFC 9520 section 3.2).
func (v *Vigil) Wait() time.Duration {
	switch quiet := time.Since(v.news); {
	case quiet < 2*time.Minute:
		return 5 * time.Second
	case quiet < 10*time.Minute:
		return 15 * time.Second
	case quiet < time.Hour:
		return time.Minute
	}
	return 5 * time.Minute
}

// firsthand is a resolver that asks some questions at the authoritative servers.
type firsthand struct {
	out Outside
	due map[string]bool
}

// Query falls back on the resolver where not all authoritative servers answer.
func (f *firsthand) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	if f.out.Asker != nil && f.due[name+". "+typeName(t)] {
		a, err := dns.AskAuthority(ctx, f.out.DNS, f.out.Asker, f.out.AuthorityPort, name, t)
		if len(a.Mute) == 0 && (!errors.Is(err, dns.ErrTemporary) || a.Server != "") {
			return a, err
		}
	}
	return f.out.DNS.Query(ctx, name, t)
}

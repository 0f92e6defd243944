package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"
)

var spfHeloChecks = []*Check{spfHeloPresent, spfHeloPass}

// spfOfHost is the record of a name that stands for its own addresses only.
const spfOfHost = "v=spf1 a -all"

var spfHeloPresent = &Check{
	ID:       "SPF-HELO-PRESENT",
	Scope:    ScopeSource,
	Title:    "the EHLO name has an SPF record",
	Severity: Recommended,
	Change:   "x",
	Why:      "a bounce has no other sender than the EHLO name; without a record it is judged by guesses",
	Ref:      "RFC 7208 section 10.1.3",
	Needs:    []string{"EGRESS-PUBLIC", "EHLO-PUBLIC-NAME"},
	Words: Words{
		How:       "Asks for TXT of the EHLO name and looks for a record that begins with v=spf1. One passes; a definite answer without one fails.",
		Found:     "mail.example.net has no SPF record (NODATA)",
		Expected:  "one",
		Mend:      `mail.example.net. 3600 IN TXT "v=spf1 a -all"`,
		Do:        Add,
		Ask:       "whoever runs the zone of the EHLO name",
		Basis:     "It asks for a record at the name that bounces are judged by.",
		Receivers: "Those that check the EHLO name by SPF; without a record they learn nothing.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		n := p.spfTree(ctx, p.ehlo())
		switch {
		case len(n.Records) > 0:
			return pass("%s: %s", n.Domain, n.Records[0])
		case !definite(n.Answer):
			return unknown("one", n.Answer)
		}
		r := Remedy{
			Title:   "Publish an SPF record for " + n.Domain,
			Who:     "whoever runs the zone of " + n.Domain,
			Records: []Record{record(Add, n.Domain, "TXT", Quote(spfOfHost))},
		}
		if len(n.Answer.Chain) > 0 {
			r = p.unaliasing(ctx, n.Answer, true)
		}
		return fail(r, "one", "%s has no SPF record (%s)", n.Domain, noRecord(n.Answer))
	},
}

var spfHeloPass = &Check{
	ID:       "SPF-HELO-PASS",
	Scope:    ScopeSource,
	Title:    "the EHLO name's SPF record lets the source pass",
	Severity: Mandatory,
	Change:   "v",
	Why:      "receivers that check the greeting refuse a fail, and bounces are judged by it alone",
	Ref:      "RFC 7208 section 2.3; RFC 7208 section 2.4",
	Needs:    []string{"SPF-HELO-PRESENT"},
	Words: Words{
		How:       "Computes SPF (check_host of RFC 7208) as a receiver does, for the source's address and postmaster@ the EHLO name. Only pass passes. Fail and permerror are failures, softfail and neutral are recommendations; temperror leaves it unknown.",
		Found:     "fail for mail.example.net: no term before -all matches",
		Expected:  "pass",
		Mend:      `mail.example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 a -all"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the EHLO name",
		Quote:     `It is RECOMMENDED that SPF verifiers not only check the "MAIL FROM" identity but also separately check the "HELO" identity ...`,
		Receivers: "Whoever checks SPF of bounces, which have no other sender.",
		Varies:    "recommended where SPF says softfail or neutral",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		ehlo, addr := p.ehlo(), p.addr()
		res := p.evaluate(ctx, addr, ehlo, ehlo, false)
		switch res.Result {
		case spf.Pass:
			return pass("%s passes for %s (%s)", addr, ehlo, p.because(ctx, ehlo, addr, res))
		case spf.TempError:
			return p.undecided(ehlo, res)
		}
		n := p.spfTree(ctx, ehlo)
		r := p.spfRemedy(ctx, n)
		// `a` that finds another address is a fault of the address record.
		named, a := false, p.ask(ctx, ehlo, family(addr))
		for _, t := range n.Terms {
			named = named || t.Name == "a" && !t.Modifier && t.Qualifier == '+' && (t.Domain == "" || strings.EqualFold(t.Domain, ehlo))
		}
		if named && definite(a) && !holds(a, addr) && res.Result != spf.PermError {
			r = p.pointing(ctx, a)
		}
		f := fail(r, "pass", "%s for %s: %s", res.Result, ehlo, p.because(ctx, ehlo, addr, res))
		if res.Result == spf.SoftFail || res.Result == spf.Neutral {
			f.Severity = Recommended
		}
		return f
	},
}

// undecided is the result of an evaluation that a question without answer ended.
func (p *Probe) undecided(domain string, res spfResult) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.answers {
		if !definite(a) {
			return unknown("pass", a)
		}
	}
	return Result{Status: Unknown, Found: fmt.Sprintf("%s for %s: %s", res.Result, domain, reason(res)), Expected: "pass"}
}

// reason says what ended an evaluation, in our words: the evaluator's own may change.
func reason(r spfResult) string {
	for _, why := range []struct {
		err  error
		text string
	}{
		{spf.ErrMatchedAll, "only `all` matches"},
		{spf.ErrMatchedA, "an `a` term matches"},
		{spf.ErrMatchedIP, "an address term matches"},
		{spf.ErrMatchedMX, "an `mx` term matches"},
		{spf.ErrMatchedPTR, "a `ptr` term matches"},
		{spf.ErrMatchedExists, "an `exists` term matches"},
		{spf.ErrLookupLimitReached, "more than 10 look-ups"},
		{spf.ErrVoidLookupLimitReached, "more than 2 look-ups that find nothing"},
		{spf.ErrTooManyMXRecords, "more than 10 exchangers in one `mx`"},
		{spf.ErrMultipleRecords, "more than one record"},
		{spf.ErrNoResult, "a term leads to no record"},
		{spf.ErrUnknownField, "an unknown term"},
		{spf.ErrInvalidIP, "a bad address"},
		{spf.ErrInvalidMask, "a bad prefix length"},
		{spf.ErrInvalidMacro, "a bad macro"},
		{spf.ErrInvalidDomain, "a bad domain"},
	} {
		if errors.Is(r.Err, why.err) {
			return why.text
		}
	}
	if r.Err == nil {
		return "no term matches"
	}
	return r.Err.Error()
}

// spfRemedy is the one change that puts right all that we find wrong with a
// domain's record: findings that share it show it once.
func (p *Probe) spfRemedy(ctx context.Context, n *spfNode) Remedy {
	owner := n.Answer.Name
	r := Remedy{Who: "whoever runs the zone of " + owner, Steps: elsewhere(n.Answer)}
	if len(n.Records) == 0 {
		r.Title = "Publish an SPF record for " + n.Domain
		s := suggestSPF(nil, p.Plan.egresses(), nil)
		r.Records = []Record{record(Add, owner, "TXT", Quote(s.Text))}
		r.Steps = append(r.Steps, "Add your other senders (mailbox provider, newsletter) before you make it -all.")
		return r
	}
	r.Title = "Correct the SPF record of " + n.Domain
	s := p.better(ctx, n)
	r.Records = []Record{record(Replace, owner, "TXT", Quote(s.Text))}
	if added := added(n.Records, s.Text); len(added) > 0 {
		r.Steps = append(r.Steps, "New in it: "+strings.Join(added, " ")+".")
	}
	r.Steps = append(r.Steps, s.Left...)
	return r
}

// added are the address terms of a record that none of the old ones has.
func added(old []string, text string) (all []string) {
	for _, t := range parseSPF(text) {
		there := func(rec string) bool {
			return slices.ContainsFunc(parseSPF(rec), func(o spfTerm) bool { return sameTerm(o.Text, t.Text) || sameTerm(o.Fixed, t.Text) })
		}
		if t.Prefix.IsValid() && !slices.ContainsFunc(old, there) {
			all = append(all, t.Text)
		}
	}
	return all
}

// better is the record with all that can be put right in it. Where it asks for too
// much, terms that let nobody in go; where it is too long, networks are put together.
// A term that evaluators pass over is not given a meaning that leaves too little for
// the others.
func (p *Probe) better(ctx context.Context, n *spfNode) suggestion {
	dead := p.dead(ctx, n)
	suggest := func(more ...func(spfTerm) string) suggestion {
		return suggestSPF(n.Records, p.Plan.egresses(), func(t spfTerm) string {
			why := unwanted(t, dead)
			for _, also := range more {
				why = cmp.Or(why, also(t))
			}
			return why
		})
	}
	s := suggest()
	idle := func(t spfTerm) string { return p.idle(ctx, n, t) }
	if lookups, voids := p.costs(ctx, n.Domain, s.Text); lookups > spfFew || len(voids) > spfVoids {
		s = suggest(idle)
	}
	if lookups, voids := p.costs(ctx, n.Domain, s.Text); lookups > spfLookups || len(voids) > spfVoids {
		s = suggest(idle, passedOver)
	}
	if !n.fits(s.Text) {
		s.Text = packed(s.Text)
	}
	return s
}

func passedOver(t spfTerm) string {
	if t.Mild {
		return "it has counted for nothing, and there is no room for its look-ups"
	}
	return ""
}

// unwanted says why a term has to go, "" for one that stays.
func unwanted(t spfTerm, dead map[string]string) string {
	switch {
	case dead[t.Text] != "":
		return dead[t.Text]
	case t.namesClient():
		return "it is slow and unreliable, and receivers may ignore it (RFC 7208 section 5.5)"
	case t.Modifier:
		return ""
	case tooWide(t):
		return "it lets in a large part of the internet; name the networks that send"
	}
	return ""
}

// tooWide networks make receivers doubt the record.
func tooWide(t spfTerm) bool {
	return t.Prefix.IsValid() && t.Qualifier == '+' && wide(t.Prefix)
}

func wide(net netip.Prefix) bool {
	return net.Addr().Is4() && net.Bits() < 16 || net.Addr().Is6() && net.Bits() < 32
}

// envelope is the domain of the sender's MAIL FROM.
func (p *Probe) envelope() string {
	return p.Sender.envelope()
}

// spfSeverity is how much the sender's record matters by Policy.SPF.
func (p *Probe) spfSeverity() Severity {
	if p.Plan.Policy.SPF == "warn" {
		return Recommended
	}
	return ""
}

// spfSources are the sources for which SPF of a sender can be evaluated: without
// one, nothing can be said.
func (p *Probe) spfSources() (all []*Source) {
	usable := p.Plan.egresses()
	for i := range p.Plan.Sources {
		if slices.Contains(usable, p.Plan.egress(&p.Plan.Sources[i])) {
			all = append(all, &p.Plan.Sources[i])
		}
	}
	return all
}

// evaluations of the sender for each source; helo is what the source greets with.
func (p *Probe) evaluations(ctx context.Context, far bool) (all []spfResult) {
	for _, s := range p.spfSources() {
		all = append(all, p.evaluate(ctx, p.Plan.egress(s), s.EHLO, p.envelope(), far))
	}
	return all
}

package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"
	"golang.org/x/net/publicsuffix"

	"smtprelay/preflight/dns"
)

// What a receiver computes of a message before it reads it: which domain SPF
// vouches for, which the signature does, and whether one of them is the author's.

var authChecks = []*Check{authAny, authAligned}

// proof is what a message of the sender has to show, sent by the source.
type proof struct {
	domain   string // that SPF is evaluated for
	spf      spfResult
	keys     []string // selectors of keys that a receiver can use
	unusable []string // those it cannot, and why
	open     *dns.Answer
}

func (p *Probe) proof(ctx context.Context) (pr proof) {
	pr.domain = p.envelope()
	if p.Sender.null() { // RFC 7208 section 2.4
		pr.domain = p.ehlo()
	}
	if pr.domain == "" {
		pr.spf.Result = spf.None
	} else {
		pr.spf = p.evaluate(ctx, p.addr(), p.Source.EHLO, pr.domain, false)
	}
	for _, k := range p.Sender.Keys {
		why, open := p.useless(ctx, k)
		switch {
		case open != nil:
			pr.open = open
		case why != "":
			pr.unusable = append(pr.unusable, k.Selector+" "+why)
		default:
			pr.keys = append(pr.keys, k.Selector)
		}
	}
	return pr
}

// useless says why a receiver can make nothing of a signature by a key.
func (p *Probe) useless(ctx context.Context, k Key) (why string, open *dns.Answer) {
	a, texts := p.keyRecord(ctx, k)
	want, err := parseDKIM(k.wanted(texts))
	switch {
	case !definite(a):
		return "", a
	case len(texts) == 0:
		return "is not published", nil
	case len(texts) > 1 || err != nil:
		return "cannot be read", nil
	}
	got, err := parseDKIM(texts[0])
	switch {
	case err != nil || !got.same(want):
		return "is another key", nil
	case !got.verifies():
		return "is not one that receivers verify by", nil
	}
	return "", nil
}

// missing is the result when an answer is missing that could have made it a pass;
// nil when there is none.
func (p *Probe) missing(pr proof, expected string) *Result {
	var r Result
	switch {
	case pr.spf.Result == spf.TempError:
		r = p.undecided(pr.domain, pr.spf)
	case pr.open != nil:
		r = unknown(expected, pr.open)
	default:
		return nil
	}
	r.Expected = expected
	return &r
}

// String says what there is to show.
func (pr proof) String() string {
	s := fmt.Sprintf("SPF %s for %s", pr.spf.Result, pr.domain)
	if pr.domain == "" {
		s = "no SPF: there is no EHLO name"
	}
	switch {
	case len(pr.keys) > 0:
		return s + ", DKIM " + list(pr.keys)
	case len(pr.unusable) > 0:
		return s + ", DKIM key " + list(pr.unusable)
	}
	return s + ", no DKIM key"
}

var authAny = &Check{
	ID:       "AUTH-ANY",
	Scope:    ScopePair,
	Title:    "SPF or DKIM vouches for mail of the sender domain",
	Severity: Mandatory,
	Change:   "v",
	Why:      "Gmail (5.7.26) and Yahoo (5.7.9) refuse mail that neither SPF nor DKIM vouches for",
	Needs:    []string{"EGRESS-PUBLIC"},
	Words: Words{
		How:      "Takes the result of SPF for the source and the MAIL FROM domain (the EHLO name where there is no sender), and looks which of our keys a receiver could verify by: published, equal to ours, strong enough. One of the two passes; neither fails, unless an answer is missing.",
		Found:    "neither: SPF softfail for example.net, no DKIM key",
		Expected: "one",
		Mend:     `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
		Do:       Replace,
		Ask:      "whoever runs the zone of the domain; for DKIM you",
		Basis:    `No standard demands it. Google's guidelines for senders: "Set up SPF or DKIM email authentication for your sending domains."`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		pr := p.proof(ctx)
		if pr.spf.Result == spf.Pass || len(pr.keys) > 0 {
			return pass("%s", pr)
		}
		if r := p.missing(pr, "one"); r != nil {
			return *r
		}
		return fail(p.vouching(ctx, pr), "one", "neither: %s", pr)
	},
}

// vouching has SPF vouch for the sender, or the EHLO name for the null sender.
func (p *Probe) vouching(ctx context.Context, pr proof) Remedy {
	if pr.domain == "" {
		return p.signing(ctx)
	}
	r := p.spfRemedy(ctx, p.spfTree(ctx, pr.domain))
	r.Steps = append(r.Steps, "Then sign as well: forwarded mail passes by DKIM alone.")
	return r
}

// signing has DKIM vouch for it: by the keys there are, else by a new one.
func (p *Probe) signing(ctx context.Context) Remedy {
	r := p.keyRemedy()
	for _, k := range p.Sender.Keys {
		want, err := parseDKIM(k.Record)
		if a, texts := p.keyRecord(ctx, k); err == nil && want.verifies() && definite(a) {
			r.Records = append(r.Records, publishing(a, texts, k)...)
			r.Steps = append(r.Steps, elsewhere(a)...)
		}
	}
	switch {
	case len(r.Records) > 0:
		return r
	case len(p.Sender.Keys) > 0:
		return p.rotation()
	}
	return p.firstKey()
}

var authAligned = &Check{
	ID:       "AUTH-ALIGNED",
	Scope:    ScopePair,
	Title:    "what SPF or DKIM vouches for is the domain of the From header",
	Severity: Recommended,
	Change:   "x",
	Why:      "without it DMARC fails: a policy of quarantine or reject then has receivers refuse the domain's own mail, and Gmail (4.7.32) and Outlook (5.7.515) ask it of all larger senders",
	Ref:      "RFC 9989 section 5.1; RFC 9989 section 4.4; RFC 9989 section 4.10.2",
	Needs:    []string{"EGRESS-PUBLIC"},
	Words: Words{
		How:      "Computes what DMARC will say: DKIM by a key of ours, which signs for the From domain, or SPF pass for a domain of the same organisation (found by the walk up the tree; the same domain where aspf=s). One of them passes. Neither fails, unless an answer is missing.",
		Found:    "SPF softfail for example.net, no DKIM key, From example.net; p=reject",
		Expected: "one aligned",
		Mend:     "relay dkim new example.net",
		Ask:      "you; for SPF whoever runs the zone of the domain",
		Quote:    "Send email that produces at least one -- preferably two -- Authenticated Identifiers (Section 3.2.1) that align with the Author Domain",
		Varies:   "mandatory where the policy that applies is quarantine or reject (without t=y), or where an answer that would say so is missing",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		const expected = "one aligned"
		pr, author := p.proof(ctx), p.walk(ctx, p.Sender.Domain)
		rec, open := author.applies()
		if rec == nil {
			rec = &placed{dmarcRecord: dmarcRecord{Policy: "none"}, domain: author.start}
		}
		bySPF, unsure := p.aligned(ctx, pr.domain, author, rec.StrictSPF)
		note := suffixNote(pr, author.start, bySPF, rec.StrictSPF, unsure)
		if len(pr.keys) > 0 || pr.spf.Result == spf.Pass && bySPF && (open == nil || pr.domain == author.start) {
			return pass("%s, From %s%s", pr, author.start, note) // our keys sign with d= the From domain
		}
		asks, unsaid := p.policy(ctx, author, rec)
		severity := Severity("")
		if enforces(asks) && !rec.Test || matters(open) || unsaid != nil {
			severity = Mandatory
		}
		r := p.missing(pr, expected)
		for _, a := range []*dns.Answer{open, unsaid, unsure} {
			if r == nil && a != nil && (a != unsure || pr.spf.Result == spf.Pass) {
				u := unknown(expected, a)
				r = &u
			}
		}
		if r == nil {
			f := fail(p.aligning(ctx, pr, bySPF), expected, "%s, From %s; %s%s", pr, author.start, asking(asks, rec), note)
			r = &f
		}
		r.Severity = severity
		return *r
	},
}

// matters tells whether an answer that did not come may hide a policy. That of a
// public suffix speaks for next to nobody: its silence holds no mail.
func matters(open *dns.Answer) bool {
	if open == nil {
		return false
	}
	name := strings.TrimPrefix(open.Question, dmarcQuestion)
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix != name
}

func asking(policy string, rec *placed) string {
	s := "p=" + policy
	if rec.Text == "" {
		s = "no DMARC record"
	}
	if rec.Test {
		s += " (t=y)"
	}
	if rec.StrictSPF {
		s += ", aspf=s"
	}
	return s
}

// suffixNote says where the public suffix list, by which older receivers judge,
// sees another organisation than the records do.
func suffixNote(pr proof, author string, aligned, strict bool, open *dns.Answer) string {
	byList := organisation(pr.domain) == organisation(author)
	switch {
	case strict || open != nil || pr.domain == "" || byList == aligned:
		return ""
	case byList:
		return fmt.Sprintf("; by the public suffix list %s and %s are one organisation, by their DMARC records they are not", pr.domain, author)
	}
	return fmt.Sprintf("; by the public suffix list %s and %s are two organisations, by their DMARC records one", pr.domain, author)
}

// aligning has one of the two vouch for the From domain: SPF where it would speak
// for it, else DKIM.
func (p *Probe) aligning(ctx context.Context, pr proof, bySPF bool) Remedy {
	if bySPF && pr.domain != "" {
		return p.vouching(ctx, pr)
	}
	r := p.signing(ctx)
	if !p.Sender.null() {
		r.Steps = append(slices.Clip(r.Steps), fmt.Sprintf("Or send with an envelope in %s.", strings.TrimPrefix(p.Sender.Domain, ".")))
	}
	return r
}

package preflight

import (
	"context"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

var dkimChecks = []*Check{dkimConfigured, dkimPublished, dkimMatchesKey, dkimStrength, dkimFlags}

var dkimConfigured = &Check{
	ID:       "DKIM-CONFIGURED",
	Scope:    ScopeSender,
	Title:    "mail of the sender domain is signed",
	Severity: Recommended,
	Change:   "x",
	Why:      "Gmail, Yahoo and Outlook want larger senders to sign, and forwarded mail passes by nothing else",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:      "Looks whether the [[domain]] has a key under `dkim`. Nothing is asked of DNS.",
		Found:    "no DKIM key for example.net",
		Expected: "one",
		Mend:     "relay dkim new example.net",
		Ask:      "you",
		Basis:    "No standard demands it. Google and Microsoft ask it of whoever sends them more than 5,000 messages a day, Yahoo of whoever sends in bulk.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		if n := len(p.Sender.Keys); n > 0 {
			return pass("%s", list(selectors(p.Sender.Keys)))
		}
		return fail(p.firstKey(), "one", "no DKIM key for %s", p.Sender.Domain)
	},
}

// firstKey has the relay make a key and sign with it.
func (p *Probe) firstKey() Remedy {
	return Remedy{
		Title:   "Make a DKIM key for " + p.Sender.Domain,
		Who:     "you",
		Setting: `dkim = ["k1"]`,
		Under:   "the [[domain]] named " + p.Sender.Domain,
		Steps:   []string{"relay dkim new " + p.Sender.Domain},
	}
}

func selectors(ks []Key) (all []string) {
	for _, k := range ks {
		all = append(all, k.Selector)
	}
	return all
}

// keyRecord asks for the record of a selector, and finds the TXT texts there
// that are to be a key.
// wanted is the record that a key wants published. Of a server that is not ours it
// is the one that stands, if that is one.
func (k Key) wanted(texts []string) string {
	if k.Record == "" && len(texts) == 1 {
		return texts[0]
	}
	return k.Record
}

func (p *Probe) keyRecord(ctx context.Context, k Key) (a *dns.Answer, texts []string) {
	a = p.ask(ctx, k.Selector+"._domainkey."+p.Sender.Domain, dns.TypeTXT)
	for _, r := range a.Records {
		texts = append(texts, r.Text)
	}
	return a, texts
}

// publishing has a key's record stand alone at its selector.
func publishing(a *dns.Answer, texts []string, k Key) []Record {
	if k.Record == "" { // of a server that is not ours
		return nil
	}
	rs := []Record{record(Add, a.Name, "TXT", Quote(k.Record))}
	if len(texts) > 0 {
		rs[0].Do = Replace
	}
	for _, t := range texts {
		if !strings.HasPrefix(compact(t), "v=dkim1") { // Replace leaves what has no version tag
			rs = append([]Record{record(Remove, a.Name, "TXT", Quote(t))}, rs...)
		}
	}
	return rs
}

func compact(s string) string {
	return strings.ToLower(strings.Join(strings.Fields(s), ""))
}

func (p *Probe) keyRemedy() Remedy {
	r := Remedy{
		Title: "Publish the DKIM keys of " + p.Sender.Domain,
		Who:   "whoever runs the zone of " + p.Sender.Domain,
	}
	if p.Plan.Foreign {
		r.Steps = []string{"The record follows from the key that the server signs with."}
	}
	return r
}

var dkimPublished = &Check{
	ID:       "DKIM-PUBLISHED",
	Scope:    ScopeSender,
	Title:    "the DKIM keys are published",
	Severity: Recommended,
	Change:   "x",
	Why:      "a signature whose key cannot be found counts as none",
	Ref:      "RFC 6376 section 3.6.2.1",
	Needs:    []string{"DKIM-CONFIGURED"},
	Words: Words{
		How:      "Asks for TXT at SELECTOR._domainkey.DOMAIN of each key, following aliases. There has to be one record, and its p= must not be empty, which means revoked.",
		Found:    "k1._domainkey.example.net: NXDOMAIN",
		Expected: "one record",
		Mend:     `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
		Do:       Add,
		Ask:      "whoever runs the zone of the domain",
		Quote:    `All DKIM keys are stored in a subdomain named "_domainkey".`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		r := p.keyRemedy()
		var found []string
		for _, k := range p.Sender.Keys {
			a, texts := p.keyRecord(ctx, k)
			what := ""
			switch {
			case !definite(a):
				return unknown("one record", a)
			case a.Outcome != dns.Present:
				what = outcome(a)
			case len(texts) > 1:
				what = fmt.Sprintf("%d records", len(texts))
			default:
				if key, err := parseDKIM(texts[0]); err == nil && key.Data == nil {
					what = "revoked (p= is empty)"
				}
			}
			if what != "" {
				found = append(found, fmt.Sprintf("%s: %s", a.Question, what))
				r.Records = append(r.Records, publishing(a, texts, k)...)
				r.Steps = append(r.Steps, elsewhere(a)...)
			}
		}
		if len(found) > 0 {
			return fail(r, "one record", "%s", list(found))
		}
		return pass("%s published", list(selectors(p.Sender.Keys)))
	},
}

var dkimMatchesKey = &Check{
	ID:       "DKIM-MATCHES-KEY",
	Scope:    ScopeSender,
	Title:    "the published DKIM keys are ours",
	Severity: Recommended,
	Change:   "^",
	Why:      "a signature that does not verify counts as none: Gmail (4.7.30, 5.7.30) refuses larger senders for that, and filters score it",
	Ref:      "RFC 6376 section 6.1.3",
	Needs:    []string{"DKIM-PUBLISHED"},
	Here:     true,
	Words: Words{
		How:      "Compares the public key in DNS with that of the file on disk, in whichever of the two forms an RSA key is written, and the kind of key. Another key, or a record that cannot be read, fails. Each is shown by the beginning of its SHA-256.",
		Found:    "k1._domainkey.example.net is another key (rsa, sha256 ab12cd34..)",
		Expected: "rsa, sha256 ab12cd34..",
		Mend:     `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
		Do:       Replace,
		Ask:      "whoever runs the zone of the domain",
		Quote:    "If the signature does not validate, the Verifier SHOULD ignore the signature and return PERMFAIL (signature did not verify).",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		r := p.keyRemedy()
		var found, expected []string
		for _, k := range p.Sender.Keys {
			a, texts := p.keyRecord(ctx, k)
			if !definite(a) {
				return unknown("our key", a)
			}
			want, err := parseDKIM(k.Record)
			if err != nil {
				found = append(found, fmt.Sprintf("the key %s of %s cannot be read: %v", k.Selector, p.Sender.Domain, err))
				continue
			}
			what := "is no key: nothing is there"
			if len(texts) > 0 {
				got, err := parseDKIM(texts[0])
				if err == nil && got.same(want) {
					continue
				}
				what = fmt.Sprintf("is another key (%s)", got)
				if err != nil {
					what = fmt.Sprintf("is no key: %v", err)
				}
			}
			found = append(found, a.Question+" "+what)
			expected = append(expected, want.String())
			r.Records = append(r.Records, publishing(a, texts, k)...)
			r.Steps = append(r.Steps, elsewhere(a)...)
		}
		if len(found) > 0 {
			return fail(r, list(expected), "%s", list(found))
		}
		return pass("%s ok", list(selectors(p.Sender.Keys)))
	},
}

package preflight

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

var dkimChecks = []*Check{dkimConfigured, dkimPublished, dkimMatchesKey}

var dkimConfigured = &Check{
	ID:       "DKIM-CONFIGURED",
	Scope:    ScopeSender,
	Title:    "mail of the sender domain is signed",
	Severity: Recommended,
	Change:   "x",
	Why:      "Gmail, Yahoo and Outlook want larger senders to sign, and forwarded mail passes by nothing else",
	Ref:      "RFC 6376 section 1",
	Needs:    []string{"DNS-REACHABLE"},
	Run: func(_ context.Context, p *Probe) Result {
		if n := len(p.Sender.Keys); n > 0 {
			return pass("%s", list(selectors(p.Sender.Keys)))
		}
		return fail(Remedy{
			Title:   "Make a DKIM key for " + p.Sender.Domain,
			Who:     "you",
			Setting: `dkim = ["k1"]`,
			Steps: []string{
				"relay dkim new " + p.Sender.Domain,
				"The key comes first; then the setting goes under the [[domain]] named " + p.Sender.Domain + ".",
			},
		}, "one", "no DKIM key for %s", p.Sender.Domain)
	},
}

func selectors(ks []Key) (all []string) {
	for _, k := range ks {
		all = append(all, k.Selector)
	}
	return all
}

// keyRecord asks for the record of a selector, and finds the TXT texts there
// that are to be a key.
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
	Ref:      "RFC 6376 section 3.6.2",
	Needs:    []string{"DKIM-CONFIGURED"},
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
	Why:      "a signature that does not verify is worse than none: it looks like forged mail",
	Ref:      "RFC 6376 section 3.6.1",
	Needs:    []string{"DKIM-PUBLISHED"},
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

// dkimKey is what a key record holds (RFC 6376 section 3.6.1).
type dkimKey struct {
	Kind string // k=, "rsa" when it is not said
	Data []byte // p=, nil for a revoked key
}

// String names the key without printing it whole.
func (k dkimKey) String() string {
	sum := sha256.Sum256(k.canonical())
	return fmt.Sprintf("%s, sha256 %x..", k.Kind, sum[:4])
}

func (k dkimKey) same(other dkimKey) bool {
	return k.Kind == other.Kind && k.Data != nil && string(k.canonical()) == string(other.canonical())
}

// canonical is the key in one form: RSA keys are published as
// SubjectPublicKeyInfo or as bare PKCS #1, which verifiers take for the same.
func (k dkimKey) canonical() []byte {
	if k.Kind != "rsa" {
		return k.Data
	}
	if key, err := x509.ParsePKCS1PublicKey(k.Data); err == nil {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			return der
		}
	}
	return k.Data
}

var (
	errTagTwice = errors.New("a tag stands twice")
	errNoTag    = errors.New("not a list of tag=value")
)

// tags reads the tag-list of DKIM and DMARC (RFC 6376 section 3.2). The first
// tag is returned apart, since it has to be the version.
func tags(s string) (all map[string]string, first string, err error) {
	all = map[string]string{}
	for i, part := range strings.Split(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		tag, value, ok := strings.Cut(part, "=")
		tag = strings.TrimSpace(tag)
		if !ok || tag == "" {
			return nil, "", errNoTag
		}
		if _, twice := all[tag]; twice {
			return nil, "", errTagTwice
		}
		if i == 0 {
			first = tag
		}
		all[tag] = strings.TrimSpace(value)
	}
	return all, first, nil
}

// parseDKIM reads a key record. The key itself is not looked into.
func parseDKIM(txt string) (dkimKey, error) {
	all, first, err := tags(txt)
	if err != nil {
		return dkimKey{}, err
	}
	if v, ok := all["v"]; ok && (v != "DKIM1" || first != "v") {
		return dkimKey{}, errors.New("the version is not a leading v=DKIM1")
	}
	p, ok := all["p"]
	if !ok {
		return dkimKey{}, errors.New("it has no p=")
	}
	k := dkimKey{Kind: "rsa"}
	if kind, ok := all["k"]; ok {
		k.Kind = strings.ToLower(kind)
	}
	p = strings.Join(strings.Fields(p), "")
	if p == "" {
		return k, nil
	}
	if k.Data, err = base64.StdEncoding.DecodeString(p); err != nil {
		return dkimKey{}, errors.New("its p= is not base64")
	}
	return k, nil
}

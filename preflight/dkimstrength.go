package preflight

import (
	"context"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

const (
	rsaLeast = 1024 // RFC 8301 section 3.2: verifiers must not take less for a signature
	rsaGood  = 2048
)

var dkimStrength = &Check{
	ID:       "DKIM-STRENGTH",
	Scope:    ScopeSender,
	Title:    "the DKIM keys are strong, and of a kind that everybody verifies",
	Severity: Recommended,
	Change:   "x",
	Why:      "a signature by an RSA key under 1024 bits counts as none, and keys under 2048 bits are going the same way",
	Ref:      "RFC 8301 section 3.2; RFC 8463 section 3",
	Needs:    []string{"DKIM-CONFIGURED"},
	Words: Words{
		How:       "Reads each key. RSA under 2048 bits fails, and under 1024 bits it is said that it counts as no signature. Ed25519 passes beside an RSA key; alone it is noted.",
		Found:     "k1 rsa 1024",
		Expected:  "rsa >=2048",
		Mend:      "relay dkim new example.net --selector k2",
		Ask:       "you",
		Quote:     "Signers MUST use RSA keys of at least 1024 bits for all keys.",
		Receivers: "Verifiers take an RSA key under 1024 bits for none.",
		Varies:    "informational where there is only an Ed25519 key",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		var weak, good, other []string
		least := rsaGood
		for _, k := range p.Sender.Keys {
			text := k.Record
			if text == "" {
				a, texts := p.keyRecord(ctx, k)
				if text = k.wanted(texts); text == "" && definite(a) {
					continue // DKIM-PUBLISHED says so
				} else if text == "" {
					return unknown("rsa >=2048", a)
				}
			}
			key, err := parseDKIM(text)
			switch bits := key.bits(); {
			case err != nil:
				weak = append(weak, fmt.Sprintf("%s cannot be read: %v", k.Selector, err))
			case bits == 0:
				other = append(other, k.Selector+" "+key.Kind)
			case bits < rsaGood:
				weak, least = append(weak, fmt.Sprintf("%s rsa %d", k.Selector, bits)), min(least, bits)
			default:
				good = append(good, fmt.Sprintf("%s rsa %d", k.Selector, bits))
			}
		}
		switch {
		case len(weak) > 0 && least < rsaLeast:
			return fail(p.rotation(), "rsa >=2048", "%s, which counts as no signature", list(weak))
		case len(weak) > 0:
			return fail(p.rotation(), "rsa >=2048", "%s", list(weak))
		case len(good)+len(other) == 0:
			return awaits("DKIM-PUBLISHED")
		case len(good) == 0:
			r := fail(p.rotation(), "an rsa key beside it", "only %s, which many receivers do not verify yet", list(other))
			r.Severity = Informational
			return r
		}
		return pass("%s", list(append(good, other...)))
	},
}

// rotation makes a key of today's kind under a selector that is free, and keeps
// those of the keys there are that are strong enough.
func (p *Probe) rotation() Remedy {
	used := map[string]bool{}
	var kept []string
	for _, k := range p.Sender.Keys {
		used[k.Selector] = true
		if key, err := parseDKIM(k.Record); err == nil && (key.bits() >= rsaGood || key.Kind == "ed25519") {
			kept = append(kept, fmt.Sprintf("%q", k.Selector))
		}
	}
	next := "k2"
	for i := 2; used[next]; i++ {
		next = fmt.Sprintf("k%d", i)
	}
	return Remedy{
		Title:   "Make a new DKIM key for " + p.Sender.Domain,
		Who:     "you",
		Setting: fmt.Sprintf("dkim = [%s]", list(append(kept, fmt.Sprintf("%q", next)))),
		Under:   "the [[domain]] named " + p.Sender.Domain,
		Steps: []string{
			fmt.Sprintf("relay dkim new %s --selector %s", p.Sender.Domain, next),
			"Leave the old record where it is for a week: mail on its way is still signed with it.",
		},
	}
}

var dkimFlags = &Check{
	ID:       "DKIM-FLAGS",
	Scope:    ScopeSender,
	Title:    "nothing in the DKIM records limits what the keys are good for",
	Severity: Recommended,
	Change:   "x",
	Why:      "mail signed with a key in testing counts as unsigned, and one that is not for email or sha256 verifies nothing",
	Ref:      "RFC 6376 section 3.6.1",
	Needs:    []string{"DKIM-MATCHES-KEY"},
	Words: Words{
		How:       "Reads the published record of each key. t=y (testing), an s= without email or * and an h= without sha256 fail.",
		Found:     "k1._domainkey.example.net: t=y (testing)",
		Expected:  "none",
		Mend:      `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "Verifiers MUST NOT treat messages from Signers in testing mode differently from unsigned email, even should the signature fail to verify.",
		Receivers: "Verifiers, which treat such mail as unsigned.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		r := p.keyRemedy()
		var found []string
		for _, k := range p.Sender.Keys {
			a, texts := p.keyRecord(ctx, k)
			if a.Outcome != dns.Present || len(texts) != 1 { // others say so
				continue
			}
			key, err := parseDKIM(texts[0])
			if limits := key.limits(); err == nil && len(limits) > 0 {
				found = append(found, fmt.Sprintf("%s: %s", a.Question, strings.Join(limits, ", ")))
				r.Records = append(r.Records, publishing(a, texts, k)...)
				r.Steps = append(r.Steps, elsewhere(a)...)
			}
		}
		if len(found) > 0 {
			return fail(r, "none", "%s", list(found))
		}
		return pass("none that matters")
	},
}

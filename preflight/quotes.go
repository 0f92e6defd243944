package preflight

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// A reply that quotes a name or an address is about us only if that is what we
// said, or what we are: an exchanger may pass on what another told it of another
// sender, and any may quote a recipient in whose address the words of a code stand.

// Of tells whether a reply so classed can be about us: where it quotes an EHLO
// name or a sender domain, that is ours, and what it was known by is not a word of
// the envelope.
func (c Class) Of(r Reply) bool {
	text := strings.ToLower(strings.Join(strings.Fields(r.Text), " "))
	if name, ok := quotedHelo(text); ok && c.names(ScopeSource) && r.EHLO != "" && !strings.EqualFold(strings.TrimSuffix(r.EHLO, "."), name) {
		return false
	}
	if ds := quotedDomains(text); len(ds) > 0 && c.names(ScopeSender, ScopePair) && !slices.ContainsFunc(ds, r.ours) {
		return false
	}
	again, ok := Classify(Operator(r.Host), r.Stage, r.Code, r.Status, withoutCodes(text, r.Envelope))
	return ok && again.Row == c.Row
}

func (c Class) names(scopes ...Scope) bool {
	return slices.ContainsFunc(c.Checks, func(id string) bool {
		check := byID(id)
		return check != nil && slices.Contains(scopes, check.Scope)
	})
}

// ours tells whether a domain that is quoted is one that this mail is of, or one
// above or below it: receivers speak of the organisation as well.
func (r Reply) ours(quoted string) bool {
	return slices.ContainsFunc([]string{r.Mail.Envelope, r.Mail.Author, strings.ToLower(r.EHLO)}, func(d string) bool {
		d = strings.TrimSuffix(d, ".")
		return d != "" && (d == quoted || strings.HasSuffix(d, "."+quoted) || strings.HasSuffix(quoted, "."+d))
	})
}

var heloWords = regexp.MustCompile(`<([^<> ]*)>: helo command rejected|helo/ehlo argument "([^" ]*)"`)

func quotedHelo(text string) (name string, ok bool) {
	m := heloWords.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return strings.TrimSuffix(m[1]+m[2], "."), true
}

// domainWords come before the sender domain that a reply is about.
var domainWords = regexp.MustCompile(`(?:\b(?:domain|email from|spf|due to)[ :=]+\[?|[?;&]id=(?:[^;&@ ]*(?:@|%40))?|<[^<> ]*@)([a-z0-9_-]+(?:\.[a-z0-9_-]+)+)(>: sender address rejected)?`)

func quotedDomains(text string) (ds []string) {
	for _, m := range domainWords.FindAllStringSubmatch(text, -1) {
		mailbox, sender := strings.HasPrefix(m[0], "<"), m[2] != ""
		if d, err := dns.Canonical(m[1]); err == nil && mailbox == sender && !isAddress(d) {
			ds = append(ds, d)
		}
	}
	return ds
}

func isAddress(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

// withoutCodes is a text without the local parts of an envelope that might be
// taken for a receiver's code, as "sc-001" is one.
func withoutCodes(text string, envelope []string) string {
	for _, address := range envelope {
		local, _, _ := strings.Cut(strings.ToLower(address), "@")
		if local == "" || !strings.ContainsAny(local, "0123456789") {
			continue
		}
		for at := past(text, local); at >= 0; at = past(text, local) {
			text = text[:at-len(local)] + text[at:]
		}
	}
	return text
}

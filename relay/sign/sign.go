// Package sign signs messages with DKIM (RFC 6376), streaming: only the header
// is held in memory. Every live key of the author's domain signs, RSA for
// everyone and Ed25519 (RFC 8463) for those who read it. The header is capped
// and taken apart before the signing library sees it, so that no message can
// make signing slow, and the fields a reader looks at are oversigned, so that
// none can be added on the way.
package sign

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

// Signer signs with the keys it was given. It may be used concurrently.
type Signer struct {
	keys map[string][]Key // by domain
	live func(domain, selector string) bool
}

// New makes a Signer of the keys of o.
func New(o Options) *Signer {
	s := &Signer{keys: map[string][]Key{}, live: o.Live}
	if s.live == nil {
		s.live = func(string, string) bool { return true }
	}
	for _, k := range o.Keys {
		k.Domain = strings.ToLower(k.Domain)
		s.keys[k.Domain] = append(s.keys[k.Domain], k)
	}
	return s
}

// Sign reads a whole message, lines ended by CRLF, and returns the
// DKIM-Signature fields to put before it, each ended by CRLF. They are nil when
// neither the domain nor a parent of it has a live key. It returns an error for
// a message that cannot be signed so that every verifier agrees: one whose
// header is too large or malformed, one without exactly one From, one with a
// bare CR or LF.
func (s *Signer) Sign(domain string, r io.Reader) ([]byte, error) {
	keys := s.choose(domain)
	if len(keys) == 0 {
		return nil, nil
	}
	h, body, err := readHeader(r)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	names, err := h.names()
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	out, err := sign(keys, names, io.MultiReader(h.reader(), body))
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	return out, nil
}

// choose returns the live keys of the domain, or of its nearest parent that has
// any: a parent's signature is aligned in DMARC's relaxed mode.
func (s *Signer) choose(domain string) []Key {
	domain = strings.ToLower(domain)
	for strings.Contains(domain, ".") {
		var live []Key
		for _, k := range s.keys[domain] {
			if s.live(k.Domain, k.Selector) {
				live = append(live, k)
			}
		}
		if len(live) > 0 {
			return live
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return nil
}

// sign passes the message once through a signer for each key.
func sign(keys []Key, names []string, r io.Reader) (out []byte, err error) {
	var signers []*dkim.Signer
	closeAll := func() error {
		var errs []error
		for _, d := range signers {
			errs = append(errs, d.Close())
		}
		signers = nil
		return errors.Join(errs...)
	}
	defer closeAll() // a signer never closed leaves its goroutine behind

	var ws []io.Writer
	for _, k := range keys {
		d, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: k.Signer, HeaderKeys: names,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return nil, fmt.Errorf("key %s of %s: %w", k.Selector, k.Domain, err)
		}
		signers, ws = append(signers, d), append(ws, d)
	}
	if _, err := io.Copy(io.MultiWriter(ws...), r); err != nil {
		return nil, err
	}
	done := signers
	if err := closeAll(); err != nil {
		return nil, err
	}
	for _, d := range done {
		out = append(out, fold(d.Signature())...)
	}
	return out, nil
}

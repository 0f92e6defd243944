// Package sign signs messages with DKIM (RFC 6376), streaming: only the header
// is held in memory. Every live key of the author's domain signs, RSA for
// everyone and Ed25519 (RFC 8463) for those who read it; header and body are
// read and brought into their relaxed form once for all of them. The header is
// capped, so that no message can make signing slow, and the fields a reader looks
// at are oversigned, so that none can be added on the way.
package sign

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
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
	w := works.Get().(*work)
	defer works.Put(w)
	out, err := w.sign(keys, r)
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

// work is what signing a message needs; it is used again for the next.
type work struct {
	br     *bufio.Reader
	header header
	body   body
	hashed []byte // the relaxed header fields that are signed
	piece  [flushAt]byte
}

var works = sync.Pool{New: func() any {
	return &work{br: bufio.NewReader(nil), body: body{sum: sha256.New()}}
}}

// sign reads the message once, and makes a field for each key.
func (w *work) sign(keys []Key, r io.Reader) (out []byte, err error) {
	w.br.Reset(r)
	defer w.br.Reset(nil)
	if err := w.header.read(w.br); err != nil {
		return nil, err
	}
	names, hashed, err := w.header.choice(w.hashed[:0])
	if err != nil {
		return nil, err
	}
	w.hashed = hashed
	w.body.reset()
	for {
		n, err := w.br.Read(w.piece[:])
		if _, bad := w.body.Write(w.piece[:n]); bad != nil {
			return nil, bad
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	sum, err := w.body.end()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if out, err = k.sign(out, names, hashed, sum); err != nil {
			return nil, fmt.Errorf("key %s of %s: %w", k.Selector, k.Domain, err)
		}
	}
	return out, nil
}

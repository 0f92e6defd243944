// Package policy says what a connection must prove before mail goes over it. A
// demand is data: whoever has one returns a Requirement, Merge joins them, and
// the session enforces the sum. Nothing here dials or sends.
package policy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Level of protection that is asked for. A higher one includes the lower.
type Level int

const (
	// Never: TLS is not even tried; for a way that is the operator's own.
	Never Level = iota - 1
	// Opportunistic: TLS where it is offered, with any certificate, and clear
	// text where it fails: better than clear text always (RFC 7435).
	Opportunistic
	// Encrypted: TLS with any certificate, or no mail.
	Encrypted
	// Verified: TLS with a certificate that proves the name, or no mail.
	Verified
)

// Requirement is what one policy demands of a connection. The zero value
// demands nothing.
type Requirement struct {
	Source string         // who demands it: "smarthost", "auth"; "" where nothing is demanded
	Level  Level          // see there
	Names  []string       // Verified: any of these in the certificate
	Roots  *x509.CertPool // Verified: who may have issued it; nil: the system's
}

// ErrUnmet: the peer's TLS does not satisfy the requirement.
var ErrUnmet = errors.New("certificate is not acceptable")

// Merge is the only place that knows how demands combine: the highest level
// wins, with all that was asked on that level. Names asked for by several must
// hold for each, so they are intersected.
func Merge(rs ...Requirement) Requirement {
	var sum Requirement
	for i, r := range rs {
		switch {
		case i == 0 || r.Level > sum.Level:
			sum = r
		case r.Level == sum.Level && r.Level == Verified:
			sum = both(sum, r)
		}
	}
	return sum
}

func both(a, b Requirement) Requirement {
	names := []string{}
	for _, n := range a.Names {
		if slices.ContainsFunc(b.Names, func(m string) bool { return strings.EqualFold(n, m) }) {
			names = append(names, n)
		}
	}
	a.Names = names
	switch {
	case a.Roots == nil:
		a.Roots = b.Roots
	case b.Roots != nil && !a.Roots.Equal(b.Roots):
		a.Names = nil // two issuers at once: nothing can satisfy that
	}
	a.Source += "+" + b.Source
	return a
}

// Met tells whether a finished handshake satisfies r; the error wraps ErrUnmet.
func (r Requirement) Met(s tls.ConnectionState) error {
	if r.Level < Verified {
		return nil
	}
	return Verify(s, r.Names, r.Roots)
}

// Verify checks the peer's chain against roots (nil: the system's) and its name
// against any of names. The error wraps ErrUnmet.
func Verify(s tls.ConnectionState, names []string, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return fmt.Errorf("%w: none was shown", ErrUnmet)
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return fmt.Errorf("%w: %w", ErrUnmet, err)
	}
	for _, n := range names {
		if leaf.VerifyHostname(n) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: it is not for %s", ErrUnmet, strings.Join(names, " or "))
}

package deliver

import (
	"crypto/tls"
	"errors"
	"strings"

	"smtprelay/relay/policy"
)

var (
	errInjected = errors.New("plain text came before the TLS handshake")
	errNoTLS    = errors.New("TLS is required and not offered")
)

// handshakeError is a TLS handshake that did not succeed.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// secure starts TLS where that is offered and wanted (RFC 3207).
func (s *session) secure(clear bool) error {
	if clear || s.tlsName != "" || s.need.Level == policy.Never {
		return nil
	}
	if !s.has("STARTTLS") {
		return s.orClear(errNoTLS)
	}
	if _, err := s.command(s.t.Greet, 2, "STARTTLS"); err != nil {
		switch {
		case !answered(err):
			return &handshakeError{err} // some close where they should answer
		case s.dead:
			return err
		}
		s.botched = true
		return s.orClear(err)
	}
	if s.in.buffered() > 0 {
		return errInjected // someone on the way answers for the peer
	}
	if err := s.handshake(); err != nil {
		return err
	}
	return at("ehlo", s.hello()) // what was said in clear text does not count (RFC 3207 section 4.2)
}

// orClear is err where TLS is demanded, nil where mail may go without.
func (s *session) orClear(err error) error {
	if s.need.Level >= policy.Encrypted {
		return err
	}
	return nil
}

func (s *session) handshake() error {
	conf := &tls.Config{
		ServerName:         s.host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // the requirement says what must be verified
		VerifyConnection:   s.need.Met,
	}
	c := tls.Client(s.conn, conf)
	s.conn.SetDeadline(s.deadline(s.t.Greet))
	if err := c.Handshake(); err != nil {
		return &handshakeError{err}
	}
	s.tls = c.ConnectionState()
	s.tlsName = strings.ReplaceAll(tls.VersionName(s.tls.Version), " ", "")
	s.use(c)
	return nil
}

package deliver

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/relay/policy"
)

// login is what a smart host knows us by.
type login struct {
	user     string
	password preflight.Secret
}

var (
	errAuthClear     = errors.New("the password is sent over TLS only")
	errAuthMissing   = errors.New("neither AUTH PLAIN nor AUTH LOGIN is offered")
	errAuthPrompts   = errors.New("AUTH LOGIN asks for more than a name and a password")
	errAuthForbidden = errors.New("user name or password has a NUL octet in it")
)

// authenticate logs in where the hop has a login (RFC 4954).
func (s *session) authenticate() error {
	if s.login == nil {
		return nil
	}
	if s.tlsName == "" && s.need.Level != policy.Never {
		return errAuthClear
	}
	mechs := strings.Fields(strings.ToUpper(s.ext["AUTH"]))
	switch {
	case slices.Contains(mechs, "PLAIN"):
		return s.authPlain()
	case slices.Contains(mechs, "LOGIN"):
		return s.authLogin()
	}
	return errAuthMissing
}

// authPlain is RFC 4616 with an initial response.
func (s *session) authPlain() error {
	if strings.Contains(s.login.user+string(s.login.password), "\x00") {
		return errAuthForbidden
	}
	word := "\x00" + s.login.user + "\x00" + string(s.login.password)
	_, err := s.command(s.t.Mail, 2, "AUTH PLAIN "+encode(word))
	return err
}

// authLogin answers the first question with the name and the second with the
// password, however the questions are worded: servers do not agree on that.
func (s *session) authLogin() error {
	line := "AUTH LOGIN"
	for _, answer := range []string{s.login.user, string(s.login.password)} {
		if _, err := s.command(s.t.Mail, 3, line); err != nil {
			return err
		}
		line = encode(answer)
	}
	r, err := s.command(s.t.Mail, 2, line)
	if r.code/100 == 3 {
		return errAuthPrompts
	}
	return err
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

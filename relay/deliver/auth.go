package deliver

import (
	"encoding/base64"
	"errors"
	"net/textproto"
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
	errAuthAnswer    = errors.New("the answer to AUTH is no SMTP reply")
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
		return s.login.unsaid(s.authPlain())
	case slices.Contains(mechs, "LOGIN"):
		return s.login.unsaid(s.authLogin())
	}
	return errAuthMissing
}

// unsaid is err without the password: some servers quote a line that they do not
// understand, and what they answer is logged and kept.
func (l *login) unsaid(err error) error {
	var pe textproto.ProtocolError
	if errors.As(err, &pe) {
		return errAuthAnswer // a quote may be cut short, so that nothing finds it
	}
	said, ok := remote(err)
	if !ok {
		return err
	}
	text := strings.ToLower(said.text)
	for _, secret := range []string{string(l.password), encode(string(l.password)), encode(l.plain())} {
		if secret != "" && strings.Contains(text, strings.ToLower(secret)) {
			status, _, _ := strings.Cut(said.text, " ")
			return &textproto.Error{Code: said.code, Msg: strings.TrimSpace(enhanced.FindString(status+" ") + "(it quoted the password)")}
		}
	}
	return err
}

func (l *login) plain() string { return "\x00" + l.user + "\x00" + string(l.password) }

// authPlain is RFC 4616 with an initial response.
func (s *session) authPlain() error {
	if strings.Contains(s.login.user+string(s.login.password), "\x00") {
		return errAuthForbidden
	}
	_, err := s.command(s.t.Mail, 2, "AUTH PLAIN "+encode(s.login.plain()))
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

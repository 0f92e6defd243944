package submit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"smtprelay/queue"
)

// refusal is a definite or temporary no, ready to be told to the client.
type refusal struct {
	code   int
	status string // "5.7.1"
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s %s", r.code, r.status, r.text) }

func refuse(code int, status, format string, args ...any) error {
	return &refusal{code: code, status: status, text: fmt.Sprintf(format, args...)}
}

// errDropped: the connection broke within a message; nobody hears the reply.
var errDropped = errors.New("message broke off")

// errChunk is how go-smtp learns that a chunk broke off: it passes it on.
var errChunk = smtpError(421, "4.4.2", "the message broke off")

// reply is the only place where an error becomes what a client hears. It
// returns a bare *smtp.SMTPError, or nil for nil: anything else go-smtp would
// take for permanent and quote. What is not known to be the client's fault is
// ours, temporary, and its text stays in the log.
func (s *session) reply(err error) error {
	var r *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return smtpError(r.code, r.status, r.text)
	case errors.Is(err, errDropped):
		return smtpError(451, "4.4.2", "the message broke off, try again later")
	case errors.Is(err, queue.ErrFull):
		s.srv.log.Error("message not accepted", "remote", s.remote, "err", err.Error())
		return smtpError(452, "4.3.1", "no space left, try again later")
	default:
		s.srv.log.Error("message not accepted", "remote", s.remote, "err", err.Error())
		return smtpError(451, "4.3.0", "local trouble, try again later")
	}
}

// queued is the reply to a message that is safe. It is an error only in type:
// go-smtp has no other way to say more than "OK".
func queued(id queue.ID) error {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "queued as " + string(id)}
}

// smtpError keeps text to one line of ASCII, or of UTF-8 without controls.
func smtpError(code int, status, text string) error {
	var e smtp.EnhancedCode
	for i, p := range strings.SplitN(status, ".", 3) {
		n, err := strconv.Atoi(p)
		if err != nil {
			n = 0
		}
		e[i] = n
	}
	if e[0] != code/100 {
		e = smtp.EnhancedCode{code / 100, 0, 0}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return &smtp.SMTPError{Code: code, EnhancedCode: e, Message: text}
}

package deliver

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"smtprelay/queue"
	"smtprelay/relay/dial"
	"smtprelay/relay/policy"
)

// This file is the only place that decides what trouble means: which error fails
// a recipient, which puts it off, whether another exchanger is worth a try, and
// whether the fault is ours. What is not explained here is temporary.

// decision is an end that we came to without a remote's word.
type decision struct {
	status string        // RFC 3463
	why    string        // in our words
	final  bool          // the recipient fails; else it waits
	ours   bool          // our own verdict or fault
	wait   time.Duration // try again after this; 0: the schedule's
	awaits string        // nothing was tried: the queue is woken when this has come about
}

func (d *decision) Error() string { return d.status + " " + d.why }

// absent is a denial that may be a mistake of the moment: a zone being edited, a
// lame server. It is believed when it is seen twice, confirmAfter apart.
type absent struct{ decision }

const (
	confirmAfter = 15 * time.Minute
	confirmWait  = 17 * time.Minute // before the second look; the schedule spreads it by a tenth
)

// confirm says what a denial means for one recipient, by what its last try saw.
func (a *absent) confirm(last queue.Attempt) *decision {
	d := a.decision
	if last.Stage == "resolve" && last.Reply.Status == d.status && last.Reply.Code == 0 &&
		time.Since(last.At) >= confirmAfter {
		d.final = true
		return &d
	}
	d.wait = confirmWait
	return &d
}

// local is a fault on our side in the middle of a transaction: the stored body
// cannot be read, or the queue cannot take the mark before the final dot.
type local struct{ err error }

func (l *local) Error() string { return l.err.Error() }
func (l *local) Unwrap() error { return l.err }

// book says how a try ended: a comes with who, where and when, and gets its
// outcome. err is nil when the message was taken with the reply r. elsewhere
// tells whether another exchanger may be tried at once.
func book(a queue.Attempt, err error, r reply) (_ queue.Attempt, elsewhere bool) {
	a.Took = time.Since(a.At)
	var f *fault
	if errors.As(err, &f) {
		a.Stage, a.TLS = f.stage, cmp.Or(a.TLS, f.tls)
	}
	if err == nil {
		a.Stage, a.Outcome, a.Reply = "dot", queue.Sent, apart(r)
		return a, false
	}
	var d *decision
	if errors.As(err, &d) {
		return d.book(a), false
	}
	a.Outcome = queue.Deferred
	var l *local
	switch said, ok := remote(err); {
	case errors.As(err, &l):
		a.Ours = true
		a.Why = printable(l.Error(), 200)
		return a, false
	case ok:
		a.Reply = apart(said)
		return answeredWith(a, said, f != nil && f.botched)
	}
	a.Why = why(err)
	a.Ours = a.Source == smartName && (a.Stage == "starttls" || a.Stage == "auth" || errors.Is(err, dial.ErrForbidden)) || bindFault(err)
	// The final dot may have arrived: another exchanger would make a second
	// copy certain where it is only possible.
	return a, a.Stage != "dot"
}

// wantsMore are the codes by which a server asks for AUTH or TLS, or for more of
// it (RFC 4954 section 6, RFC 5248).
var wantsMore = []int{523, 524, 530, 534, 535, 538}

// answeredWith judges a 4xx or 5xx. Before MAIL a 5xx speaks of us or of the
// exchanger, not of the message: another may take it, and blocks are lifted
// (RFC 5321 section 4.2.1 leaves that to the client).
func answeredWith(a queue.Attempt, said reply, botched bool) (queue.Attempt, bool) {
	smart := a.Source == smartName
	switch a.Stage {
	case "mail", "rcpt", "data", "dot":
		switch {
		case smart && slices.Contains(wantsMore, said.code):
			a.Ours = true // it wants AUTH or TLS from us: no fault of the message
		case said.code == 530 && botched:
			// It wants TLS first, which may work next time.
		case said.code >= 500:
			a.Outcome = queue.Refused
			return a, false
		}
	case "starttls", "auth":
		a.Ours = smart
	}
	return a, true
}

func (d *decision) book(a queue.Attempt) queue.Attempt {
	a.Outcome = queue.Deferred
	if d.final {
		a.Outcome = queue.Refused
	}
	a.Why, a.Ours, a.Wait, a.Awaits = d.why, d.ours, d.wait, d.awaits
	a.Reply.Status = d.status
	return a
}

// remote is the 4xx or 5xx inside err. textproto quotes a reply's text in its
// error strings, so the parts are taken and the string is not.
func remote(err error) (reply, bool) {
	var te *textproto.Error
	if errors.As(err, &te) {
		return reply{te.Code, te.Msg}, true
	}
	return reply{}, false
}

// enhanced is RFC 2034's: the class stands apart so that it can be compared.
var enhanced = regexp.MustCompile(`^([245])\.\d{1,3}\.\d{1,3}(?: |$)`)

const (
	keepLine  = 512
	keepReply = 4 << 10
)

// apart makes a reply safe to keep: printable ASCII within bounds, and the
// enhanced status code out of the text. A status of another class than the code
// is only text (RFC 2034 section 4).
func apart(r reply) queue.Reply {
	q := queue.Reply{Code: r.code}
	var lines []string
	left := keepReply
	for line := range strings.SplitSeq(r.text, "\n") {
		line = printable(line, min(keepLine, left))
		if m := enhanced.FindStringSubmatch(line); m != nil && int(m[1][0]-'0') == r.code/100 {
			if q.Status == "" {
				q.Status = strings.TrimSpace(m[0])
			}
			if q.Status == strings.TrimSpace(m[0]) {
				line = line[len(m[0]):]
			}
		}
		lines = append(lines, line)
		if left -= len(line) + 1; left <= 0 {
			break
		}
	}
	q.Text = strings.TrimRight(strings.Join(lines, "\n"), "\n")
	return q
}

// printable is at most n octets of s with all that is not printable ASCII as "?".
func printable(s string, n int) string {
	b := []byte(s[:min(n, len(s))])
	for i, c := range b {
		switch {
		case c == '\t':
			b[i] = ' '
		case c < ' ' || c > '~':
			b[i] = '?'
		}
	}
	return string(b)
}

// why tells an error in a few words of ours, without addresses and ports.
func why(err error) string {
	var pe textproto.ProtocolError
	var hs *handshakeError
	var ne net.Error
	switch {
	case errors.As(err, &pe):
		return string(pe)
	case errors.As(err, &hs) && !errors.Is(hs, os.ErrDeadlineExceeded):
		return "TLS handshake: " + tlsWhy(hs.err)
	case errors.Is(err, dial.ErrForbidden):
		return printable(err.Error(), 200)
	case errors.As(err, &ne) && ne.Timeout():
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection lost"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error() // "connection refused", "no route to host"
	}
	var f *fault
	if errors.As(err, &f) {
		err = f.err
	}
	return printable(err.Error(), 200)
}

// tlsWhy keeps certificate trouble readable and never quotes a remote's octets raw.
func tlsWhy(err error) string {
	var head tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &head):
		return "the answer is not TLS"
	case errors.As(err, &unknown):
		return policy.ErrUnmet.Error() + ": unknown authority"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "connection lost"
	}
	return printable(err.Error(), 200)
}

// bindFault: our own address is not there to send from.
func bindFault(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }

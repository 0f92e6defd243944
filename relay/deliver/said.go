package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"strings"
	"syscall"

	"smtprelay/queue"
	"smtprelay/relay/dial"
	"smtprelay/relay/policy"
)

// What is kept of a remote's words and of errors: safe to store, to show and to
// put into a notice.

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

package deliver

import (
	"bufio"
	"errors"
	"io"
	"net/textproto"
	"strings"
)

// Bounds of one reply. RFC 5321 section 4.5.3.1.5 allows lines of 512 octets;
// what real servers send is longer, what hostile ones send has no end.
const (
	maxReplyLine  = 1000
	maxReplyLines = 100
	maxReply      = 64 << 10
)

// reply of a remote as it came: raw text, not yet safe to keep or show.
type reply struct {
	code int
	text string // of all lines, joined by "\n"
}

// replies reads replies from a connection. net/textproto reads lines of any
// length and replies of any size, so the reading is ours; its error types say
// what came.
type replies struct {
	br *bufio.Reader
}

func newReplies(r io.Reader) replies {
	return replies{bufio.NewReaderSize(r, maxReplyLine)} // a line that does not fit is too long
}

// buffered is how much has come beyond the replies read.
func (r replies) buffered() int { return r.br.Buffered() }

// next reads one reply, of any number of lines. The error is of the connection,
// or a textproto.ProtocolError when what came is no reply (RFC 5321 section 4.2).
func (r replies) next() (reply, error) {
	var first int
	var lines []string
	for size := 0; ; {
		line, err := r.line()
		if err != nil {
			return reply{}, err
		}
		code, text, more, ok := parseLine(line)
		size += len(line)
		switch {
		case !ok:
			return reply{}, textproto.ProtocolError("not an SMTP reply: " + printable(line, 80))
		case first != 0 && code != first:
			return reply{}, textproto.ProtocolError("the code changes within a reply")
		case len(lines) == maxReplyLines || size > maxReply:
			return reply{}, textproto.ProtocolError("the reply has no end")
		}
		if !more && lines == nil {
			return reply{code, text}, nil
		}
		first = code
		lines = append(lines, text)
		if !more {
			return reply{code, strings.Join(lines, "\n")}, nil
		}
	}
}

// line is one line without its end. A line that the connection's end cut off
// is not a line.
func (r replies) line() (string, error) {
	b, err := r.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", textproto.ProtocolError("the reply line is too long")
	case err == io.EOF && len(b) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimSuffix(string(b[:len(b)-1]), "\r"), nil
}

// parseLine takes "250-text" apart. Codes from 200 to 599 are codes: the second
// digit of those in the wild is not always one of RFC 5321.
func parseLine(s string) (code int, text string, more, ok bool) {
	if len(s) < 3 {
		return 0, "", false, false
	}
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, "", false, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, "", false, false
	}
	if len(s) == 3 {
		return code, "", false, true
	}
	if s[3] != ' ' && s[3] != '-' {
		return 0, "", false, false
	}
	return code, s[4:], s[3] == '-', true
}

// want is nil when r is of a class (2 or 3). A 4xx or 5xx is a
// *textproto.Error, anything else a textproto.ProtocolError.
func (r reply) want(class int) error {
	switch r.code / 100 {
	case class:
		return nil
	case 4, 5:
		return &textproto.Error{Code: r.code, Msg: r.text}
	}
	return textproto.ProtocolError("an answer out of turn: " + printable(r.text, 80))
}

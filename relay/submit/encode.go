package submit

import (
	"encoding/base64"
	"fmt"
	"io"
)

// encoder makes narrow lines of a leaf's content. Content comes in pieces of
// any length with CRLF line ends.
type encoder interface {
	add(b []byte) error
	// end is told whether a boundary follows: the last CRLF is then no content
	// but part of it (RFC 2046 section 5.1.1).
	end(boundary bool) error
}

const narrow = 76 // octets of an encoded line (RFC 2045 sections 6.7 and 6.8)

// quoted writes quoted-printable (RFC 2045 section 6.7), of text or of what is
// quoted-printable already and only has lines that are too wide.
type quoted struct {
	w       io.Writer
	encoded bool
	col     int
	space   byte   // a space or tab not written yet: it must not end a line
	escape  []byte // of encoded content: "=", "=X" not written yet
	out     []byte
}

func (q *quoted) add(b []byte) error {
	q.out = q.out[:0]
	for _, c := range b {
		switch {
		case c == '\r': // the text is normalised: LF comes next
		case c == '\n':
			q.endLine()
		case q.encoded:
			q.keep(c)
		default:
			q.quote(c)
		}
	}
	_, err := q.w.Write(q.out)
	return err
}

func (q *quoted) end(bool) error {
	q.out = q.out[:0]
	q.put(string(q.escape))
	q.escape = nil
	if q.space != 0 {
		q.put(fmt.Sprintf("=%02X", q.space))
		q.space = 0
	}
	_, err := q.w.Write(q.out)
	return err
}

func (q *quoted) endLine() {
	if q.space != 0 {
		q.put(fmt.Sprintf("=%02X", q.space))
	}
	q.put(string(q.escape)) // "=": a soft line break
	q.out = append(q.out, "\r\n"...)
	q.col, q.space, q.escape = 0, 0, nil
}

// quote writes an octet of plain text.
func (q *quoted) quote(c byte) {
	if q.space != 0 {
		q.put(string(rune(q.space)))
		q.space = 0
	}
	switch {
	case c == ' ' || c == '\t':
		q.space = c
	case c > ' ' && c <= '~' && c != '=':
		q.put(string(rune(c)))
	default:
		q.put(fmt.Sprintf("=%02X", c))
	}
}

// keep writes an octet of what is quoted already; an escape stays in one piece.
func (q *quoted) keep(c byte) {
	if c == '=' || len(q.escape) > 0 {
		q.escape = append(q.escape, c)
		if len(q.escape) < 3 {
			return
		}
		q.put(string(q.escape))
		q.escape = nil
		return
	}
	if c >= 0x80 { // it does not belong here; this is what it must be
		q.put(fmt.Sprintf("=%02X", c))
		return
	}
	q.put(string(rune(c)))
}

// put writes what must stay in one piece, after a soft line break where the
// line is full. A line made so cannot be taken for a boundary.
func (q *quoted) put(piece string) {
	if piece == "" {
		return
	}
	if q.col+len(piece) > narrow-1 && piece != "=" {
		q.out = append(q.out, "=\r\n"...)
		q.col = 0
		if piece == "-" {
			piece = "=2D"
		}
	}
	q.out = append(q.out, piece...)
	q.col += len(piece)
}

// base64Lines wraps what is base64 already.
type base64Lines struct {
	w   io.Writer
	col int
}

func (l *base64Lines) add(b []byte) error {
	_, err := l.Write(b)
	return err
}

func (l *base64Lines) Write(b []byte) (int, error) {
	out := make([]byte, 0, len(b)+len(b)/narrow*2+2)
	for _, c := range b {
		switch c {
		case '\r', '\n', ' ', '\t':
			continue
		}
		if l.col == narrow {
			out = append(out, "\r\n"...)
			l.col = 0
		}
		out = append(out, c)
		l.col++
	}
	_, err := l.w.Write(out)
	return len(b), err
}

func (l *base64Lines) end(bool) error {
	_, err := io.WriteString(l.w, "\r\n")
	return err
}

// binary writes base64 of the content, the line ends included.
type binary struct {
	lines *base64Lines
	enc   io.WriteCloser
	held  []byte // a CR, LF or CRLF that may turn out to belong to a boundary
}

func newBinary(w io.Writer) *binary {
	l := &base64Lines{w: w}
	return &binary{lines: l, enc: base64.NewEncoder(base64.StdEncoding, l)}
}

func (e *binary) add(b []byte) error {
	if string(e.held) == "\r" && b[0] == '\n' {
		e.held = []byte("\r\n")
		b = b[1:]
	}
	if len(b) == 0 {
		return nil
	}
	if _, err := e.enc.Write(e.held); err != nil {
		return err
	}
	n := len(b)
	for n > 0 && len(b)-n < 2 && (b[n-1] == '\r' || b[n-1] == '\n') {
		n--
	}
	e.held = append([]byte(nil), b[n:]...)
	_, err := e.enc.Write(b[:n])
	return err
}

func (e *binary) end(boundary bool) error {
	if !boundary {
		if _, err := e.enc.Write(e.held); err != nil {
			return err
		}
	}
	if err := e.enc.Close(); err != nil {
		return err
	}
	return e.lines.end(boundary)
}

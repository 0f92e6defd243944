package submit

import (
	"bytes"
	"io"
)

// dots is where the reading of a DATA body stands. Only CRLF.CRLF ends it, and
// a dot at the start of a line is there for that reason alone (RFC 5321
// sections 4.1.1.4 and 4.5.2). The LF of CRCRLF ends no line: who sends that may
// not have stuffed the dot behind it, and is refused at the end. go-smtp reads the
// same way, but an octet at a time, and it drops a CR after a leading dot: here
// that stays, to be refused.
type dots int

const (
	lineStart  dots = iota // after CRLF, or at the very start
	afterDot               // after the dot there
	afterDotCR             // and a CR
	within                 // a line
	afterCR                // that may end it
	ended
)

// unstuff copies from b, what came over the wire, to p. used is how much of b
// has been dealt with: all, unless p is full or the body has ended.
func (s *dots) unstuff(p, b []byte) (n, used int) {
	for used < len(b) && n < len(p) && *s != ended {
		switch c := b[used]; {
		case *s == lineStart && c == '.':
			*s = afterDot
			used++
		case *s == afterDot && c == '\r':
			*s = afterDotCR
			used++
		case *s == lineStart, *s == afterDot:
			*s = within
		case *s == afterDotCR && c == '\n':
			*s = ended
			used++
		case *s == afterDotCR:
			p[n] = '\r'
			n++
			*s = afterCR // which is right about any octet but LF
		case *s == afterCR:
			p[n] = c
			n++
			used++
			if *s = within; c == '\n' {
				*s = lineStart
			}
		default:
			rest := b[used:]
			if i := bytes.IndexByte(rest, '\r'); i >= 0 {
				rest = rest[:i+1]
			}
			k := copy(p[n:], rest)
			if rest[k-1] == '\r' {
				*s = afterCR
			}
			n += k
			used += k
		}
	}
	return n, used
}

// data reads the body of a DATA command, up to its end, which is io.EOF.
type data struct{ d *dialogue }

func (r data) Read(p []byte) (n int, err error) {
	d := r.d
	for n == 0 && len(p) > 0 {
		if d.dots == ended {
			return 0, io.EOF
		}
		if d.cut {
			return 0, io.ErrUnexpectedEOF
		}
		if err := d.peek(); err != nil {
			d.cut = true
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		b, _ := d.in.Peek(d.in.Buffered())
		var used int
		n, used = d.dots.unstuff(p, b)
		d.in.Discard(used) //nolint:errcheck // it is buffered
	}
	return n, nil
}

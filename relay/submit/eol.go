package submit

import (
	"bytes"
	bin "encoding/binary"
	"io"
)

// text reads a message as a client sent it and yields what may go on: every
// line ends in CRLF, the last one too. A bare LF is mended and counted; a bare
// CR or a NUL is refused, since some receiver might take it for a line end and
// find a second message in this one (RFC 5321 section 2.3.8). It stops at a
// size limit, and it keeps apart what the client did from a connection that
// broke.
type text struct {
	r     io.Reader
	limit int64 // octets, as they are sent

	size int64 // octets read
	bare int   // LFs without CR
	cr   bool  // the last octet read was a CR, not yet yielded
	mid  bool  // within a line
	buf  []byte
	out  []byte // of buf, not yet read
	end  error  // what comes after out
}

var (
	errBareCR = refuse(550, "5.6.11", "the message has a CR that is not part of CRLF: lines end in CRLF")
	errNUL    = refuse(550, "5.6.11", "the message has a NUL: what is not text must be encoded")
)

func (t *text) Read(p []byte) (n int, err error) {
	for n == 0 && len(p) > 0 {
		switch {
		case len(t.out) > 0:
			n = copy(p, t.out)
			t.out = t.out[n:]
		case t.end != nil:
			return 0, t.end
		default:
			n = t.fill(p)
		}
	}
	return n, nil
}

// fill reads once, into p. What came stays there when it is good as it is: n
// octets. What is not is mended, or refused, on the side: n is 0.
func (t *text) fill(p []byte) (n int) {
	n, err := t.r.Read(p)
	t.size += int64(n)
	switch {
	case t.size > t.limit:
		t.end = tooLarge(t.limit)
		return 0
	case err != nil && err != io.EOF:
		t.end = &broken{err}
		return 0
	case err == nil && !t.cr && clean(p[:n]):
		t.mid = n > 0 && p[n-1] != '\n' || n == 0 && t.mid
		return n
	}
	t.buf = t.buf[:0]
	if bad := t.convert(p[:n]); bad != nil {
		t.end = bad
		return 0
	}
	if err == io.EOF {
		t.end = io.EOF
		switch {
		case t.cr:
			t.end = errBareCR
			return 0
		case t.mid:
			t.buf = append(t.buf, "\r\n"...)
		}
	}
	t.out = t.buf
	return 0
}

// clean says whether there is no NUL in b, no CR without LF, no LF without CR.
func clean(b []byte) bool {
	lines := 0
	for rest := b; ; lines++ {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i == 0 || rest[i-1] != '\r' {
			return false
		}
		rest = rest[i+1:]
	}
	return bytes.Count(b, []byte{'\r'}) == lines && bytes.IndexByte(b, 0) < 0
}

func (t *text) convert(p []byte) error {
	for len(p) > 0 {
		switch c := p[0]; {
		case c == '\n':
			if !t.cr {
				t.bare++
			}
			t.buf = append(t.buf, "\r\n"...)
			t.cr, t.mid = false, false
			p = p[1:]
		case t.cr:
			return errBareCR
		case c == '\r':
			t.cr = true
			p = p[1:]
		case c == 0:
			return errNUL
		default:
			i := bytes.IndexAny(p, "\r\n\x00")
			if i < 0 {
				i = len(p)
			}
			t.buf = append(t.buf, p[:i]...)
			t.mid = true
			p = p[i:]
		}
	}
	return nil
}

// broken says that the client's message cannot be read to its end.
type broken struct{ err error }

func (b *broken) Error() string { return "read message: " + b.err.Error() }
func (b *broken) Unwrap() error { return b.err }

// ruler measures what is written through it.
type ruler struct {
	w      io.Writer
	n      int64 // octets
	at     int   // octets of the line so far,
	widest int   // of the longest one, without CRLF
	eight  bool  // there are octets beyond ASCII
}

func (r *ruler) Write(p []byte) (int, error) {
	r.n += int64(len(p))
	for q := p; len(q) > 0; {
		i := bytes.IndexByte(q, '\n')
		if i < 0 {
			r.at += len(q)
			r.widest = max(r.widest, r.at-1) // the last octet may be the CR
			break
		}
		r.widest = max(r.widest, r.at+i-1)
		r.at = 0
		q = q[i+1:]
	}
	r.eight = r.eight || !ascii(p)
	return r.w.Write(p)
}

// ascii looks at eight octets at a time.
func ascii(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if bin.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

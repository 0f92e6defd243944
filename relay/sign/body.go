package sign

import (
	"errors"
	"hash"
)

var crlf, space = []byte("\r\n"), []byte(" ")

var errBare = errors.New("a CR or LF stands alone")

// body hashes the relaxed form of a body (RFC 6376 section 3.4.4): white space at the
// ends of lines goes, elsewhere it becomes one space, and empty lines at the end go. A
// line end that is not CRLF is an error: what is signed is what will be sent.
type body struct {
	sum   hash.Hash
	buf   []byte // of the relaxed form, not hashed yet
	cr    bool   // the last octet was CR
	space bool   // there was white space in the line, after its last octet that is none
	ends  int    // of lines, since the last octet that is no white space
	some  bool   // there was such an octet
}

func (b *body) reset() {
	b.sum.Reset()
	*b = body{sum: b.sum, buf: b.buf[:0]}
}

func (b *body) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		c := p[i]
		if b.cr != (c == '\n') {
			return i, errBare
		}
		b.cr = c == '\r'
		switch c {
		case '\r':
			i++
			continue
		case '\n':
			b.ends++
			b.space = false
			i++
			continue
		case ' ', '\t':
			b.space = true
			i++
			continue
		}
		for ; b.ends > 0; b.ends-- {
			b.put(crlf)
		}
		if b.space {
			b.put(space)
			b.space = false
		}
		from := i
		for i++; i < len(p) && p[i] > ' '; i++ {
		}
		b.some = true
		b.put(p[from:i])
	}
	return len(p), nil
}

// flushAt is how much of the relaxed form is hashed at once.
const flushAt = 4 << 10

// put adds to the relaxed form.
func (b *body) put(text []byte) {
	if len(b.buf)+len(text) > flushAt {
		b.sum.Write(b.buf)
		b.buf = b.buf[:0]
	}
	if len(text) > flushAt {
		b.sum.Write(text)
		return
	}
	b.buf = append(b.buf, text...)
}

// end is the hash of the whole.
func (b *body) end() ([]byte, error) {
	if b.cr {
		return nil, errBare
	}
	if b.some {
		b.put(crlf)
	}
	b.sum.Write(b.buf)
	return b.sum.Sum(nil), nil
}

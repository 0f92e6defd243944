package deliver

import (
	"bytes"
	"errors"
	"io"
)

// errBareEnd: the message has a CR or LF that stands alone. Receivers differ in
// what they take for the end of a message, so such a message is never sent
// (RFC 5321 section 2.3.8).
var errBareEnd = errors.New("the stored message has a bare CR or LF")

// dotWriter puts a message on the wire as RFC 5321 section 4.5.2 wants it: a dot
// is put before every line that begins with one. It changes no other octet.
type dotWriter struct {
	w    io.Writer
	mid  bool // in the middle of a line
	cr   bool // the last octet was a CR, whose LF is still to come
	fail error
}

// Write stuffs p. After an error every Write fails.
func (d *dotWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.fail == nil {
		rest := p[n:]
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		d.piece(rest[:end])
		n += end
	}
	if d.fail != nil {
		return 0, d.fail
	}
	return n, nil
}

// piece writes what is a line, or a part of one.
func (d *dotWriter) piece(p []byte) {
	if !clean(p, d.cr) {
		d.fail = errBareEnd
		return
	}
	if !d.mid && p[0] == '.' {
		d.put([]byte("."))
	}
	d.put(p)
	last := p[len(p)-1]
	d.mid, d.cr = last != '\n', last == '\r'
}

// clean tells whether every CR in p has its LF and every LF its CR; cr says that
// a CR came just before. A CR at the very end is judged with the next piece.
func clean(p []byte, cr bool) bool {
	if cr && p[0] != '\n' {
		return false
	}
	for i := 0; ; {
		j := bytes.IndexAny(p[i:], "\r\n")
		if j < 0 {
			return true
		}
		at := i + j
		switch {
		case p[at] == '\n' && (at > 0 || !cr):
			return false
		case p[at] == '\r' && at+1 < len(p):
			if p[at+1] != '\n' {
				return false
			}
			at++ // its LF
		}
		if i = at + 1; i >= len(p) {
			return true
		}
	}
}

// finish ends the last line where the message did not. The final dot is not its
// business.
func (d *dotWriter) finish() error {
	if d.fail == nil && d.cr {
		d.fail = errBareEnd
	}
	if d.fail == nil && d.mid {
		d.put([]byte("\r\n"))
		d.mid = false
	}
	return d.fail
}

func (d *dotWriter) put(p []byte) {
	if d.fail == nil {
		_, d.fail = d.w.Write(p)
	}
}

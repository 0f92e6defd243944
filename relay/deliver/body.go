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
	put := 0 // of p
	for at := 0; at < len(p) && d.fail == nil; {
		line := p[at:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		if !clean(line, d.cr) {
			d.fail = errBareEnd
			break
		}
		if !d.mid && line[0] == '.' {
			d.put(p[put : at+1]) // and once more with what follows
			put = at
		}
		last := line[len(line)-1]
		d.mid, d.cr = last != '\n', last == '\r'
		at += len(line)
	}
	if d.put(p[put:]); d.fail != nil {
		return 0, d.fail
	}
	return len(p), nil
}

// clean tells whether in a line, or a part of one, every CR has its LF and the LF
// its CR; cr says that a CR came just before. A CR at the very end is judged with
// what comes next.
func clean(line []byte, cr bool) bool {
	at, end := bytes.IndexByte(line, '\r'), len(line)-1
	if cr {
		return line[0] == '\n'
	}
	if line[end] == '\n' {
		return at >= 0 && at == end-1
	}
	return at < 0 || at == end
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

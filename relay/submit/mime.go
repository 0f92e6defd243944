package submit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
)

// Bounds on the structure that a walk follows.
const (
	maxDepth    = 20
	maxParts    = 1000
	maxBoundary = 500 // octets; RFC 2046 section 5.1.1 has 70
)

// part is what a header says of the body below it (RFC 2045, RFC 2046).
type part struct {
	n        int    // position among all parts, from 0
	top      bool   // a message's own header, the innermost's too
	media    string // "text/html", lower case
	encoding string // Content-Transfer-Encoding, lower case; "" when not given
	boundary string // of a multipart
	begun    bool   // its first delimiter was seen
	signed   bool   // within a multipart/signed: not an octet of it may change
}

// multi says whether parts follow.
func (p part) multi() bool { return p.boundary != "" }

// nested says whether another message follows, header first.
func (p part) nested() bool {
	return (p.media == "message/rfc822" || p.media == "message/global") && p.identity()
}

// identity says whether the body stands as it is.
func (p part) identity() bool {
	switch p.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// visitor is told what a walk comes by, in order.
type visitor interface {
	head(p part, h header, bare bool) error // a header; bare: no empty line follows it
	leaf(p part, b []byte) error            // octets of a leaf, at most one line at a time
	end(p part, boundary bool) error        // the leaf is over; a boundary follows, or the message ends
	other(p part, b []byte) error           // octets of boundaries and of what stands around parts
}

// walker goes through the structure of a message. It holds one line of at most
// a buffer's length, and one header.
type walker struct {
	r     *bufio.Reader
	v     visitor
	open  []part // multiparts, the outermost first
	parts int
	next  []byte // a line put back
	start bool   // what is read next begins a line
}

// walk reads a message that has CRLF line ends throughout.
func walk(r io.Reader, v visitor) error {
	w := &walker{r: bufio.NewReader(r), v: v, start: true}
	cur, err := w.enter(0, false, "text/plain")
	if err != nil {
		return err
	}
	for {
		b, start, err := w.read()
		if err == io.EOF {
			if err := w.leave(cur, false); err != nil {
				return err
			}
			return w.close(0)
		}
		if err != nil {
			return err
		}
		if i, last := w.boundary(b, start); i >= 0 {
			if cur, err = w.cross(cur, i, last, b); err != nil {
				return err
			}
			continue
		}
		tell := v.leaf
		if cur.multi() {
			tell = v.other
		}
		if err := tell(cur, b); err != nil {
			return err
		}
	}
}

// read returns a line, or a buffer's worth of one. start: it begins there.
func (w *walker) read() (b []byte, start bool, err error) {
	if w.next != nil {
		b, w.next = w.next, nil
		return b, true, nil
	}
	b, err = w.r.ReadSlice('\n')
	if len(b) > 0 {
		err = nil
	}
	start = w.start
	w.start = len(b) > 0 && b[len(b)-1] == '\n'
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return b, start, err
}

// boundary says which of the open multiparts a line delimits, or -1. The
// innermost prevails; one further out ends all within.
func (w *walker) boundary(b []byte, start bool) (i int, last bool) {
	if !start || !bytes.HasPrefix(b, []byte("--")) || b[len(b)-1] != '\n' {
		return -1, false
	}
	line := string(bytes.TrimRight(b[2:], " \t\r\n"))
	for i := len(w.open) - 1; i >= 0; i-- {
		rest, ok := strings.CutPrefix(line, w.open[i].boundary)
		if ok && (rest == "" || rest == "--") {
			return i, rest != ""
		}
	}
	return -1, false
}

// cross goes over a delimiter of the i-th open multipart into its next part,
// or, past the last one, into what stands behind it.
func (w *walker) cross(cur part, i int, last bool, line []byte) (part, error) {
	if err := w.leave(cur, true); err != nil {
		return cur, err
	}
	m := w.open[i]
	if err := w.v.other(m, line); err != nil {
		return cur, err
	}
	w.open[i].begun = m.begun || !last
	if err := w.close(i + 1); err != nil {
		return cur, err
	}
	if last {
		return m, w.close(i)
	}
	media := "text/plain"
	if m.media == "multipart/digest" { // RFC 2046 section 5.1.5
		media = "message/rfc822"
	}
	return w.enter(i+1, m.signed, media)
}

// close ends the multiparts from the i-th on. One without a part is none: a
// reader shows as text what would be taken for its preamble here.
func (w *walker) close(i int) error {
	if slices.ContainsFunc(w.open[i:], func(p part) bool { return !p.begun }) {
		return malformed()
	}
	w.open = w.open[:i]
	return nil
}

func (w *walker) leave(cur part, boundary bool) error {
	if cur.multi() {
		return nil
	}
	return w.v.end(cur, boundary)
}

// enter reads the header of a part, and of the message in it where it is one,
// and says what follows.
func (w *walker) enter(depth int, signed bool, media string) (part, error) {
	for top := w.parts == 0; ; depth++ {
		if w.parts++; w.parts > maxParts || depth > maxDepth || len(w.open) > maxDepth {
			return part{}, refuse(554, "5.6.0", "the message has a line of more than %d octets and too many parts to mend it", maxWidth)
		}
		h, bare, err := w.header()
		if err != nil {
			return part{}, err
		}
		p, err := partOf(h, media)
		if err != nil {
			return part{}, err
		}
		p.n, p.top, p.signed = w.parts-1, top, signed || p.media == "multipart/signed"
		if err := w.v.head(p, h, bare); err != nil {
			return part{}, err
		}
		if p.multi() {
			w.open = append(w.open, p)
		}
		if !p.nested() || bare {
			return p, nil
		}
		top, signed, media = true, p.signed, "text/plain"
	}
}

// header reads up to and with the empty line; bare when a boundary or the end
// comes first.
func (w *walker) header() (h header, bare bool, err error) {
	room := maxHeader
	for {
		b, start, err := w.read()
		if err == io.EOF {
			return h, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if i, _ := w.boundary(b, start); i >= 0 {
			w.next = bytes.Clone(b)
			return h, true, nil
		}
		if room -= len(b); room < 0 || len(h) > maxFields {
			return nil, false, refuse(554, "5.6.0", "the message has a line of more than %d octets and a part with too large a header to mend it", maxWidth)
		}
		switch {
		case start && len(bytes.TrimRight(b, "\r\n")) == 0:
			return h, false, nil
		case !start || b[0] == ' ' || b[0] == '\t':
			if len(h) == 0 {
				return nil, false, malformed()
			}
			f := &h[len(h)-1]
			f.raw = append(f.raw, b...)
		default:
			name, _, ok := bytes.Cut(b, []byte(":"))
			if !ok {
				return nil, false, malformed()
			}
			h = append(h, field{name: strings.ToLower(string(bytes.TrimSpace(name))), raw: bytes.Clone(b)})
		}
	}
}

func malformed() error {
	return refuse(554, "5.6.0", "the message has a line of more than %d octets and its parts cannot be told apart to mend it", maxWidth)
}

// partOf reads the fields that say how a body is to be read. media is what
// holds when nothing is said.
func partOf(h header, media string) (part, error) {
	p := part{media: media}
	if f, ok := h.first("content-transfer-encoding"); ok {
		p.encoding = strings.ToLower(f.body())
	}
	f, ok := h.first("content-type")
	if !ok {
		return p, nil
	}
	m, params, err := mime.ParseMediaType(f.body())
	if err != nil && m == "" { // not understood: what stands before the parameters counts
		m, _, _ = strings.Cut(f.body(), ";")
		m = strings.ToLower(strings.TrimSpace(m))
	}
	p.media = m
	if strings.HasPrefix(m, "multipart/") {
		if p.boundary = params["boundary"]; p.boundary == "" {
			p.boundary = unquotedBoundary(f.body())
		}
		if p.boundary == "" || len(p.boundary) > maxBoundary {
			return p, malformed()
		}
	}
	return p, nil
}

// unquotedBoundary finds the boundary in a Content-Type where it should have
// been quoted and was not, which many a program forgets.
func unquotedBoundary(contentType string) string {
	for param := range strings.SplitSeq(contentType, ";") {
		if b, ok := cutPrefixFold(strings.TrimSpace(param), "boundary="); ok {
			return strings.Trim(b, `" 	`)
		}
	}
	return ""
}

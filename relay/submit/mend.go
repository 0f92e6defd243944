package submit

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"smtprelay/queue"
)

// mended writes the message of d to a draft of its own, with every line at
// most maxWidth wide, and ends d. The parts that have wider lines change their
// transfer encoding; what they decode to stays the same, to the octet. It is
// done here, before signing, since an exchanger that did it would break the
// signature.
func (s *session) mended(m *message, d queue.Draft) (queue.Draft, error) {
	select { // it is work, and two more files
	case s.srv.signing <- struct{}{}:
		defer func() { <-s.srv.signing }()
	case <-s.srv.ctx.Done():
		return d, s.srv.ctx.Err()
	}
	wide := survey{}
	if err := through(d, &wide); err != nil {
		return d, err
	}
	after, err := s.srv.in.Create(s.srv.ctx)
	if err != nil {
		return d, err
	}
	rule := &ruler{w: after}
	err = through(d, &mender{w: rule, wide: wide.parts})
	if err == nil && rule.widest > maxWidth {
		err = malformed()
	}
	if err != nil {
		after.Abort()
		return d, err
	}
	d.Abort()
	m.size, m.eight = rule.n, rule.eight
	return after, nil
}

func through(d queue.Draft, v visitor) error {
	r, err := d.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	return walk(r, v)
}

// survey finds the leaves with lines that are too wide, and what forbids to
// mend them.
type survey struct {
	parts []int
	at    int // width of the line so far, its CR included
}

func (s *survey) head(p part, h header, _ bool) error {
	for _, f := range h {
		for line := range bytes.Lines(f.raw) {
			if p.signed && len(line) > maxWidth+2 {
				return errSigned
			}
		}
	}
	return nil
}

func (s *survey) leaf(p part, b []byte) error {
	wide := s.measure(b)
	if !wide || slices.Contains(s.parts, p.n) {
		return nil
	}
	switch _, known := encodings[p.encoding]; {
	case p.signed:
		return errSigned
	case !p.identity() && !known, p.identity() && strings.HasPrefix(p.media, "message/"): // RFC 2046 section 5.2
		return refuse(554, "5.6.0", "a part of type %s and encoding %q has a line of more than %d octets and cannot be encoded anew", clip([]byte(p.media)), clip([]byte(p.encoding)), maxWidth)
	}
	s.parts = append(s.parts, p.n)
	return nil
}

func (s *survey) other(p part, b []byte) error {
	if s.measure(b) && p.signed {
		return errSigned
	}
	return nil
}

func (s *survey) end(part, bool) error { return nil }

// measure says whether the line that b goes on with has become too wide.
func (s *survey) measure(b []byte) bool {
	s.at += len(b)
	at := s.at
	if b[len(b)-1] == '\n' {
		s.at = 0
		at--
	}
	return at > maxWidth+1
}

var errSigned = refuse(554, "5.6.0", "a signed part has a line of more than %d octets: encode it before signing", maxWidth)

// encodings that can be wrapped anew without decoding.
var encodings = map[string]func(io.Writer) encoder{
	"quoted-printable": func(w io.Writer) encoder { return &quoted{w: w, encoded: true} },
	"base64":           func(w io.Writer) encoder { return &base64Lines{w: w} },
}

// mender writes what it is told of, with the wide leaves encoded.
type mender struct {
	w    io.Writer
	wide []int
	enc  encoder // of the leaf under way; nil: as it is
	at   int     // width of a line around parts
}

// head writes a header, with the encoding its leaf is about to get.
func (m *mender) head(p part, h header, bare bool) error {
	if m.enc = nil; slices.Contains(m.wide, p.n) {
		name := p.encoding
		switch {
		case p.identity() && strings.HasPrefix(p.media, "text/"):
			name, m.enc = "quoted-printable", &quoted{w: m.w}
		case p.identity():
			name, m.enc = "base64", newBinary(m.w)
		default:
			m.enc = encodings[p.encoding](m.w)
		}
		h = encodedAs(h, name, p.top)
	}
	if !bare {
		return h.writeTo(m.w)
	}
	text, err := h.text()
	if err != nil {
		return err
	}
	_, err = m.w.Write(text)
	return err
}

// encodedAs says in a header how the body is encoded. At the top of a message
// MIME itself must be declared; without a type the text is taken for UTF-8,
// which ASCII is a part of.
func encodedAs(h header, encoding string, top bool) header {
	h = h.without("content-transfer-encoding")
	add := func(name, value string) {
		h = append(h, field{name: strings.ToLower(name), raw: fmt.Appendf(nil, "%s: %s\r\n", name, value)})
	}
	if top && h.count("mime-version") == 0 {
		add("MIME-Version", "1.0")
	}
	if top && h.count("content-type") == 0 {
		add("Content-Type", "text/plain; charset=utf-8")
	}
	add("Content-Transfer-Encoding", encoding)
	return h
}

func (m *mender) leaf(_ part, b []byte) error {
	if m.enc != nil {
		return m.enc.add(b)
	}
	_, err := m.w.Write(b)
	return err
}

func (m *mender) end(_ part, boundary bool) error {
	if m.enc == nil {
		return nil
	}
	err := m.enc.end(boundary)
	m.enc = nil
	return err
}

// other writes boundaries, and the text around parts, which no reader shows:
// what is too wide of it is cut off.
func (m *mender) other(_ part, b []byte) error {
	line := bytes.TrimRight(b, "\r\n") // a CR stands only before an LF
	line = slices.Clone(line[:min(len(line), maxWidth-m.at)])
	m.at += len(line)
	if b[len(b)-1] == '\n' {
		m.at = 0
		line = append(line, "\r\n"...)
	}
	_, err := m.w.Write(line)
	return err
}

package sign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A header beyond these is not signed: no honest message comes near, and the work of
// many a verifier grows with their product.
const (
	ours      = 24        // lines that we put before the message ourselves
	maxHeader = 256 << 10 // octets
	maxFields = 1000 + ours
	maxFolds  = 2000 + ours // continuation lines
)

// once is how often a signed field is counted: the second is malformed already
// (RFC 5322 section 3.6). It bounds the length of h=.
const once = 2

// field is a name whose presence and content the signature covers (RFC 6376
// section 5.4.1).
type field struct {
	name string
	over bool // listed once more than present, so that adding one breaks the signature (RFC 6376 section 8.15)
}

var signed = [...]field{
	{"From", true}, {"To", true}, {"Cc", true}, {"Subject", true}, {"Date", true},
	{"Reply-To", true}, {"Message-ID", true}, {"MIME-Version", false},
	{"Content-Type", true}, {"Content-Transfer-Encoding", true}, {"Content-Disposition", true},
	{"Content-ID", true}, {"Content-Description", true}, {"Content-Language", true}, {"Content-Location", true},
	{"Sender", false}, {"In-Reply-To", false}, {"References", false}, {"Auto-Submitted", false}, {"Feedback-ID", false},
	{"List-Id", false}, {"List-Help", false}, {"List-Unsubscribe", false}, {"List-Unsubscribe-Post", false},
	{"List-Subscribe", false}, {"List-Post", false}, {"List-Owner", false}, {"List-Archive", false},
	{"Resent-Date", false}, {"Resent-From", false}, {"Resent-Sender", false}, {"Resent-To", false},
	{"Resent-Cc", false}, {"Resent-Message-ID", false},
}

// place of each signed name, in lower case, in signed.
var place = func() map[string]int {
	all := map[string]int{}
	for i, f := range signed {
		all[strings.ToLower(f.name)] = i
	}
	return all
}()

// header is a message header taken apart. It may be used again.
type header struct {
	text   []byte  // a field's lines, without CRLF, while it is read
	fields []found // those with signed names, from top to bottom
	forms  []byte  // their relaxed forms
}

// found is a field with a signed name.
type found struct {
	place    int
	from, to int // in forms
}

// read reads up to and including the empty line, or to the end of a message
// that has none.
func (h *header) read(br *bufio.Reader) error {
	h.text, h.fields, h.forms = h.text[:0], h.fields[:0], h.forms[:0]
	var size, fields, folds int
	for {
		from := len(h.text)
		if err := h.line(br, maxHeader-size); err != nil {
			return err
		}
		line := h.text[from:]
		size += len(line) + 2
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if folds++; folds > maxFolds {
				return fmt.Errorf("header: more than %d folded lines", maxFolds)
			}
			if fields == 0 {
				return errors.New("header: the first line begins with a space")
			}
			continue // unfolded thus (RFC 6376 section 3.4.2)
		}
		if fields > 0 {
			h.take(h.text[:from])
		}
		if len(line) == 0 {
			return nil
		}
		if fields++; fields > maxFields {
			return fmt.Errorf("header: more than %d fields", maxFields)
		}
		if name, _, ok := bytes.Cut(line, []byte(":")); !ok || len(bytes.TrimRight(name, " \t")) == 0 {
			return fmt.Errorf("header: field %d has no name and colon", fields)
		}
		h.text = h.text[:copy(h.text, line)]
	}
}

// line appends a line to h.text, without its CRLF. At the end of input it is empty.
func (h *header) line(br *bufio.Reader, limit int) error {
	from := len(h.text)
	for {
		part, err := br.ReadSlice('\n')
		h.text = append(h.text, part...)
		if len(h.text)-from > limit {
			return fmt.Errorf("header: larger than %d octets", maxHeader)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return err
		}
		line := bytes.TrimSuffix(h.text[from:], []byte("\r\n"))
		h.text = h.text[:from+len(line)]
		if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, '\n') >= 0 {
			return errBare
		}
		return nil
	}
}

// take keeps a field, unfolded, if its name is a signed one.
func (h *header) take(text []byte) {
	name, _, _ := bytes.Cut(text, []byte(":"))
	var lower [32]byte // no name is as long
	if name = bytes.TrimRight(name, " \t"); len(name) > len(lower) {
		return
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	at, ok := place[string(lower[:len(name)])]
	if !ok {
		return
	}
	from := len(h.forms)
	h.forms = append(relaxedField(h.forms, text), "\r\n"...)
	h.fields = append(h.fields, found{at, from, len(h.forms)})
}

// relaxedField appends the relaxed form of a field (RFC 6376 section 3.4.2), without
// CRLF: the name in lower case, white space gone around the colon and at the end, and
// one space elsewhere.
func relaxedField(buf, text []byte) []byte {
	name, value, _ := bytes.Cut(text, []byte(":"))
	for _, c := range bytes.TrimRight(name, " \t") { // RFC 5322 section 4.5 allows them
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf = append(buf, c)
	}
	buf = append(buf, ':')
	space, empty := false, true
	for _, c := range value {
		switch c {
		case ' ', '\t', '\r', '\n':
			space = true
			continue
		}
		if space && !empty {
			buf = append(buf, ' ')
		}
		buf, space, empty = append(buf, c), false, false
	}
	return buf
}

// choice is the names of h= in their order, and appends to hashed the fields that they
// pick: from the bottom up (RFC 6376 section 5.4.2). A name listed once too often picks
// none.
func (h *header) choice(hashed []byte) (names []string, _ []byte, err error) {
	var count [len(signed)]int
	for _, f := range h.fields {
		count[f.place]++
	}
	if n := count[place["from"]]; n != 1 {
		return nil, nil, fmt.Errorf("header: %d From fields, expected one", n)
	}
	for i, f := range signed {
		left := min(count[i], once)
		for at := len(h.fields) - 1; left > 0; at-- {
			if g := h.fields[at]; g.place == i {
				names, hashed = append(names, f.name), append(hashed, h.forms[g.from:g.to]...)
				left--
			}
		}
		if f.over && count[i] <= once {
			names = append(names, f.name)
		}
	}
	return names, hashed, nil
}

package sign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A header beyond these is not signed. The library's work grows with their
// product; no honest message comes near.
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

var signed = []field{
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

// header is a message header taken apart.
type header struct {
	text  []byte         // its fields, each unfolded to one line
	count map[string]int // fields of a name, lower case
}

// readHeader reads up to and including the empty line, or to the end of a
// message that has none. body is what follows.
func readHeader(r io.Reader) (h *header, body io.Reader, err error) {
	br := bufio.NewReader(r)
	h = &header{count: map[string]int{}}
	var size, fields, folds int
	for {
		line, err := readLine(br, maxHeader-size)
		if err != nil || len(line) == 0 {
			return h, &normal{r: br}, err
		}
		size += len(line) + 2
		if line[0] == ' ' || line[0] == '\t' {
			if folds++; folds > maxFolds {
				return nil, nil, fmt.Errorf("header: more than %d folded lines", maxFolds)
			}
			if fields == 0 {
				return nil, nil, errors.New("header: the first line begins with a space")
			}
			h.text = append(h.text[:len(h.text)-2], line...) // the relaxed form unfolds too (RFC 6376 section 3.4.2)
			h.text = append(h.text, "\r\n"...)
			continue
		}
		if fields++; fields > maxFields {
			return nil, nil, fmt.Errorf("header: more than %d fields", maxFields)
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t") // RFC 5322 section 4.5 allows it, the relaxed form drops it
		if !ok || len(name) == 0 {
			return nil, nil, fmt.Errorf("header: field %d has no name and colon", fields)
		}
		h.count[strings.ToLower(string(name))]++
		h.text = append(append(h.text, line...), "\r\n"...)
	}
}

// readLine returns a line without its CRLF. At the end of input it is empty.
func readLine(br *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, fmt.Errorf("header: larger than %d octets", maxHeader)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, err
		}
		text := bytes.TrimSuffix(line, []byte("\r\n"))
		if bytes.ContainsAny(text, "\r\n") {
			return nil, errBare
		}
		return text, nil
	}
}

// names is the content of h=. A name listed once too often carries a space
// before it: it picks no field here, a verifier drops the space (RFC 6376
// section 3.5), and the list can be folded there without changing the relaxed
// form that is signed.
func (h *header) names() ([]string, error) {
	if n := h.count["from"]; n != 1 {
		return nil, fmt.Errorf("header: %d From fields, expected one", n)
	}
	var names []string
	for _, f := range signed {
		n := h.count[strings.ToLower(f.name)]
		for range min(n, once) {
			names = append(names, f.name)
		}
		if f.over && n <= once {
			names = append(names, " "+f.name)
		}
	}
	return names, nil
}

// reader is the header for the library, which wants an empty line in any case.
func (h *header) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(h.text), strings.NewReader("\r\n"))
}

// fold breaks h= where names left a space, for lines of about 78 characters;
// the library folds the other tags.
func fold(signature string) string {
	var b strings.Builder
	width := 0
	for part := range strings.SplitAfterSeq(signature, ": ") {
		text, atSpace := strings.CutSuffix(part, " ")
		b.WriteString(text)
		if i := strings.LastIndexByte(text, '\n'); i >= 0 {
			width = len(text) - i - 1
		} else {
			width += len(text)
		}
		switch {
		case !atSpace:
		case width > 60:
			b.WriteString("\r\n ")
			width = 1
		default:
			b.WriteByte(' ')
			width++
		}
	}
	return b.String()
}

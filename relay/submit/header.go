package submit

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"smtprelay/queue"
)

// Caps on a header section. What signs it later takes time that grows with
// the square of these.
const (
	maxHeader = 100 << 10 // octets
	maxFields = 1000
	maxFolded = 2000 // lines that continue a field
	maxWidth  = 998  // octets of a line without its CRLF (RFC 5322 section 2.1.1)
)

// field is one header field as it stands: lines with CRLF.
type field struct {
	name string // lower case
	raw  []byte
}

// body is the field without its name, unfolded.
func (f field) body() string {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	return strings.TrimSpace(string(bytes.ReplaceAll(v, []byte("\r\n"), nil)))
}

// title is the field's name as it stands.
func (f field) title() string {
	n, _, _ := bytes.Cut(f.raw, []byte(":"))
	return string(n)
}

// header is a message's header section.
type header []field

// readHeader reads lines up to and with the empty one that ends the section,
// or to the end of a message that has no body. The fields share their memory;
// what is appended to one does not touch the next.
func readHeader(r *bufio.Reader) (header, error) {
	h := make(header, 0, 16)
	text := make([]byte, 0, 1024) // of all of them
	began, folded := 0, 0         // where the last one begins
	for {
		at := len(text)
		var err error
		text, err = readLine(text, r)
		line := text[at:]
		switch {
		case err == io.EOF || err == nil && len(line) == 2:
			return h, nil
		case err != nil:
			return nil, err
		case line[0] == ' ' || line[0] == '\t':
			if len(h) == 0 {
				return nil, refuse(554, "5.6.0", "the header begins with white space")
			}
			if folded++; folded > maxFolded {
				return nil, refuse(554, "5.6.0", "the header has more than %d continued lines", maxFolded)
			}
			h[len(h)-1].raw = slices.Clip(text[began:])
		default:
			name, err := fieldName(line)
			if err != nil {
				return nil, err
			}
			if len(h) >= maxFields {
				return nil, refuse(554, "5.6.0", "the header has more than %d fields", maxFields)
			}
			began = at
			h = append(h, field{name: name, raw: slices.Clip(line)})
		}
	}
}

// readLine reads a line of any length that fits a header that goes on text.
func readLine(text []byte, r *bufio.Reader) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxHeader {
			return text, refuse(552, "5.3.4", "the header is larger than %d octets", maxHeader)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return text, err
	}
}

func fieldName(line []byte) (string, error) {
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return "", refuse(554, "5.6.0", "header line %q has no colon: a message begins with its header and an empty line", clip(line))
	}
	if len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", refuse(554, "5.6.0", "%q is no name of a header field", clip(name))
	}
	return lower(name), nil
}

// lower is the name of a field in lower case; that of a common one takes no
// memory.
func lower(name []byte) string {
	var b [32]byte
	if len(name) <= len(b) {
		for i, c := range name {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b[i] = c
		}
		if known, ok := common[string(b[:len(name)])]; ok {
			return known
		}
	}
	return strings.ToLower(string(name))
}

// common names of fields.
var common = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"bcc", "cc", "content-disposition", "content-transfer-encoding", "content-type", "date", "dkim-signature", "from",
		"in-reply-to", "list-unsubscribe", "list-unsubscribe-post", "message-id", "mime-version", "received", "references",
		"reply-to", "return-path", "sender", "subject", "to", "user-agent", "x-mailer",
	} {
		m[name] = name
	}
	return m
}()

// clip keeps what is quoted to the client short.
func clip(b []byte) string {
	b = bytes.TrimRight(b, "\r\n")
	if len(b) > 40 {
		return string(b[:40]) + "..."
	}
	return string(b)
}

func (h header) count(name string) int {
	n := 0
	for _, f := range h {
		if f.name == name {
			n++
		}
	}
	return n
}

// first returns the first field so named; ok is false when there is none.
func (h header) first(name string) (f field, ok bool) {
	i := slices.IndexFunc(h, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return h[i], true
}

// without is h, which stays as it is, but for the fields of these names.
func (h header) without(names ...string) header {
	named := func(f field) bool { return slices.Contains(names, f.name) }
	if !slices.ContainsFunc(h, named) {
		return slices.Clip(h)
	}
	return slices.DeleteFunc(slices.Clone(h), named)
}

// writeTo writes the section and its empty line at once, with every line at
// most maxWidth wide.
func (h header) writeTo(w io.Writer) error {
	text, err := h.text()
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, "\r\n"...))
	return err
}

// text is the section without the empty line.
func (h header) text() ([]byte, error) {
	size := len("\r\n")
	for _, f := range h {
		size += len(f.raw)
	}
	text := make([]byte, 0, size)
	for _, f := range h {
		raw, err := refold(f)
		if err != nil {
			return nil, err
		}
		text = append(text, raw...)
	}
	return text, nil
}

// refold breaks lines that are too long where white space stands: unfolded,
// the field is the same (RFC 5322 section 2.2.3).
func refold(f field) ([]byte, error) {
	if len(f.raw) <= maxWidth+2 {
		return f.raw, nil
	}
	var out []byte
	for line := range bytes.Lines(f.raw) {
		for len(line) > maxWidth+2 {
			i := bytes.LastIndexAny(line[:maxWidth+1], " \t")
			if i <= 0 || len(bytes.TrimSpace(line[:i])) == 0 { // a line of white space alone is no folding
				return nil, refuse(554, "5.6.0", "the header field %s has a line of more than %d octets without a place to fold it", f.name, maxWidth)
			}
			out = append(append(out, line[:i]...), "\r\n"...)
			line = line[i:]
		}
		out = append(out, line...)
	}
	return out, nil
}

// vet refuses what goes round, and finds the domains of the authors, the first
// author's first.
func (h header) vet(hops int) ([]string, error) {
	if n := h.count("received"); n >= hops {
		return nil, refuse(554, "5.4.6", "the message has passed %d hosts already: it goes round in a loop", n)
	}
	return h.authors()
}

// added are the fields that a message must have and this one lacks, lines with
// CRLF; and its Message-ID, given or made.
func (h header) added(host string, now time.Time) (fields []byte, id string) {
	if h.count("date") == 0 {
		fields = fmt.Appendf(fields, "Date: %s\r\n", now.Format(time.RFC1123Z))
	}
	if f, ok := h.first("message-id"); ok {
		return fields, strings.ToValidUTF8(f.body(), "?")
	}
	id = "<" + rand.Text() + "@" + host + ">"
	return fmt.Appendf(fields, "Message-ID: %s\r\n", id), id
}

// received is the trace field (RFC 5321 section 4.4) of a message from s. Only
// characters that mean nothing stand in it, whatever the client said.
func (s *session) received(t *transaction, id queue.ID, now time.Time) []byte {
	client := "local"
	if s.ip.Is4() {
		client = "[" + s.ip.String() + "]"
	} else if s.ip.IsValid() {
		client = "[IPv6:" + s.ip.WithZone("").String() + "]"
	}
	with := "ESMTP" // RFC 3848, RFC 6531 section 4.3
	switch {
	case t.envelope.UTF8:
		with = "UTF8SMTP"
	case s.d.helo && s.d.secure == nil:
		with = "SMTP"
	}
	if s.d.secure != nil {
		with += "S"
	}
	if s.user != nil {
		with += "A"
	}
	recipient := ""
	if len(t.recipients) == 1 && printable(t.recipients[0].Address) {
		recipient = "\r\n\tfor <" + t.recipients[0].Address + ">"
	}
	return []byte("Received: from " + vetted(s.c.Hostname()) + " (" + client + ")\r\n\tby " + s.srv.o.Hostname + " with " + with + " id " + string(id) +
		recipient + ";\r\n\t" + now.Format(time.RFC1123Z) + "\r\n")
}

// vetted is what a client called itself, or "unknown" where that is neither a
// name nor an address.
func vetted(name string) string {
	if len(name) == 0 || len(name) > maxDomain || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	}) {
		return "unknown"
	}
	return name
}

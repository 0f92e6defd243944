package deliver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"smtprelay/preflight/dns"
	"smtprelay/queue"
)

// mailLine is the MAIL command for a message of size octets, with the parameters
// that the peer offers to understand.
func (s *session) mailLine(m *queue.Message, size int64, utf8 bool) string {
	e := m.Envelope
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + wireAddress(e.From, utf8) + ">")
	if s.has("SIZE") {
		b.WriteString(" SIZE=" + strconv.FormatInt(size, 10)) // RFC 1870
	}
	// To a peer without 8BITMIME the message goes as it is: re-encoding would
	// break its signature, and eight bits hurt nobody any more.
	if e.Body == "8BITMIME" && s.has("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if utf8 {
		b.WriteString(" SMTPUTF8") // RFC 6531
	}
	if s.has("DSN") { // RFC 3461
		if e.Return != "" {
			b.WriteString(" RET=" + e.Return)
		}
		if e.EnvelopeID != "" {
			b.WriteString(" ENVID=" + xtext(e.EnvelopeID))
		}
	}
	return b.String()
}

// rcptLine is the RCPT command for r.
func (s *session) rcptLine(r *queue.Recipient, utf8 bool) string {
	line := "RCPT TO:<" + wireAddress(r.Address, utf8) + ">"
	if !s.has("DSN") {
		return line
	}
	if r.Notify != "" {
		line += " NOTIFY=" + r.Notify
	}
	if r.Original != "" && !strings.ContainsFunc(r.Original, func(c rune) bool { return c <= ' ' || c > '~' || c == '=' }) {
		line += " ORCPT=" + r.Original
	}
	return line
}

// wireAddress writes the domain in ASCII for a peer without SMTPUTF8.
func wireAddress(address string, utf8 bool) string {
	if utf8 || isASCII(address) {
		return address
	}
	local, domain := cut(address)
	if a, err := dns.Canonical(domain); err == nil {
		domain = a
	}
	return local + "@" + domain
}

// cut splits at the last "@": those before it are within quotes.
func cut(address string) (local, domain string) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, ""
	}
	return address[:i], address[i+1:]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// xtext is RFC 3461 section 4's.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c <= '~' && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String()
}

// fits compares the message with the peer's SIZE, so that a message it will not
// take is not sent in vain (RFC 1870 section 6.2).
func (s *session) fits(size int64) error {
	limit, err := strconv.ParseInt(s.ext["SIZE"], 10, 64)
	if err != nil || limit <= 0 || size <= limit {
		return nil
	}
	return at("mail", &decision{status: "5.3.4", final: true,
		why: fmt.Sprintf("the message has %d octets, %s takes %d", size, s.host, limit)})
}

// errRequireTLS: what REQUIRETLS asks for (RFC 8689 section 4.2.1) is not proven
// here, and without proof the message must not go.
var errRequireTLS = &decision{status: "5.7.30", final: true, why: "REQUIRETLS cannot be honoured"}

var errNeedsUTF8 = &decision{status: "5.6.7", final: true,
	why: "the address or header is not ASCII, and the exchanger does not offer SMTPUTF8"}

// wantsUTF8 tells whether the envelope's sender or the header is not ASCII; then
// the message cannot go to a peer without SMTPUTF8. body stands at its start
// before and after.
func wantsUTF8(m *queue.Message, body io.ReadSeeker) (bool, error) {
	if local, _ := cut(m.Envelope.From); !isASCII(local) || !isASCII(string(m.Head)) {
		return true, nil
	}
	found, err := headerUTF8(body)
	if err != nil {
		return false, err
	}
	_, err = body.Seek(0, io.SeekStart)
	return found, err
}

// headerUTF8 looks at the lines before the first empty one.
func headerUTF8(body io.Reader) (bool, error) {
	br := bufio.NewReader(body)
	for start := true; ; {
		b, err := br.ReadSlice('\n')
		if !isASCII(string(b)) {
			return true, nil
		}
		if start && len(bytes.TrimRight(b, "\r\n")) == 0 || err == io.EOF {
			return false, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return false, err
		}
		start = err == nil
	}
}

package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxReply = 1024 // characters of what a remote said
	width    = 76   // of a line, where words allow it
	maxWord  = 900  // a longer one is broken, so that no line exceeds 998 octets
)

// clean makes one line of printable ASCII of a text from outside, at most n
// characters long.
func clean(s string, n int) string {
	var b strings.Builder
	for _, c := range s {
		if b.Len() >= n {
			return b.String() + "..."
		}
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			b.WriteByte(' ')
		case c < ' ' || c > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
	}
	return strings.TrimSpace(b.String())
}

// printable keeps what letters there are and nothing that moves the cursor or
// the direction of reading.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c >= utf8.RuneSelf }) < 0
}

// field writes a header field, folded at spaces.
func field(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteByte(':')
	at := len(name) + 1
	start := at // where the line's first word goes
	for word := range strings.FieldsSeq(value) {
		for word != "" {
			var part string
			part, word = piece(word)
			if at > start && at+1+len(part) > width {
				b.WriteString("\r\n")
				at, start = 0, 0
			}
			b.WriteByte(' ')
			b.WriteString(part)
			at += 1 + len(part)
		}
	}
	b.WriteString("\r\n")
}

// piece cuts off as much of a word as a line may hold.
func piece(word string) (head, tail string) {
	if len(word) <= maxWord {
		return word, ""
	}
	k := maxWord
	for !utf8.RuneStart(word[k]) && k > maxWord-utf8.UTFMax {
		k--
	}
	return word[:k], word[k:]
}

// domainOf is the domain of an address in the form of queue.Recipient.Domain.
func domainOf(address string) string {
	d := strings.TrimSuffix(address[strings.LastIndexByte(address, '@')+1:], ".")
	if !ascii(d) {
		if a, err := idna.Lookup.ToASCII(d); err == nil {
			d = a
		}
	}
	return strings.ToLower(d)
}

// messageID is an id fit for a header of ours, or "".
func messageID(id string) string {
	id = strings.Trim(id, "<> ")
	if id == "" || len(id) > 500 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' || c == '<' || c == '>' }) {
		return ""
	}
	return "<" + id + ">"
}

// typed is an address with its type (RFC 3464 section 2.3.2). Beyond ASCII it is
// written in the form that 7-bit mail can carry (RFC 6533 section 3).
func typed(address string) string {
	if ascii(address) {
		return "rfc822; " + clean(address, maxReply)
	}
	return "utf-8; " + unicodeXtext(address)
}

// originalRecipient is ORCPT with its xtext decoded (RFC 3461 sections 4 and 4.2).
func originalRecipient(orcpt string) string {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok {
		kind, addr = "rfc822", orcpt
	}
	kind = strings.ToLower(clean(kind, 40))
	if kind == "utf-8" {
		return kind + "; " + unicodeXtext(addr)
	}
	if addr = unxtext(addr); !ascii(addr) {
		return "utf-8; " + unicodeXtext(addr)
	}
	return kind + "; " + clean(addr, maxReply)
}

// unxtext decodes "+2B"; what is no such escape stays.
func unxtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unicodeXtext is utf-8-addr-xtext of RFC 6533 section 3. An escape that stands
// already is kept.
func unicodeXtext(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case b.Len() >= maxReply:
			return b.String()
		case c == utf8.RuneError:
			b.WriteByte('?')
		case c <= ' ' || c > '~' || c == '+' || c == '=' || c == '\\' && !strings.HasPrefix(s[i:], `\x{`):
			fmt.Fprintf(&b, `\x{%02X}`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

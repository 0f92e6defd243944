package submit

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// address is a mailbox (RFC 5321 section 4.1.2), taken apart.
type address struct {
	local  string // without quotes
	domain string // lower case, A-labels; or an address literal with its brackets
}

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	maxLocal   = 64
	maxDomain  = 253 // 255 in the DNS' own form
	maxMailbox = 254 // a path of 256, less its <>
)

// errUTF8 says that an address needs SMTPUTF8.
var errUTF8 = errors.New("an address with other than ASCII characters needs SMTPUTF8")

// String is the form for the wire: quoted where it must be.
func (a address) String() string {
	if a.local == "" && a.domain == "" {
		return ""
	}
	return quoteLocal(a.local) + "@" + a.domain
}

func (a address) literal() bool { return strings.HasPrefix(a.domain, "[") }

// parseAddress reads a mailbox without <>. Characters beyond ASCII are allowed
// only with SMTPUTF8 (RFC 6531); a domain is turned into A-labels all the same.
func parseAddress(s string, smtputf8 bool) (address, error) {
	switch {
	case !utf8.ValidString(s):
		return address{}, errors.New("not valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return r >= 0x7f && r < 0xa0 }):
		return address{}, errors.New("control character")
	case !smtputf8 && strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }):
		return address{}, errUTF8
	}
	local, rest, err := parseLocal(s)
	if err != nil {
		return address{}, err
	}
	domain, ok := strings.CutPrefix(rest, "@")
	switch {
	case !ok && rest == "":
		return address{}, errors.New("no domain")
	case !ok:
		return address{}, fmt.Errorf("unexpected %q", rest)
	case len(local) > maxLocal:
		return address{}, fmt.Errorf("more than %d octets before the @", maxLocal)
	}
	a := address{local: local}
	if a.domain, err = parseDomain(domain); err != nil {
		return address{}, err
	}
	if len(a.String()) > maxMailbox {
		return address{}, fmt.Errorf("longer than %d octets", maxMailbox)
	}
	return a, nil
}

// parseLocal reads a dot-string or a quoted-string and returns what follows it.
func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s[1:])
	}
	i := strings.IndexFunc(s, func(r rune) bool { return !atext(r) && r != '.' })
	if i < 0 {
		i = len(s)
	}
	local, rest = s[:i], s[i:]
	switch {
	case local == "" && rest == "":
		return "", "", errors.New("empty")
	case local == "":
		return "", "", fmt.Errorf("unexpected %q", rest)
	case dotted(local):
		return local, rest, nil
	}
	return "", "", errors.New("misplaced dot before the @")
}

func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' && b.Len() == 0:
			return "", "", errors.New("nothing between the quotes")
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			c = s[i]
			if c < ' ' || c > '~' {
				return "", "", errors.New("unprintable character after a backslash")
			}
		}
		if c < ' ' || c == 0x7f {
			return "", "", errors.New("control character between quotes")
		}
		b.WriteByte(c)
	}
	return "", "", errors.New("quote without end")
}

// atext of RFC 5322 section 3.2.3, and what RFC 6532 adds.
func atext(r rune) bool {
	switch {
	case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= 0xa0:
		return true
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// dotted says whether s, of atext and dots, is a dot-string.
func dotted(s string) bool {
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

func quoteLocal(s string) string {
	if dotted(s) && !strings.ContainsFunc(s, func(r rune) bool { return !atext(r) && r != '.' }) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// parseDomain returns lower-case A-labels (RFC 5890), or a literal.
func parseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("domain %q: %w", s, err)
		}
		s = a
	}
	s = strings.ToLower(s)
	if len(s) > maxDomain {
		return "", fmt.Errorf("domain longer than %d octets", maxDomain)
	}
	for label := range strings.SplitSeq(s, ".") {
		if !ldh(label) {
			return "", fmt.Errorf("%q is no domain: each part has letters, digits and inner hyphens, at most 63", s)
		}
	}
	return s, nil
}

func ldh(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// parseLiteral reads [192.0.2.1] and [IPv6:2001:db8::1].
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", errors.New("address literal without ]")
	}
	if v6, ok := cutPrefixFold(inner, "IPv6:"); ok {
		if a, err := netip.ParseAddr(v6); err == nil && a.Is6() && a.Zone() == "" {
			return "[IPv6:" + a.String() + "]", nil
		}
	} else if a, err := netip.ParseAddr(inner); err == nil && a.Is4() {
		return "[" + a.String() + "]", nil
	}
	return "", fmt.Errorf("%q is no address literal", s)
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// parsePath finds the path in the line of a MAIL or RCPT command, after
// keyword ("FROM:", "TO:"). go-smtp hands on addresses without their quotes,
// from which what was meant cannot be told; so the line itself is read. Source
// routes are declined, as RFC 5321 section 4.1.1.3 allows; missing <> are not
// minded. "" is the null path.
func parsePath(line, keyword string, smtputf8 bool) (address, error) {
	_, arg, _ := strings.Cut(line, " ")
	arg, ok := cutPrefixFold(strings.TrimSpace(arg), keyword)
	if !ok {
		return address{}, fmt.Errorf("expected %s<address>", keyword)
	}
	arg = strings.TrimLeft(arg, " \t")
	if arg == "<>" || strings.HasPrefix(arg, "<> ") {
		return address{}, nil
	}
	end := " "
	if strings.HasPrefix(arg, "<") {
		arg, end = arg[1:], ">"
		if strings.HasPrefix(arg, "@") {
			return address{}, errors.New("source routes are not supported")
		}
	}
	i, err := pathEnd(arg, end[0])
	if err != nil {
		return address{}, err
	}
	return parseAddress(arg[:i], smtputf8)
}

// pathEnd is where end stands outside quotes.
func pathEnd(s string, end byte) (int, error) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == end && !quoted:
			if end == '>' && i+1 < len(s) && s[i+1] != ' ' {
				return 0, fmt.Errorf("unexpected %q after >", s[i+1:])
			}
			return i, nil
		}
	}
	if end == ' ' {
		return len(s), nil
	}
	return 0, errors.New("no > at the end")
}

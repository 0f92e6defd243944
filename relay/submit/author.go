package submit

import (
	"io"
	"mime"
	"net/mail"
	"slices"
	"strings"
)

// authors finds the domains of the From field, as A-labels, the first
// author's first. A name without the quotes it needs gets them here: what
// receivers read is then what was judged.
func (h header) authors() ([]string, error) {
	switch h.count("from") {
	case 0:
		return nil, refuse(554, "5.6.0", "the message has no From field")
	case 1:
	default:
		return nil, refuse(554, "5.6.0", "the message has more than one From field")
	}
	f := &h[slices.IndexFunc(h, func(f field) bool { return f.name == "from" })]
	domains, err := f.domains()
	if err == nil {
		return domains, nil
	}
	if quoted, ok := f.quoted(); ok {
		if domains, err2 := quoted.domains(); err2 == nil {
			*f = quoted
			return domains, nil
		}
	}
	return nil, err
}

// names decodes nothing: only the addresses count, and a name in whatever
// character set must not hide them.
var names = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, input io.Reader) (io.Reader, error) { return input, nil },
}}

// domains are those of the addresses in a field, as A-labels, each once.
func (f field) domains() ([]string, error) {
	list, err := names.ParseList(strings.ToValidUTF8(f.body(), "?")) // raw octets stand in names only, or fail below
	if err != nil || len(list) == 0 {
		return nil, refuse(554, "5.6.0", `the %s field cannot be read: expected NAME <user@example.com>, and "quotes" around a NAME of other than letters, digits and spaces`, f.title())
	}
	var domains []string
	for _, a := range list {
		at := strings.LastIndexByte(a.Address, '@')
		d, err := parseDomain(a.Address[at+1:])
		if err != nil || at < 0 || strings.HasPrefix(d, "[") {
			return nil, refuse(554, "5.6.0", "the %s field has an address without a proper domain: expected one such as user@example.com", f.title())
		}
		if !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains, nil
}

// quoted is the field with quotes around a name that stands there without, as
// many a program writes it: Name, Inc. <user@example.com>. ok is false where
// that cannot be what was meant.
func (f field) quoted() (quoted field, ok bool) {
	name, rest, found := strings.Cut(f.body(), "<")
	address, after, closed := strings.Cut(rest, ">")
	if !found || !closed || after != "" || strings.ContainsAny(name+address, `"\<>()`) || strings.Contains(name, "=?") {
		return field{}, false
	}
	text := "<" + strings.TrimSpace(address) + ">"
	if name = strings.Join(strings.Fields(name), " "); name != "" {
		text = `"` + name + `" ` + text
	}
	return field{name: f.name, raw: []byte(f.title() + ": " + text + "\r\n")}, true
}

// speakers are the fields, other than From, by which a message says who sends.
var speakers = []string{"sender", "resent-from", "resent-sender"}

// maySpeak holds them against the policies, where there are any.
func (s *session) maySpeak(h header) error {
	if s.srv.o.Senders == nil && (s.user == nil || s.user.from == nil) {
		return nil
	}
	for _, f := range h {
		if !slices.Contains(speakers, f.name) {
			continue
		}
		domains, err := f.domains()
		if err != nil {
			return err
		}
		for _, d := range domains {
			if err := s.maySendAs(d, f.title()); err != nil {
				return err
			}
		}
	}
	return nil
}

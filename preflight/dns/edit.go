package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Edit is a change of what stands in DNS, for an Overlay.
type Edit struct {
	Do   Doing
	RR   RR
	Bare bool // Away: whatever its data are
}

// Doing is what an edit does.
type Doing int

const (
	Stand  Doing = iota // in place of all that has its name and type; of texts, those with the same first word
	Beside              // beside all that stands
	Away                // taken away
)

const maxEdit = 8192 // octets

var editable = []Type{TypeA, TypeAAAA, TypeCNAME, TypeMX, TypePTR, TypeTXT}

// ParseEdit reads an edit: a line of a zone file with an absolute name, TTL and class left
// out at will, after "+" (Beside), "-" (Away; the data may be left out) or nothing (Stand). Two
// liberties are taken: an address may stand for its reverse name, and a text that is
// not quoted is taken whole.
func ParseEdit(line string) (Edit, error) {
	var e Edit
	if len(line) > maxEdit {
		return e, fmt.Errorf("longer than %d octets", maxEdit)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return e, errors.New("it holds a control character")
	}
	rest := strings.TrimSpace(line)
	for sign, do := range map[string]Doing{"+": Beside, "-": Away} {
		if after, ok := strings.CutPrefix(rest, sign); ok && strings.TrimLeft(after, " \t") != after {
			e.Do, rest = do, after
			break
		}
	}
	owner, rest := word(rest)
	kind, rest := word(rest)
	for kind != "" && (strings.Trim(kind, "0123456789") == "" || strings.EqualFold(kind, "IN")) {
		kind, rest = word(rest)
	}
	if owner == "" || kind == "" {
		return e, errors.New(`expected NAME TYPE DATA, as in "mail.example.net A 192.0.2.25"`)
	}
	if err := e.owner(owner, kind); err != nil {
		return e, err
	}
	if e.Bare = e.Do == Away && rest == ""; e.Bare {
		return e, nil
	}
	return e, e.data(rest)
}

// word splits the first word off.
func word(s string) (first, rest string) {
	s = strings.TrimLeft(s, " \t")
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.Trim(s[i:], " \t")
}

func (e *Edit) owner(name, kind string) error {
	for _, t := range editable {
		if strings.EqualFold(t.String(), kind) {
			e.RR.Type = t
		}
	}
	if e.RR.Type == 0 {
		return fmt.Errorf("%q is not A, AAAA, CNAME, MX, PTR or TXT", kind)
	}
	if addr, err := netip.ParseAddr(name); err == nil && e.RR.Type == TypePTR && addr.Zone() == "" {
		name = Reverse(addr)
	}
	c, err := Canonical(name)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c, "*.") {
		return fmt.Errorf("name %q: a wildcard stands for no name of its own; write the name that is asked for", name)
	}
	e.RR.Name = c
	return nil
}

// data reads what stands behind the type.
func (e *Edit) data(text string) (err error) {
	rr := &e.RR
	switch rr.Type {
	case TypeA, TypeAAAA:
		rr.Addr, err = netip.ParseAddr(text)
		if err != nil || rr.Addr.Is4() != (rr.Type == TypeA) || rr.Addr.Zone() != "" || rr.Addr.Is4In6() {
			return fmt.Errorf("%q is no %s address", text, map[Type]string{TypeA: "IPv4", TypeAAAA: "IPv6"}[rr.Type])
		}
	case TypeMX:
		pref, host := word(text)
		n, err := strconv.ParseUint(pref, 10, 16)
		if err != nil || host == "" {
			return fmt.Errorf(`%q: expected preference and host, as in "10 mx.example.net"`, text)
		}
		rr.Pref = uint16(n)
		if host == "." { // the null MX, RFC 7505
			return nil
		}
		rr.Host, err = Canonical(host)
		return err
	case TypeTXT:
		rr.Text, err = readText(text)
	default:
		rr.Host, err = Canonical(text)
	}
	return err
}

// readText reads the data of a TXT record, or a text as a person writes it.
func readText(s string) (string, error) {
	if s == "" {
		return "", errors.New("the text is missing")
	}
	if !strings.HasPrefix(s, `"`) {
		return printable(s), nil
	}
	r, err := dns.NewRR(". 0 IN TXT " + s)
	if err != nil {
		return "", fmt.Errorf("%s: not a text in quotes", printable(s))
	}
	txt, ok := r.(*dns.TXT)
	if !ok {
		return "", fmt.Errorf("%s: not a text in quotes", printable(s))
	}
	return text(txt.Txt), nil
}

// String is the edit as it can be typed.
func (e Edit) String() string {
	s := map[Doing]string{Beside: "+ ", Away: "- "}[e.Do] + e.RR.Name + ". " + e.RR.Type.String()
	switch {
	case e.Bare:
		return s
	case e.RR.Addr.IsValid():
		return s + " " + e.RR.Addr.String()
	case e.RR.Type == TypeMX:
		return fmt.Sprintf("%s %d %s.", s, e.RR.Pref, e.RR.Host)
	case e.RR.Type == TypeTXT:
		return s + ` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e.RR.Text) + `"`
	}
	return s + " " + e.RR.Host + "."
}

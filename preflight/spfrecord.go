package preflight

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The evaluator says what receivers compute from an SPF record. This parser says
// what it cannot: which term is at fault, where it stands, and how it should read.

// spfRecord is an SPF record, term by term (RFC 7208 section 12).
type spfRecord []spfTerm

// spfTerm is one mechanism or modifier. Fault is empty in a good one.
type spfTerm struct {
	Text      string
	At        int // octets before it
	Qualifier byte
	Name      string // lower case
	Modifier  bool
	Domain    string       // domain-spec, macros unexpanded; "" where there is none
	Prefix    netip.Prefix // ip4, ip6
	Bits4     int          // a, mx: of the networks around the addresses
	Bits6     int
	Fault     string
	Mild      bool   // evaluators ignore the fault
	Fixed     string // what was meant, if it can be guessed
}

// namesClient tells whether a term rests on the names of the client's address: ptr, or
// the macro %{p} (RFC 7208 section 7.2). In exp= it decides nothing.
func (t spfTerm) namesClient() bool {
	return !t.Modifier && t.Name == "ptr" || t.Name != "exp" && strings.Contains(strings.ToLower(t.Domain), "%{p")
}

// isSPF tells whether a TXT record is an SPF record (RFC 7208 section 4.5).
func isSPF(txt string) bool {
	return len(txt) >= 6 && strings.EqualFold(txt[:6], "v=spf1") && (len(txt) == 6 || txt[6] == ' ')
}

// parseSPF takes a record apart. It never fails: what is wrong is said of the
// term at fault.
func parseSPF(txt string) (rec spfRecord) {
	seen := map[string]bool{}
	for at := len("v=spf1"); at < len(txt); {
		if txt[at] == ' ' {
			at++
			continue
		}
		end := len(txt)
		if i := strings.IndexByte(txt[at:], ' '); i >= 0 {
			end = at + i
		}
		t := parseTerm(txt[at:end])
		t.At = at
		if t.Modifier && (t.Name == "redirect" || t.Name == "exp") && t.Fault == "" {
			if seen[t.Name] {
				t.Fault = "stands twice" // RFC 7208 section 6
			}
			seen[t.Name] = true
		}
		rec = append(rec, t)
		at = end
	}
	return rec
}

var spfModifier = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9._-]*)=(.*)$`)

func parseTerm(text string) spfTerm {
	t := spfTerm{Text: text, Qualifier: '+'}
	if m := spfModifier.FindStringSubmatch(text); m != nil {
		t.Modifier, t.Name, t.Domain = true, strings.ToLower(m[1]), m[2]
		t.modifier()
		return t
	}
	body := text
	if strings.IndexByte("+-~?", body[0]) >= 0 {
		t.Qualifier, body = body[0], body[1:]
	}
	name, arg, has := body, "", false
	if i := strings.IndexAny(body, ":/"); i >= 0 {
		name, arg, has = body[:i], body[i:], true
	}
	t.Name = strings.ToLower(name)
	switch t.Name {
	case "all":
		if has {
			t.Fault, t.Fixed = "takes no argument", t.sign()+"all"
		}
	case "include", "exists":
		if t.Domain = strings.TrimPrefix(arg, ":"); !strings.HasPrefix(arg, ":") || t.Domain == "" {
			t.Fault = "needs a domain"
		} else {
			t.Fault = domainSpec(t.Domain)
		}
	case "a", "mx", "ptr":
		t.hosts(arg)
	case "ip4", "ip6":
		t.address(strings.TrimPrefix(arg, ":"))
	default:
		t.stranger(body)
	}
	return t
}

// sign is the qualifier as it is written.
func (t *spfTerm) sign() string {
	if t.Qualifier == '+' {
		return ""
	}
	return string(t.Qualifier)
}

// modifier reads name=value. An unknown modifier is legal and ignored, but one
// that has the name of a mechanism was meant to be that.
func (t *spfTerm) modifier() {
	switch t.Name {
	case "redirect", "exp":
		t.Fault = domainSpec(t.Domain)
	case "a", "mx", "include", "ip4", "ip6", "ip", "ipv4", "ipv6", "exists", "ptr":
		t.Fault, t.Mild = "is read as a modifier that nobody knows: \":\" goes before the value, not \"=\"", true
		if fixed := parseTerm(t.Name + ":" + t.Domain); fixed.Fault == "" {
			t.Fixed = fixed.Text
		} else {
			t.Fixed = fixed.Fixed
		}
	default:
		if strings.Contains(t.Domain, "%") {
			t.Fault = macroString(t.Domain)
		}
	}
}

// hosts reads [":" domain-spec] [dual-cidr-length].
func (t *spfTerm) hosts(arg string) {
	t.Bits4, t.Bits6 = 32, 128
	domain, cidr := arg, ""
	if i := cidrStart(arg); i >= 0 {
		domain, cidr = arg[:i], arg[i:]
	}
	if strings.HasPrefix(domain, ":") {
		t.Domain = domain[1:]
		if t.Fault = domainSpec(t.Domain); t.Fault != "" {
			if a, err := netip.ParseAddr(t.Domain); err == nil {
				t.Fixed = t.sign() + ipTerm(a)
			}
			return
		}
	}
	if cidr == "" {
		return
	}
	four, six, dual := strings.Cut(cidr[1:], "//")
	if strings.HasPrefix(cidr, "//") {
		four, six, dual = "", cidr[2:], true
	}
	if t.Name == "ptr" || four == "" && !dual || four != "" && !cidrLength(four, 32) || dual && !cidrLength(six, 128) {
		t.Fault = fmt.Sprintf("has a bad prefix length %q", cidr)
		return
	}
	if four != "" {
		t.Bits4, _ = strconv.Atoi(four)
	}
	if dual {
		t.Bits6, _ = strconv.Atoi(six)
	}
}

// cidrStart finds the slash that begins a prefix length: slashes may stand in
// the macros of a domain too.
func cidrStart(arg string) int {
	depth := 0
	for i := range len(arg) {
		switch arg[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '/':
			if depth <= 0 {
				return i
			}
		}
	}
	return -1
}

// cidrLength is 0 to most, without leading zeros (RFC 7208 section 12).
func cidrLength(s string, most int) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= most && s == strconv.Itoa(n)
}

// address reads the network of ip4 and ip6.
func (t *spfTerm) address(arg string) {
	host, length, has := strings.Cut(arg, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		t.Fault = fmt.Sprintf("needs an address, not %q", arg)
		if dnsName.MatchString(arg) && domainSpec(arg) == "" {
			t.Fixed = t.sign() + "a:" + arg
		}
		return
	}
	if a.Is4() != (t.Name == "ip4") {
		t.Fault = fmt.Sprintf("%s is an address of the other family", a)
		t.Fixed = t.sign() + ipName(a) + ":" + arg
		return
	}
	bits := a.BitLen()
	if has {
		if !cidrLength(length, a.BitLen()) {
			t.Fault = fmt.Sprintf("has a bad prefix length \"/%s\"", length)
			return
		}
		bits, _ = strconv.Atoi(length)
	}
	t.Prefix = netip.PrefixFrom(a, bits)
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*$`)

// stranger is no mechanism. Some are common slips of the pen.
func (t *spfTerm) stranger(body string) {
	t.Fault = "unknown mechanism"
	name, arg, has := strings.Cut(body, ":")
	fixed := ""
	switch strings.ToLower(name) {
	case "ip", "ipv4", "ipv6", "ip-4", "ip-6":
		host, _, _ := strings.Cut(arg, "/")
		if a, err := netip.ParseAddr(host); err == nil {
			fixed = ipName(a) + ":" + arg
		}
	case "redirect", "exp":
		if has {
			fixed = strings.ToLower(name) + "=" + arg
		}
	case "includes":
		fixed = "include:" + arg
	default:
		host, _, _ := strings.Cut(body, "/")
		if a, err := netip.ParseAddr(host); err == nil {
			fixed = ipName(a) + ":" + body
		} else if strings.EqualFold(strings.TrimRight(body, ".;,"), "all") {
			fixed = "all"
		}
	}
	if fixed == "" {
		return
	}
	if !strings.Contains(fixed, "=") {
		fixed = t.sign() + fixed
	}
	if parseTerm(fixed).Fault == "" {
		t.Fixed = fixed
	}
}

func ipName(a netip.Addr) string {
	if a.Is4() {
		return "ip4"
	}
	return "ip6"
}

func ipTerm(a netip.Addr) string { return ipName(a) + ":" + a.String() }

var (
	spfMacro = regexp.MustCompile(`%(?:[%_-]|\{[slodiphvSLODIPHV][0-9]*[rR]?[-.+,/_=]*\})`)
	oddOctet = regexp.MustCompile(`\\[0-9]{3}`) // as our resolver writes what is not printable
	topLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
)

// macroString says what is wrong with a text with macros (RFC 7208 section 7.1).
func macroString(s string) string {
	if odd := oddOctet.FindString(s); odd != "" {
		return "has the octet " + odd + " in it"
	}
	for s != "" {
		if s[0] != '%' {
			if s[0] <= ' ' || s[0] > '~' {
				return fmt.Sprintf("has the octet %q in it", s[0])
			}
			s = s[1:]
			continue
		}
		m := ""
		if at := spfMacro.FindStringIndex(s); at != nil && at[0] == 0 {
			m = s[:at[1]]
		}
		if m == "" || strings.HasPrefix(m, "%{") && strings.TrimLeft(m[3:], "0") != m[3:] {
			return fmt.Sprintf("has a bad macro at %q", s)
		}
		s = s[len(m):]
	}
	return ""
}

// domainSpec says what is wrong with a domain-spec: it ends in a top label or
// in a macro.
func domainSpec(s string) string {
	if s == "" {
		return "needs a domain"
	}
	if fault := macroString(s); fault != "" {
		return fault
	}
	if strings.Contains(spfMacro.ReplaceAllString(s, ""), "/") {
		return "takes no prefix length" // the grammar has room for a slash, names have not
	}
	if strings.HasSuffix(s, "}") || strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-") {
		return ""
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	last := labels[len(labels)-1]
	if len(labels) < 2 || !topLabel.MatchString(last) || strings.Trim(last, "0123456789") == "" {
		return fmt.Sprintf("needs a domain, not %q", s)
	}
	if !strings.Contains(s, "%") {
		for _, l := range labels {
			if l == "" || len(l) > 63 {
				return fmt.Sprintf("needs a domain, not %q", s)
			}
		}
	}
	return ""
}

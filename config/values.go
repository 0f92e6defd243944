package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

var errWord = errors.New("not understood")

// Duration is a time with its unit: "30s", "1h30m", "5d". A day is 24 hours.
type Duration time.Duration

func (d *Duration) UnmarshalText(text []byte) error {
	s, days := string(text), time.Duration(0)
	if before, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(before, 10, 16)
		if err != nil || n > 3650 {
			return errWord
		}
		if s, days = after, time.Duration(n)*24*time.Hour; s == "" {
			*d = Duration(days)
			return nil
		}
	}
	rest, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return errWord
	case rest < 0:
		return errors.New("less than nothing")
	case rest > 3650*24*time.Hour:
		return errors.New("more than ten years")
	}
	*d = Duration(days + rest)
	return nil
}

func (d Duration) MarshalText() ([]byte, error) {
	const day = Duration(24 * time.Hour)
	if d >= 2*day && d%day == 0 {
		return fmt.Appendf(nil, "%dd", d/day), nil
	}
	s := time.Duration(d).String()
	if d != 0 {
		s = trimZero(trimZero(s, "m", "0s"), "h", "0m")
	}
	return []byte(s), nil
}

// trimZero takes a part that says nothing off: "5m0s" is "5m".
func trimZero(s, after, part string) string {
	if strings.HasSuffix(s, after+part) {
		return strings.TrimSuffix(s, part)
	}
	return s
}

func (d Duration) String() string {
	text, _ := d.MarshalText()
	return string(text)
}

func (*Duration) expects() (what, hint string) {
	return "a time with its unit", `write "30s", "5m", "6h" or "5d"`
}

// worded is a duration that a word may stand for, -1 inside.
func worded(d *Duration, word string, text []byte) error {
	if string(text) == word {
		*d = -1
		return nil
	}
	return d.UnmarshalText(text)
}

// Settle is a Duration or "auto".
type Settle struct{ Duration }

func (s *Settle) UnmarshalText(text []byte) error { return worded(&s.Duration, "auto", text) }

func (s Settle) MarshalText() ([]byte, error) {
	if s.Duration < 0 {
		return []byte("auto"), nil
	}
	return s.Duration.MarshalText()
}

func (*Settle) expects() (what, hint string) {
	return `"auto" or a time with its unit`, `write "auto" or, for example, "30m"`
}

// Notice is a Duration or "never".
type Notice struct{ Duration }

func (n *Notice) UnmarshalText(text []byte) error { return worded(&n.Duration, "never", text) }

func (n Notice) MarshalText() ([]byte, error) {
	if n.Duration < 0 {
		return []byte("never"), nil
	}
	return n.Duration.MarshalText()
}

func (*Notice) expects() (what, hint string) {
	return `"never" or a time with its unit`, `write "never" or, for example, "4h"`
}

// Size is a number of octets with its unit: "512KiB", "50MiB".
type Size int64

var units = []struct {
	name   string
	octets int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 {
			return errWord
		}
		if n > math.MaxInt64/u.octets {
			return errors.New("too large")
		}
		*s = Size(n * u.octets)
		return nil
	}
	return errWord
}

func (s Size) MarshalText() ([]byte, error) {
	for _, u := range units {
		if s != 0 && int64(s)%u.octets == 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.octets, u.name), nil
		}
	}
	return []byte("0B"), nil
}

func (s Size) String() string {
	text, _ := s.MarshalText()
	return string(text)
}

func (*Size) expects() (what, hint string) {
	return "a size with its unit", `write "512KiB" or "50MiB"`
}

// Mode is the permission of a file, in octal.
type Mode uint32

func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return errWord
	}
	*m = Mode(n)
	return nil
}

func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

func (*Mode) expects() (what, hint string) {
	return "a file mode in octal, as a text", `write "0660"`
}

// domain is a name from the file in its canonical form. ok is false, and the
// problem noted, when it is none.
func (l *loader) domain(key, name string) (canonical string, ok bool) {
	canonical, err := dns.Canonical(name)
	if err != nil || !hostish(canonical) {
		l.bad(key, `write it as in an address: "example.com"`, "%q: not a domain name", name)
		return "", false
	}
	return canonical, true
}

// hostish is a domain that may stand after the @ of an address; one label is
// enough, a private network may have no more.
func hostish(name string) bool { return dns.IsHostname(name) || dns.IsHostname("x."+name) }

// address is an IP address from the file; "" is the zero Addr.
func (l *loader) address(key, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		l.bad(key, `write it as "192.0.2.25" or "2001:db8::25"`, "%q: not an IP address", text)
		return netip.Addr{}
	}
	return a.Unmap()
}

// choice is one of a few words.
func (l *loader) choice(key, word string, words ...string) {
	for _, w := range words {
		if w == word {
			return
		}
	}
	l.bad(key, "", "%q: expected %s", word, oneOf(words))
}

func oneOf(words []string) string {
	if len(words) == 1 {
		return strconv.Quote(words[0])
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// between checks a duration's range and returns it.
func (l *loader) between(key string, d, least, most Duration) time.Duration {
	if d < least || d > most {
		l.bad(key, "", "%v: expected %v to %v", d, least, most)
	}
	return time.Duration(d)
}

// number checks a number's range and returns it.
func (l *loader) number(key string, n, least, most int) int {
	if n < least || n > most {
		l.bad(key, "", "%d: expected %d to %d", n, least, most)
	}
	return n
}

// absolute is path as seen from dir. What a service manager hands over
// (credential:NAME) has no place of its own.
func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) || strings.HasPrefix(path, credential) {
		return path
	}
	if abs, err := filepath.Abs(filepath.Join(dir, path)); err == nil {
		return abs
	}
	return filepath.Join(dir, path)
}

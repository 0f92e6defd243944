package submit

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	l64, long := strings.Repeat("l", 64), strings.Repeat("a.", 94)
	for in, want := range map[string]string{
		`a@example.com`:                      `a@example.com`,
		`A.b+c@EXAMPLE.com`:                  `A.b+c@example.com`,
		`"a b"@example.com`:                  `"a b"@example.com`,
		`"abc"@example.com`:                  `abc@example.com`,
		`"a\"\\b"@example.com`:               `"a\"\\b"@example.com`,
		`"a@b"@example.com`:                  `"a@b"@example.com`,
		`".a"@example.com`:                   `".a"@example.com`,
		`"x> NOTIFY=NEVER"@x.example`:        `"x> NOTIFY=NEVER"@x.example`,
		`a@[192.0.2.1]`:                      `a@[192.0.2.1]`,
		`a@[ipv6:2001:DB8::1]`:               `a@[IPv6:2001:db8::1]`,
		`ü@bücher.example`:                   `ü@xn--bcher-kva.example`,
		`a@BÜCHER.example`:                   `a@xn--bcher-kva.example`,
		`a@host`:                             `a@host`,
		l64 + `@example.com`:                 l64 + `@example.com`,
		`a!b%c@example.com`:                  `a!b%c@example.com`,
		l64 + "@" + long + "a":               l64 + "@" + long + "a",
		``:                                   "!empty",
		`a`:                                  "!no domain",
		`@example.com`:                       "!unexpected",
		`a@`:                                 "!no domain",
		`a@b@example.com`:                    "!no domain",
		`a..b@example.com`:                   "!misplaced dot",
		`.a@example.com`:                     "!misplaced dot",
		`a.@example.com`:                     "!misplaced dot",
		`a b@example.com`:                    "!unexpected",
		`"a@example.com`:                     "!without end",
		`"a"b@example.com`:                   "!unexpected",
		`""@example.com`:                     "!nothing between",
		"\"a\x00\"@example.com":              "!control",
		"\"a\r\n\"@example.com":              "!control",
		"\"\\\x01\"@example.com":             "!unprintable",
		"\"\u0085\"@example.com":             "!control",
		"a\xff@example.com":                  "!UTF-8",
		`(c)a@example.com`:                   "!unexpected",
		`a@example..com`:                     "!is no domain",
		`a@example.com.`:                     "!is no domain",
		`a@exa_mple.com`:                     "!is no domain",
		`a@-a.com`:                           "!is no domain",
		`a@` + strings.Repeat("l", 64):       "!is no domain",
		`a@` + strings.Repeat("a.", 130):     "!domain longer",
		`l` + l64 + `@example.com`:           "!64 octets",
		l64 + "@" + long + "aa":              "!254 octets",
		`a@[192.0.2.256]`:                    "!no address literal",
		`a@[192.0.2.1`:                       "!without ]",
		`a@[IPv6:192.0.2.1]`:                 "!no address literal",
		`a@[2001:db8::1]`:                    "!no address literal",
		`a@[IPv6:fe80::1%eth0]`:              "!no address literal",
		"a@\u200d.example":                   "!domain",
		`a@xn--bcher-kva.example@x`:          "!is no domain",
		strings.Repeat("x", 1500) + `@a.com`: "!64 octets",
	} {
		a, err := parseAddress(in, true)
		if text, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), text) && text != "no domain" {
				t.Errorf("%q: %v, %v; want %q", in, a, err, text)
			}
			continue
		}
		if err != nil || a.String() != want {
			t.Errorf("%q: %q, %v", in, a, err)
		}
	}
	for _, in := range []string{"ü@example.com", "a@bücher.example", `"ü"@example.com`} {
		if _, err := parseAddress(in, false); err != errUTF8 {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{
		"MAIL FROM:<a@example.com>":                 "a@example.com",
		"mail from: <a@example.com> SIZE=1":         "a@example.com",
		"MAIL FROM:a@example.com SIZE=1":            "a@example.com",
		"MAIL FROM:<>":                              "",
		"MAIL FROM:<> BODY=7BIT":                    "",
		`MAIL FROM:<"a> b"@example.com> SIZE=1`:     `"a> b"@example.com`,
		`MAIL FROM:"a b"@example.com SIZE=1`:        `"a b"@example.com`,
		"MAIL FROM:<a@example.com":                  "!no >",
		"MAIL FROM:<a@example.com>x":                "!after >",
		"MAIL FROM:<@relay.example:a@example.com>":  "!source route",
		"MAIL FROM:<a@example.com>,<b@example.com>": "!after >",
		"MAIL FROM:":                  "!empty",
		"MAIL":                        "!expected FROM:",
		"MAIL TO:<a@example.com>":     "!expected FROM:",
		"MAIL FROM:<<a@example.com>>": "!",
		`MAIL FROM:<"a\">` + `x@example.com> SIZE=1`: "!no >",
	} {
		a, err := parsePath(in, "FROM:", false)
		if text, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v, %v", in, a, err)
			}
		} else if err != nil || a.String() != want {
			t.Errorf("%q: %q, %v", in, a, err)
		}
	}
}

// FuzzAddress: what is put on the wire reads back as the same address, from
// within a command too, and means nothing but an address.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{`a@example.com`, `"x> NOTIFY=NEVER"@x.example`, `"\"\\"@[192.0.2.1]`, "ü@bücher.example", `"a"@[IPv6:::1]`, `""@b`, "a\r\n@b", `"a\ b"@c`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		a, err := parseAddress(s, utf8)
		if err != nil {
			return
		}
		wire := a.String()
		for _, r := range wire {
			if r < ' ' || r == 0x7f || r >= 0x80 && !utf8 {
				t.Fatalf("%q on the wire", wire)
			}
		}
		if len(a.local) > maxLocal || len(wire) > maxMailbox {
			t.Fatalf("%q is too long", wire)
		}
		if b, err := parseAddress(wire, utf8); err != nil || a != b {
			t.Fatalf("%q: %+v, then %+v, %v", s, a, b, err)
		}
		if b, err := parsePath("RCPT TO:<"+wire+"> NOTIFY=NEVER", "TO:", utf8); err != nil || a != b {
			t.Fatalf("%q: %+v, then %+v, %v", s, a, b, err)
		}
	})
}

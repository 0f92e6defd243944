package submit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func readText(s string) (header, string, error) {
	br := bufio.NewReader(&text{r: strings.NewReader(s), limit: 64 << 20})
	h, err := readHeader(br)
	if err != nil {
		return nil, "", err
	}
	if _, err = h.vet(50); err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(br)
	return h, string(b), err
}

func TestHeaderFaults(t *testing.T) {
	from := "From: a@example.com\r\n"
	for msg, want := range map[string]string{
		"":                               "554 5.6.0 the message has no From",
		"Subject: x\r\n\r\n":             "554 5.6.0 the message has no From",
		from + from:                      "554 5.6.0 the message has more than one From",
		from + "FROM: b@example.com\r\n": "554 5.6.0 the message has more than one From",
		" leading\r\n" + from:            "554 5.6.0 the header begins with white space",
		from + "no colon\r\n\r\n":        `554 5.6.0 header line "no colon" has no colon`,
		"From a@example.com Mon\r\n":     "554 5.6.0 header line",
		from + "X y: z\r\n":              `554 5.6.0 "X y" is no name`,
		from + ": z\r\n":                 `554 5.6.0 "" is no name`,
		"From : a@example.com\r\n":       `554 5.6.0 "From " is no name`,
		from + "Ä: z\r\n":                "554 5.6.0",
		"From: nobody\r\n":               "554 5.6.0 the From field cannot be read: expected NAME <user@example.com>",
		"From: <>\r\n":                   "554 5.6.0 the From field cannot be read: expected NAME <user@example.com>",
		"From:\r\n":                      "554 5.6.0 the From field cannot be read: expected NAME <user@example.com>",
		"From: none:;\r\n":               "554 5.6.0 the From field cannot be read: expected NAME <user@example.com>",
		"From: a@exa_mple.com\r\n":       "554 5.6.0 the From field has an address",
		"From: a@[192.0.2.1]\r\n":        "554 5.6.0 the From field has an address",
		from + "X: " + strings.Repeat("x", 2000) + "\r\n":      "554 5.6.0 the header field x has a line",
		from + "X: " + strings.Repeat(" ", 2000) + "\r\n":      "554 5.6.0 the header field x has a line",
		from + strings.Repeat("X: y\r\n", 1000):                "554 5.6.0 the header has more than 1000 fields",
		from + "X: y\r\n" + strings.Repeat(" y\r\n", 2001):     "554 5.6.0 the header has more than 2000 continued lines",
		from + "X: " + strings.Repeat("x y ", 30<<10) + "\r\n": "552 5.3.4 the header is larger than 102400",
		from + strings.Repeat("Received: from x\r\n", 50):      "554 5.4.6",
		from + "X: y\rZ: y\r\n":                                "550 5.6.11",
		from + "X: \x00\r\n":                                   "550 5.6.11",
	} {
		h, _, err := readText(msg)
		if err == nil {
			err = h.writeTo(io.Discard)
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: %v; want %q", msg, err, want)
		}
	}
}

func TestHeaderLimitsAreExact(t *testing.T) {
	from := "From: a@example.com\r\n"
	for _, msg := range []string{
		from + strings.Repeat("X: y\r\n", 999),
		from + "X: y\r\n" + strings.Repeat(" y\r\n", 2000),
		from + strings.Repeat("Received: from x\r\n", 49),
		from + "X: " + strings.Repeat("x", 995) + "\r\n",
		from + strings.Repeat("X: "+strings.Repeat("x", 995)+"\r\n", 102),
	} {
		h, _, err := readText(msg)
		if err == nil {
			err = h.writeTo(io.Discard)
		}
		if err != nil {
			t.Errorf("%.60q: %v", msg, err)
		}
	}
}

func TestHeaderIsKeptAsItStands(t *testing.T) {
	msg := "X-First:  odd   spacing \r\nFrom:\r\n a@example.com\r\nbCC: c@example.com,\r\n d@example.com\r\nResent-Bcc: e@example.com\r\nSubject: grün\r\n\r\nbody\r\n"
	h, body, err := readText(msg)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := h.without("bcc", "resent-bcc").writeTo(&b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("X-First:  odd   spacing \r\nFrom:\r\n a@example.com\r\nSubject: grün\r\n\r\nbody\r\n", b.String()+body); d != "" {
		t.Error(d)
	}
}

func TestWideHeaderLineIsFolded(t *testing.T) {
	ids := strings.Repeat(" <0123456789@example.com>", 200)
	h, _, err := readText("From: a@example.com\r\nReferences:" + ids + "\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := h.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > maxWidth+2 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	if got := strings.ReplaceAll(b.String(), "\r\n ", " "); got != "From: a@example.com\r\nReferences:"+ids+"\r\n\r\n" {
		t.Errorf("unfolded: %.200q", got)
	}
}

func TestAddedFields(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.FixedZone("", 3600))
	add, id := header{}.added("relay.test", now)
	if want := fmt.Sprintf("Date: Mon, 23 Nov 2026 09:30:00 +0100\r\nMessage-ID: %s\r\n", id); string(add) != want || !strings.HasSuffix(id, "@relay.test>") {
		t.Errorf("%q %q", add, id)
	}
	h, _, err := readText("DATE: x\r\nmessage-id:\r\n <own@id>\r\nFrom: a@b.example\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if add, id := h.added("relay.test", now); len(add) != 0 || id != "<own@id>" {
		t.Errorf("%q %q", add, id)
	}
}

func TestAuthors(t *testing.T) {
	for from, want := range map[string][]string{
		`a@example.com`:                                   {"example.com"},
		`"b@evil.example" <a@EXAMPLE.com>`:                {"example.com"},
		`a@example.com, B <b@two.example>`:                {"example.com", "two.example"},
		`a@example.com, b@Example.com`:                    {"example.com"},
		`"a@b"@example.com`:                               {"example.com"},
		`ü@bücher.example`:                                {"xn--bcher-kva.example"},
		`=?utf-8?q?=40evil?= <a@b.example>`:               {"b.example"},
		`team: a@b.example, c@d.example;`:                 {"b.example", "d.example"},
		`a@example.com (comment @evil.test)`:              {"example.com"},
		`=?windows-1252?Q?J=FCrgen?= <a@b.example>`:       {"b.example"},
		`=?GB2312?B?xOO6ww==?= <a@b.example>`:             {"b.example"},
		`=?x-unheard-of?q?=22=2C?= <a@b.example>`:         {"b.example"},
		"J\xfcrgen <a@b.example>":                         {"b.example"},
		"\"J\xfcrgen\" <a@b.example>, \xff <c@d.example>": {"b.example", "d.example"},
	} {
		h := header{{name: "from", raw: []byte("FROM: " + from + "\r\n")}}
		got, err := h.authors()
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", from, err, d)
		}
		if string(h[0].raw) != "FROM: "+from+"\r\n" {
			t.Errorf("%s became %s", from, h[0].raw)
		}
	}
}

// A name that lacks its quotes gets them, and reads back as one.
func TestNamesGetTheirQuotes(t *testing.T) {
	for from, want := range map[string]string{
		"Company, Inc. <a@b.example>":                `"Company, Inc." <a@b.example>`,
		"[Site] Bot: hello\r\n\t@home <a@b.example>": `"[Site] Bot: hello @home" <a@b.example>`,
		"a@b.example <a@b.example>":                  `"a@b.example" <a@b.example>`,
		"x@evil.example [y, z <a@b.example>":         `"x@evil.example [y, z" <a@b.example>`,
		"J\xfcrgen, M. <a@b.example>":                "\"J\xfcrgen, M.\" <a@b.example>",
		"< a@b.example >":                            "<a@b.example>",
		"x@evil.example, y] <a@b.example>, c@d.test": "",
		`"x <a@b.example>`:                           "",
		`x] (<c@d.example>) <a@b.example>`:           "",
		"=?utf-8?q?a,?= [b] <a@b.example>":           "",
		"x] <a@b.example> <c@d.example>":             "",
		"x] <a@b.example>, <c@d.example>":            "",
		"x] <<a@b.example>>":                         "",
		"x] <a@b.example":                            "",
		"x] <a@[192.0.2.1]>":                         "",
		"x] <a@b.example, c@d.example>":              "",
		"root":                                       "",
	} {
		h := header{{name: "from", raw: []byte("From: " + from + "\r\n")}}
		_, err := h.authors()
		if got := strings.TrimPrefix(string(h[0].raw), "From: "); err == nil && got != want+"\r\n" || (err == nil) != (want != "") {
			t.Errorf("%q became %q, %v", from, got, err)
		}
	}
}

// FuzzHeader: what is accepted is within the caps, reads back the same, and
// has an author.
func FuzzHeader(f *testing.F) {
	f.Add("From: a@example.com\r\nX: y\r\n z\r\n\r\nbody")
	f.Add("From: a@b\nBcc: c\n\n")
	f.Add("From: \"\\\" <a@b.example>\r\n\r\n")
	f.Add("From:=?utf-8?b?w7w=?= <\"ü\"@b.example>, c: d@e;\r\nA:" + strings.Repeat(" b", 600))
	f.Fuzz(func(t *testing.T, msg string) {
		h, _, err := readText(msg)
		if err != nil {
			if _, ok := err.(*refusal); !ok {
				t.Fatal(err)
			}
			return
		}
		var b bytes.Buffer
		if h.writeTo(&b) != nil {
			return
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > maxWidth+2 || !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Fatalf("line %q", line)
			}
		}
		again, rest, err := readText(b.String())
		if err != nil || rest != "" || len(again) != len(h) {
			t.Fatalf("%v: %q", err, b.String())
		}
		for i := range h {
			if h[i].body() != again[i].body() {
				t.Fatalf("%q became %q", h[i].raw, again[i].raw)
			}
		}
	})
}

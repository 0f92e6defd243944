package sign

import (
	"strings"
	"testing"
	"time"
)

func TestShapes(t *testing.T) {
	long := "X-Long: " + strings.Repeat("a", 100<<10) + "\r\n"
	for name, msg := range map[string]string{
		"no empty line":        "From: a@example.net\r\nSubject: x\r\n",
		"no last CRLF either":  "From: a@example.net\r\nSubject: x",
		"no body":              "From: a@example.net\r\n\r\n",
		"body of empty lines":  "From: a@example.net\r\n\r\n" + strings.Repeat("\r\n", 10000),
		"body of blanks":       "From: a@example.net\r\n\r\n \t \r\n  ",
		"no CRLF at the end":   "From: a@example.net\r\n\r\nx",
		"space before colon":   "From : a@example.net\r\nTo\t: b@example.org\r\n\r\nx\r\n",
		"long field":           long + "From: a@example.net\r\n\r\nx\r\n",
		"empty continuation":   "From:\r\n \r\n a@example.net\r\n\r\nx\r\n",
		"8-bit":                "From: J\xc3\xbcrgen <j@example.net>\r\nSubject: \xff\r\n\r\n\xff\x00\r\n",
		"fields twice":         "From: a@example.net\r\nTo: b@x\r\nTo: c@x\r\nSubject: 1\r\nSubject: 2\r\n\r\nx\r\n",
		"1,000 fields":         strings.Repeat("To: b@example.org\r\n", 999) + "From: a@example.net\r\n\r\nx\r\n",
		"2,000 folds":          "From: a@example.net" + strings.Repeat("\r\n ", 2000) + "\r\n\r\nx\r\n",
		"tag-like field names": "From: a@example.net\r\nh=From: x\r\n\r\nx\r\n",
	} {
		head := mustSign(t, msg)
		if !strings.Contains(msg, "\r\n\r\n") {
			msg = strings.TrimSuffix(msg, "\r\n") + "\r\n\r\n"
		}
		if good, fault := verify(t, head+msg); good != 2 {
			t.Errorf("%s: %v\n%s", name, fault, head)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ msg, want string }{
		"40,000 fields":          {strings.Repeat("a:b\r\n", 40000) + "From: a@example.net\r\n\r\n", "more than 1024 fields"},
		"200,000 folds":          {"From: a@example.net\r\n" + strings.Repeat(" x\r\n", 200000) + "\r\n", "more than 2024 folded lines"},
		"large header":           {"From: a@example.net\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "larger than 262144 octets"},
		"endless line":           {strings.Repeat("x", 1<<20), "larger than 262144 octets"},
		"two From":               {"From: a@example.net\r\nfrom : b@example.org\r\n\r\n", "2 From fields"},
		"no From":                {"To: a@example.net\r\n\r\n", "0 From fields"},
		"nothing":                {"", "0 From fields"},
		"leading space":          {" From: a@example.net\r\n\r\n", "begins with a space"},
		"no colon":               {"From: a@example.net\r\nhello\r\n\r\n", "field 2 has no name and colon"},
		"no name":                {"From: a@example.net\r\n : x\r\n: x\r\n\r\n", "field 2 has no name"},
		"bare LF in header":      {"From: a@example.net\nTo: b@example.org\r\n\r\n", "stands alone"},
		"bare CR in header":      {"From: a@example.net\rTo: b@example.org\r\n\r\n", "stands alone"},
		"bare LF in body":        {"From: a@example.net\r\n\r\na\nb\r\n", "stands alone"},
		"bare CR in body":        {"From: a@example.net\r\n\r\na\rb\r\n", "stands alone"},
		"CR at the end":          {"From: a@example.net\r\n\r\na\r", "stands alone"},
		"millions of empty rows": {"From: a@example.net\r\n\r\n" + strings.Repeat(" \r\n", maxEmpty+1), "empty lines in a row"},
	} {
		at := time.Now()
		head, err := New(Options{Keys: testKeys()}).Sign("example.net", strings.NewReader(c.msg))
		if err == nil || !strings.Contains(err.Error(), c.want) || head != nil {
			t.Errorf("%s: got %q, %v, want an error with %q", name, head, err, c.want)
		}
		if took := time.Since(at); took > 2*time.Second {
			t.Errorf("%s: refused only after %v", name, took)
		}
	}
}

// TestLines: h= is folded, whatever is present.
func TestLines(t *testing.T) {
	var worst strings.Builder
	for _, f := range signed {
		n := 20
		if f.name == "From" {
			n = 1
		}
		worst.WriteString(strings.Repeat(f.name+": x@example.net\r\n", n))
	}
	for name, c := range map[string]struct {
		msg  string
		most int
	}{
		"usual": {sample, 100},
		"worst": {worst.String() + "\r\nx\r\n", 998},
	} {
		head := mustSign(t, c.msg)
		for line := range strings.SplitSeq(strings.TrimSuffix(head, "\r\n"), "\r\n") {
			if len(line) > c.most || line == "" || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%s: line of %d octets: %q", name, len(line), line)
			}
		}
		if good, fault := verify(t, head+c.msg); good != 2 {
			t.Errorf("%s: %v\n%s", name, fault, head)
		}
	}
}

// FuzzSign: what is signed verifies; what is not is an error; nothing panics.
func FuzzSign(f *testing.F) {
	f.Add(sample)
	f.Add("From: a@example.net\r\n\r\n")
	f.Add("From : a@example.net\r\nSubject:\r\n \r\n\tx\r\n\r\n \r\n\r\nx ")
	f.Add("From: a@example.net\r\nTo: b\r\nTo: c\r\nTo: d\r\n\r\n.\r\n..\r\n")
	f.Add("From: a\r\nDKIM-Signature: v=1; h=From: To\r\n\r\nx")
	f.Add("From: a\r\nno colon\r\n\r\nx")
	f.Add("\r\n\r\n")
	f.Fuzz(func(t *testing.T, msg string) {
		if strings.Contains(strings.ToLower(msg), "dkim-signature") {
			return // a foreign signature is not ours to judge
		}
		head, err := New(Options{Keys: testKeys()}).Sign("example.net", strings.NewReader(msg))
		if err != nil {
			return
		}
		if !strings.Contains(msg, "\r\n\r\n") {
			msg = strings.TrimSuffix(msg, "\r\n") + "\r\n\r\n"
		}
		if good, fault := verify(t, string(head)+msg); good != 2 {
			t.Errorf("%d good: %v\n%s", good, fault, head)
		}
		for line := range strings.SplitSeq(string(head), "\r\n") {
			if len(line) > 998 {
				t.Errorf("line of %d octets", len(line))
			}
		}
	})
}

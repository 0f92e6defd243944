package submit

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"a\r\nb\r\n":               "a\r\nb\r\n",
		"a\nb\n\nc":                "a\r\nb\r\n\r\nc\r\n",
		"no end":                   "no end\r\n",
		"\n":                       "\r\n",
		strings.Repeat("x", 9000):  strings.Repeat("x", 9000) + "\r\n",
		strings.Repeat("\n", 5000): strings.Repeat("\r\n", 5000),
		"a\rb":                     "!550 5.6.11",
		"a\r":                      "!550 5.6.11",
		"a\r\r\n":                  "!550 5.6.11",
		"a\x00":                    "!550 5.6.11",
		strings.Repeat("y", 10001): "!552 5.3.4",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			x := &text{r: r, limit: 10000}
			b, err := io.ReadAll(x)
			if code, bad := strings.CutPrefix(want, "!"); bad {
				if err == nil || !strings.HasPrefix(err.Error(), code) {
					t.Errorf("%.20q: %v", in, err)
				}
				if _, again := x.Read(make([]byte, 8)); again != err {
					t.Errorf("%.20q: then %v", in, again)
				}
			} else if err != nil || string(b) != want || x.bare != strings.Count(in, "\n")-strings.Count(in, "\r\n") {
				t.Errorf("%.20q: %.40q, %v, %d bare", in, b, err, x.bare)
			}
		}
	}
	var b *broken
	if _, err := io.ReadAll(&text{r: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("ab"))), limit: 9}); !errors.As(err, &b) {
		t.Errorf("%v", err)
	}
}

func TestRuler(t *testing.T) {
	for in, want := range map[string]int{"": 0, "\r\n": 0, "abc\r\n": 3, "a\r\nabcd\r\nab\r\n": 4, strings.Repeat("x", 998) + "\r\n": 998} {
		for _, step := range []int{1, 2, 3, 5000} {
			r := &ruler{w: io.Discard}
			for s := in; s != ""; s = s[min(step, len(s)):] {
				r.Write([]byte(s[:min(step, len(s))]))
			}
			if r.widest != want || r.n != int64(len(in)) || r.eight {
				t.Errorf("%.10q by %d: %+v", in, step, r)
			}
		}
	}
	r := &ruler{w: io.Discard}
	if io.WriteString(r, "grün"); !r.eight {
		t.Error("seven bits")
	}
}

// FuzzText: whatever is read has CRLF line ends and nothing else of that kind,
// the same in any segmentation.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a\r\nb", "\n.\n", "\r\n.\r", "\r\r\n", "\x00", ".\r\n", strings.Repeat("\n", 4097)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := io.ReadAll(&text{r: strings.NewReader(s), limit: 1 << 20})
		c, err2 := io.ReadAll(&text{r: iotest.OneByteReader(strings.NewReader(s)), limit: 1 << 20})
		if (err == nil) != (err2 == nil) || err == nil && string(b) != string(c) {
			t.Fatalf("%q: %q %v, %q %v", s, b, err, c, err2)
		}
		if err != nil {
			return
		}
		if strings.ContainsAny(strings.ReplaceAll(string(b), "\r\n", ""), "\r\n\x00") {
			t.Fatalf("%q became %q", s, b)
		}
	})
}

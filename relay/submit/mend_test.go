package submit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
)

// mendText mends a message as Data would.
func mendText(t testing.TB, msg string) (string, error) {
	t.Helper()
	wide := survey{}
	if err := walk(strings.NewReader(msg), &wide); err != nil {
		return "", err
	}
	var b bytes.Buffer
	rule := &ruler{w: &b}
	if err := walk(strings.NewReader(msg), &mender{w: rule, wide: wide.parts}); err != nil {
		return "", err
	}
	if rule.widest > maxWidth {
		t.Fatalf("a line of %d octets is left", rule.widest)
	}
	return b.String(), nil
}

// leaves decodes a message into its leaves, by the standard library.
func leaves(t testing.TB, msg string) []string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(msg))
	if err != nil {
		t.Fatalf("%v in %.300q", err, msg)
	}
	return leavesOf(t, m.Header.Get, m.Body)
}

func leavesOf(t testing.TB, get func(string) string, body io.Reader) []string {
	t.Helper()
	media, params, _ := mime.ParseMediaType(get("Content-Type"))
	if media == "message/rfc822" {
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return leaves(t, string(b))
	}
	if strings.HasPrefix(media, "multipart/") {
		var all []string
		for mr := multipart.NewReader(body, params["boundary"]); ; {
			p, err := mr.NextRawPart()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, leavesOf(t, p.Header.Get, p)...)
		}
	}
	switch strings.ToLower(get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return []string{string(b)}
}

var (
	wideHTML   = "<p>" + strings.Repeat("größer = besser <b>x</b> ", 400) + "</p>"
	wideQP     = strings.Repeat("=C3=BC-und so weiter ", 90)
	wideBase64 = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("relay"), 900))
)

func TestMendKeepsWhatPartsDecodeTo(t *testing.T) {
	top := "From: a@example.com\r\nMIME-Version: 1.0\r\n"
	for name, msg := range map[string]string{
		"plain text without MIME": "From: a@example.com\r\n\r\nshort\r\n" + wideHTML + " \r\n\tend\t\r\n",
		"html":                    top + "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + wideHTML + "\r\n",
		"not text":                top + "Content-Type: application/json\r\n\r\n{\"a\": \"" + wideHTML + "\"}\r\n\r\n",
		"quoted-printable":        top + "Content-Type: text/plain\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n" + wideQP + "=\r\n" + wideQP + "\r\nx\r\n",
		"base64":                  top + "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wideBase64 + "\r\n",
		"alternative": top + "Content-Type: multipart/alternative; boundary=\"b 1\"\r\n\r\npreamble\r\n--b 1\r\n\r\nnarrow\r\n\r\n--b 1\r\nContent-Type: text/html\r\n\r\n" + wideHTML +
			"\r\n--b 1\r\nContent-Type: application/octet-stream\r\n\r\n" + wideHTML + "\r\n\r\n--b 1--\r\nepilogue\r\n",
		"nested": top + "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/related; boundary=oo\r\n\r\n--oo\r\nContent-Type: text/html\r\n\r\n" + wideHTML +
			"\r\n--oo--\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nReferences: " + strings.Repeat(" <id@example.com>", 100) + "\r\n\r\n" + wideHTML + "\r\n--o--\r\n",
		"a line that ends on the edge":      top + "\r\n" + strings.Repeat("x", 999) + "\r\n" + strings.Repeat("y", 998) + "\r\n",
		"soft breaks that look like bounds": top + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + strings.Repeat("x", 75) + strings.Repeat("--b", 400) + "\r\n--b--\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mendText(t, msg)
			if err != nil {
				t.Fatal(err)
			}
			want, have := leaves(t, msg), leaves(t, got)
			if len(want) != len(have) {
				t.Fatalf("%d leaves became %d", len(want), len(have))
			}
			for i := range want {
				if want[i] != have[i] {
					t.Errorf("leaf %d: %.200q\nbecame %.200q", i, want[i], have[i])
				}
			}
		})
	}
}

func TestMendLeavesTheRestAlone(t *testing.T) {
	before := "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/x-odd;;\r\n  folded\r\n\r\nä =20 \r\n\r\n--b\r\n\r\n"
	after := "\r\n--b--\r\n"
	got, err := mendText(t, before+strings.Repeat("x ", 600)+after)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, strings.TrimSuffix(before, "\r\n")) || !strings.HasSuffix(got, after) {
		t.Errorf("changed: %q", got)
	}
}

func TestMendRefuses(t *testing.T) {
	wide := strings.Repeat("x", 1200)
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 30)
	for name, msg := range map[string]string{
		"signed":           "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + wide + "\r\n--b--\r\n",
		"within signed":    "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n" + wide + "\r\n--c--\r\n--b--\r\n",
		"unknown encoding": "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n" + wide + "\r\n",
		"no boundary":      "Content-Type: multipart/mixed\r\n\r\n" + wide + "\r\n",
		"partial":          "Content-Type: message/partial\r\n\r\n" + wide + "\r\n",
		"too deep":         deep + "\r\n" + wide + "\r\n",
		"too many":         "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n\r\n", 1100) + wide + "\r\n",
		"no part":          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--c\r\n\r\n" + wide + "\r\n--c--\r\n",
		"no part within":   "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + wide + "\r\n--b--\r\n",
		"broken part":      "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nno header\r\n\r\n" + wide + "\r\n",
		"unfoldable field": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-A: b\r\nX-Long:" + wide + "\r\n\r\n\r\n--b--\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mendText(t, msg)
			if r, ok := err.(*refusal); !ok || r.code != 554 {
				t.Errorf("%v", err)
			}
		})
	}
}

// The text around the parts is shown by no reader: it is cut, not encoded.
func TestMendCutsThePreamble(t *testing.T) {
	got, err := mendText(t, "Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat("p", 9000)+"\r\n--b\r\n\r\nx\r\n--b--\r\n"+strings.Repeat("e", 5000))
	if err != nil {
		t.Fatal(err)
	}
	want := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("p", 998) + "\r\n--b\r\n\r\nx\r\n--b--\r\n" + strings.Repeat("e", 998)
	if got != want {
		t.Errorf("%d octets, want %d", len(got), len(want))
	}
}

// FuzzMend: whatever comes, lines are narrow afterwards, and mending what is
// mended changes nothing.
func FuzzMend(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"+strings.Repeat("x=\t ", 400)+"\r\n--b--\r\n", 1)
	f.Add("A: b\r\n\r\n"+wideQP, 300)
	f.Add("Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\n"+wideBase64, 20)
	f.Add("Content-Type: multipart/digest; boundary=\"\"\r\n\r\n--\r\n", 2000)
	f.Add("\r\n--", 0)
	f.Fuzz(func(t *testing.T, msg string, blow int) {
		if blow > 0 && blow < 3000 { // makes lines wide, which a fuzzer takes long to
			msg = strings.ReplaceAll(msg, "x", strings.Repeat("x", blow))
		}
		tx := &text{r: strings.NewReader(msg), limit: 1 << 20}
		b, err := io.ReadAll(tx)
		if err != nil {
			return
		}
		once, err := mendText(t, string(b))
		if err != nil {
			if _, ok := err.(*refusal); !ok {
				t.Fatal(err)
			}
			return
		}
		twice, err := mendText(t, once)
		if err != nil || twice != once {
			t.Fatalf("mended again: %v\n%q\n%q", err, once, twice)
		}
	})
}

// FuzzQuoted: the standard library reads back what was written, however the
// octets were cut into pieces.
func FuzzQuoted(f *testing.F) {
	f.Add([]byte("a = b \r\n\t\r\n--x-\r\n"), 3)
	f.Add(bytes.Repeat([]byte("-"), 200), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		b, err := io.ReadAll(&text{r: bytes.NewReader(b), limit: 1 << 20})
		if err != nil {
			return
		}
		if cut < 1 {
			cut = 1
		}
		for _, enc := range []string{"text", "binary"} {
			var out bytes.Buffer
			var e encoder = &quoted{w: &out}
			if enc == "binary" {
				e = newBinary(&out)
			}
			for p := b; len(p) > 0; p = p[min(cut, len(p)):] {
				if err := e.add(p[:min(cut, len(p))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.end(false); err != nil {
				t.Fatal(err)
			}
			r := io.Reader(quotedprintable.NewReader(bytes.NewReader(out.Bytes())))
			if enc == "binary" {
				r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(out.Bytes()))
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%s: %v\n%q\n%q\n%q", enc, err, b, got, out.String())
			}
			for sc := bufio.NewScanner(&out); sc.Scan(); {
				if len(sc.Text()) > narrow {
					t.Fatalf("%s: line of %d octets", enc, len(sc.Text()))
				}
			}
		}
	})
}

// Without MIME-Version a strict reader takes no notice of the new encoding:
// a message within a message gets one too.
func TestMendDeclaresMIMEWithin(t *testing.T) {
	got, err := mendText(t, "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n"+strings.Repeat("x", 1200)+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nxxx") {
		t.Errorf("%.400q", got)
	}
}

func TestMendTakesWhatProgramsWrite(t *testing.T) {
	parts := "\r\n\r\n------=_Part:1\r\nContent-Type: text/html\r\n\r\n" + wideHTML + "\r\n------=_Part:1--\r\n"
	want, err := mendText(t, "Content-Type: multipart/mixed; boundary=\"----=_Part:1\""+parts)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mendText(t, "Content-Type: multipart/mixed; charset=utf-8; Boundary=----=_Part:1"+parts)
	if want = strings.Replace(want, "boundary=\"----=_Part:1\"", "charset=utf-8; Boundary=----=_Part:1", 1); got != want || err != nil {
		t.Errorf("no quotes around the boundary: %v %.300q", err, got)
	}
	top := "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" // RFC 2046 forbids it
	got, err = mendText(t, top+wideBase64+"\r\n")
	if err != nil || !strings.HasPrefix(got, top) || strings.ReplaceAll(got[len(top):], "\r\n", "") != wideBase64 {
		t.Errorf("a message in base64: %v %.300q", err, got)
	}
}

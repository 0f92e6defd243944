package sign

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-msgauth/dkim"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKeys = sync.OnceValue(func() []Key {
	var ks []Key
	for _, kind := range []string{"rsa", "ed25519"} {
		k, err := Generate(kind)
		if err != nil {
			panic(err)
		}
		ks = append(ks, Key{Domain: "example.net", Selector: kind, Signer: k})
	}
	return ks
})

const sample = "Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0000\r\n" +
	"From: Ann <ann@example.net>\r\n" +
	"To: bob@example.org,\r\n  carol@example.org\r\n" +
	"Subject:  two   words \r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@example.net>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain\r\n" +
	"\r\n" +
	"Hello  \t world \r\n\r\n.\r\nbye\r\n\r\n\r\n"

func mustSign(t testing.TB, msg string) string {
	t.Helper()
	head, err := New(Options{Keys: testKeys()}).Sign("example.net", strings.NewReader(msg))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	return string(head)
}

// verify returns how many signatures of a message are good, and the first fault.
func verify(t testing.TB, msg string) (good int, fault error) {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(strings.NewReader(msg), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			for _, k := range testKeys() {
				if name == k.Selector+"._domainkey."+k.Domain {
					return []string{Record(k.Signer.Public())}, nil
				}
			}
			return nil, fmt.Errorf("no record at %s", name)
		},
	})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, v := range vs {
		if v.Err != nil {
			fault = errors.Join(fault, v.Err)
		} else {
			good++
		}
	}
	return good, fault
}

func TestEveryKeySigns(t *testing.T) {
	head := mustSign(t, sample)
	if n := strings.Count(head, "DKIM-Signature:"); n != 2 {
		t.Fatalf("%d signatures, want 2:\n%s", n, head)
	}
	if good, fault := verify(t, head+sample); good != 2 {
		t.Fatalf("%d good signatures, want 2: %v\n%s", good, fault, head)
	}
	if !strings.Contains(head, "c=relaxed/relaxed;") {
		t.Errorf("not relaxed/relaxed:\n%s", head)
	}
}

// TestByHand checks hash and signature with canonicalisation of our own.
func TestByHand(t *testing.T) {
	head := mustSign(t, sample)
	sig := head[:strings.Index(head[1:], "DKIM-Signature:")+1]
	tag := func(name string) string {
		m := regexp.MustCompile(`(?s)[:;]\s*` + name + `=([^;]*);?`).FindStringSubmatch(sig)
		return strings.Join(strings.Fields(m[1]), "")
	}

	body := sha256.Sum256([]byte("Hello world\r\n\r\n.\r\nbye\r\n"))
	if want := base64.StdEncoding.EncodeToString(body[:]); tag("bh") != want {
		t.Errorf("bh=%s, want %s", tag("bh"), want)
	}

	relaxed := map[string]string{
		"from": "from:Ann <ann@example.net>\r\n", "to": "to:bob@example.org, carol@example.org\r\n",
		"subject": "subject:two words\r\n", "date": "date:Mon, 23 Nov 2026 10:00:00 +0000\r\n",
		"message-id": "message-id:<1@example.net>\r\n", "mime-version": "mime-version:1.0\r\n",
		"content-type": "content-type:text/plain\r\n",
	}
	var hashed strings.Builder
	for name := range strings.SplitSeq(tag("h"), ":") {
		name = strings.ToLower(name)
		hashed.WriteString(relaxed[name])
		delete(relaxed, name) // an extra one picks nothing
	}
	if len(relaxed) > 0 {
		t.Errorf("not signed: %v", relaxed)
	}
	bare := regexp.MustCompile(`(?s)\bb=.*`).ReplaceAllString(sig, "b=")
	_, value, _ := strings.Cut(bare, ":")
	hashed.WriteString("dkim-signature:" + strings.Join(strings.Fields(value), " "))

	sum := sha256.Sum256([]byte(hashed.String()))
	b, err := base64.StdEncoding.DecodeString(tag("b"))
	if err != nil {
		t.Fatal(err)
	}
	pub := testKeys()[0].Signer.Public().(*rsa.PublicKey)
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], b); err != nil {
		t.Errorf("signature: %v\nover %q", err, hashed.String())
	}
}

func TestTamper(t *testing.T) {
	head := mustSign(t, sample)
	changed := map[string]string{
		"another body":  strings.Replace(sample, "bye", "buy", 1),
		"another To":    strings.Replace(sample, "carol", "karel", 1),
		"Date removed":  strings.Replace(sample, "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n", "", 1),
		"text appended": sample + "PS\r\n",
	}
	for _, f := range []string{"From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "Content-Type", "Content-Transfer-Encoding"} {
		changed["another "+f+" on top"] = f + ": x@example.com\r\n" + sample
		changed["another "+f+" below"] = strings.Replace(sample, "MIME-Version", f+": x@example.com\r\nMIME-Version", 1)
	}
	for name, msg := range changed {
		if good, _ := verify(t, head+msg); good != 0 {
			t.Errorf("%s: %d signatures are still good", name, good)
		}
	}
	allowed := map[string]string{
		"a Received on top":    "Received: from us\r\n" + sample,
		"refolded":             strings.Replace(sample, "Ann <", "Ann\r\n\t<", 1),
		"empty lines appended": sample + "\r\n\r\n",
	}
	for name, msg := range allowed {
		if good, fault := verify(t, head+msg); good != 2 {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

// TestReadError: a message that breaks off is not signed, whatever was read.
func TestReadError(t *testing.T) {
	lost := errors.New("disk is gone")
	for cut := 0; cut < len(sample); cut += 7 {
		r := io.MultiReader(strings.NewReader(sample[:cut]), iotest.ErrReader(lost))
		if head, err := New(Options{Keys: testKeys()}).Sign("example.net", r); !errors.Is(err, lost) || head != nil {
			t.Fatalf("cut at %d: got %q, %v", cut, head, err)
		}
	}
	if head := mustSign(t, sample); head == "" {
		t.Error("not signed after errors")
	}
}

type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("card pulled")
}

func TestBrokenKey(t *testing.T) {
	keys := append([]Key{{Domain: "example.net", Selector: "card", Signer: brokenKey{testKeys()[0].Signer}}}, testKeys()...)
	head, err := New(Options{Keys: keys}).Sign("example.net", strings.NewReader(sample))
	if err == nil || !strings.Contains(err.Error(), "card pulled") || head != nil {
		t.Errorf("got %q, %v", head, err)
	}
	keys[1].Selector = ""
	if _, err := New(Options{Keys: keys}).Sign("example.net", strings.NewReader(sample)); err == nil {
		t.Error("a key without a selector signed")
	}
}

func TestChoose(t *testing.T) {
	k := testKeys()[1].Signer
	o := Options{Keys: []Key{
		{Domain: "example.net", Selector: "a", Signer: k},
		{Domain: "Example.NET", Selector: "b", Signer: k},
		{Domain: "news.example.net", Selector: "c", Signer: k},
		{Domain: "net", Selector: "d", Signer: k},
	}}
	dead := map[string]bool{}
	o.Live = func(domain, selector string) bool { return !dead[selector] }
	s := New(o)
	for _, c := range []struct{ dead, domain, want string }{
		{"", "example.net", "a b"},
		{"", "EXAMPLE.net", "a b"},
		{"", "news.example.net", "c"},
		{"", "deep.news.example.net", "c"},
		{"", "other.example.net", "a b"},
		{"a", "example.net", "b"},
		{"c", "news.example.net", "a b"},
		{"a b c", "news.example.net", ""},
		{"", "badexample.net", ""},
		{"", "example.org", ""},
		{"", "net", ""},
		{"", "", ""},
		{"", ".", ""},
	} {
		clear(dead)
		for _, sel := range strings.Fields(c.dead) {
			dead[sel] = true
		}
		var got []string
		for _, k := range s.choose(c.domain) {
			got = append(got, k.Selector)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s without %q: got %v, want %s", c.domain, c.dead, got, c.want)
		}
	}
	if head, err := s.Sign("example.org", iotest.ErrReader(errors.New("read"))); head != nil || err != nil {
		t.Errorf("no key: got %q, %v; want nil, nil, nothing read", head, err)
	}
}

// TestParentSigns: d= is the domain whose key it is.
func TestParentSigns(t *testing.T) {
	msg := strings.Replace(sample, "ann@example.net", "ann@news.example.net", 1)
	head, err := New(Options{Keys: testKeys()}).Sign("news.example.net", strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	if good, fault := verify(t, string(head)+msg); good != 2 {
		t.Errorf("%v\n%s", fault, head)
	}
	if !strings.Contains(string(head), "d=example.net;") {
		t.Errorf("signed for another domain:\n%s", head)
	}
}

// TestStreams: a large message is not held in memory.
func TestStreams(t *testing.T) {
	const size = 64 << 20
	line := append(bytes.Repeat([]byte("0123456789abcde "), 4), "\r\n"...)
	body := io.LimitReader(&forever{line: line}, int64(size/len(line)*len(line)))
	watched := &peak{r: body}
	r := io.MultiReader(strings.NewReader("From: a@example.net\r\n\r\n"), watched)
	if head, err := New(Options{Keys: testKeys()[1:]}).Sign("example.net", r); err != nil || len(head) == 0 {
		t.Errorf("got %q, %v", head, err)
	}
	if watched.most > size/2 {
		t.Errorf("%d octets were live while %d were signed", watched.most, size)
	}
}

// peak notes the live heap while it is read.
type peak struct {
	r    io.Reader
	n    int
	most uint64
}

func (p *peak) Read(b []byte) (int, error) {
	k, err := p.r.Read(b)
	if p.n += k; p.n > 16<<20 {
		p.n = 0
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		p.most = max(p.most, m.HeapAlloc)
	}
	return k, err
}

type forever struct {
	line []byte
	at   int
}

func (f *forever) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k := copy(p[n:], f.line[f.at:])
		n, f.at = n+k, (f.at+k)%len(f.line)
	}
	return n, nil
}

func TestRecord(t *testing.T) {
	rest, ok := strings.CutPrefix(Record(testKeys()[0].Signer.Public()), "v=DKIM1; k=rsa; p=")
	der, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil {
		t.Fatalf("rsa: %q, %v", rest, err)
	}
	if pub, err := x509.ParsePKIXPublicKey(der); err != nil || !pub.(*rsa.PublicKey).Equal(testKeys()[0].Signer.Public()) {
		t.Errorf("rsa: another key: %v", err)
	}
	if got := Record(testKeys()[1].Signer.Public()); len(got) != len("v=DKIM1; k=ed25519; p=")+44 {
		t.Errorf("ed25519: %q", got)
	}
	if got := Record("no key"); got != "" {
		t.Errorf("unknown: %q", got)
	}
}

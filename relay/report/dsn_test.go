package report

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smtprelay/queue"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cases are the notices kept as golden files.
func cases() map[string]queue.Event {
	several := event(queue.WasFailed)
	full := several.Recipients[0]
	full.Address, full.Original = "full@example.org", "rfc822;Full+2Btag@example.org"
	full.Last.Reply = queue.Reply{Code: 552, Status: "5.2.2", Text: "mailbox full\nsecond line"}
	late := delayed().Recipients[0]
	late.Address, late.Tries = "late@example.com", 31
	late.Last.Host, late.Last.Stage, late.Last.Reply, late.Last.Why = "", "connect", queue.Reply{}, "no route to host"
	null := several.Recipients[0]
	null.Address = "x@null.example"
	null.Last = queue.Attempt{At: noon, Outcome: queue.Refused, Stage: "resolve", Why: "5.1.10 the domain takes no mail"}
	several.Recipients = append(several.Recipients, full, late, null)
	several.Message.Envelope.EnvelopeID = "order 66"

	held := delayed()
	held.Recipients[0].State = queue.Held
	held.Recipients[0].Last.Reply = queue.Reply{}
	held.Recipients[0].Last.Host, held.Recipients[0].Last.Stage, held.Recipients[0].Last.Why = "", "gate", "PTR-EXISTS of wan4"

	whole := event(queue.WasFailed)
	whole.Message.Envelope.Return = "FULL"
	whole.Recipients[0].Last.Stage = "dot"
	whole.Recipients[0].Last.Reply = queue.Reply{Code: 554, Status: "5.7.1", Text: "we do not like it"}

	relayed := event(queue.WasDelivered)
	relayed.Recipients[0].Notify = "SUCCESS"
	relayed.Recipients[0].Last.Stage, relayed.Recipients[0].Last.Outcome = "dot", queue.Sent
	relayed.Recipients[0].Last.Reply = queue.Reply{Code: 250, Status: "2.0.0", Text: "queued as 1"}

	letters := event(queue.WasFailed)
	letters.Message.Envelope.From, letters.Message.Envelope.UTF8 = "jürgen@bücher.example", true
	letters.Recipients[0].Address = "дмитрий+x@пример.example"
	letters.Head = body("From: jürgen@bücher.example\r\nSubject: Grüße\r\n\r\nx\r\n")

	return map[string]queue.Event{
		"failed": event(queue.WasFailed), "delayed": delayed(), "several": several, "held": held,
		"full": whole, "relayed": relayed, "letters": letters,
	}
}

func body(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func write(t testing.TB, e queue.Event) *notice {
	t.Helper()
	r, _ := desk(nil)
	n, err := r.notice(e, e.Recipients)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGolden(t *testing.T) {
	for name, e := range cases() {
		got := write(t, e).text
		path := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed (-update writes it anew):\n%s", path, got)
		}
		parse(t, got, !ascii(e.Message.Envelope.From))
	}
}

// parsed is a notice as a receiver's programs see it.
type parsed struct {
	header     mail.Header
	words      string
	message    textproto.MIMEHeader
	recipients []textproto.MIMEHeader
	kind       string
	original   string
}

// parse takes a notice apart and checks whatever holds for every one.
func parse(t testing.TB, text []byte, eightBit bool) parsed {
	t.Helper()
	var p parsed
	for line := range strings.SplitSeq(string(text), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("bad line of %d octets: %.200q", len(line), line)
		}
		if !eightBit && !ascii(line) {
			t.Fatalf("8-bit line: %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("header: %v\n%s", err, text)
	}
	p.header = m.Header
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "Auto-Submitted", "Mime-Version", "Content-Type"} {
		if len(m.Header[name]) != 1 {
			t.Fatalf("%d fields %s", len(m.Header[name]), name)
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %s, %v", m.Header.Get("Content-Type"), err)
	}
	var parts [][]byte
	var kinds []string
	for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := mr.NextPart() // decodes quoted-printable
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("part %d: %v\n%s", len(parts), err, text)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatalf("part %d: %v", len(parts), err)
		}
		parts, kinds = append(parts, b), append(kinds, part.Header.Get("Content-Type"))
	}
	if len(parts) != 3 || !strings.HasPrefix(kinds[0], "text/plain; ") || kinds[1] != "message/delivery-status" {
		t.Fatalf("%d parts %q", len(parts), kinds)
	}
	p.words, p.kind, p.original = string(parts[0]), kinds[2], string(parts[2])
	tr := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(parts[1]), strings.NewReader("\r\n\r\n"))))
	if p.message, err = tr.ReadMIMEHeader(); err != nil {
		t.Fatalf("status: %v\n%s", err, parts[1])
	}
	for {
		h, err := tr.ReadMIMEHeader()
		if err != nil || len(h) == 0 {
			break
		}
		p.recipients = append(p.recipients, h)
	}
	checkFields(t, p.message, "Original-Envelope-Id Reporting-Mta Arrival-Date", "Reporting-Mta")
	for _, h := range p.recipients {
		checkFields(t, h, "Original-Recipient Final-Recipient Action Status Remote-Mta Diagnostic-Code Last-Attempt-Date Will-Retry-Until",
			"Final-Recipient Action Status")
		if !enhanced(h.Get("Status")) {
			t.Errorf("Status %q", h.Get("Status"))
		}
	}
	return p
}

// checkFields: each once at most, those needed, no others.
func checkFields(t testing.TB, h textproto.MIMEHeader, may, must string) {
	t.Helper()
	for name, vs := range h {
		if len(vs) != 1 || !strings.Contains(" "+may+" ", " "+name+" ") {
			t.Errorf("field %s: %q", name, vs)
		}
	}
	for name := range strings.FieldsSeq(must) {
		if h.Get(name) == "" {
			t.Errorf("no field %s", name)
		}
	}
}

func TestFields(t *testing.T) {
	p := parse(t, write(t, cases()["several"]).text, false)
	if len(p.recipients) != 4 {
		t.Fatalf("%d recipients", len(p.recipients))
	}
	for i, want := range []map[string]string{
		{"Final-Recipient": "rfc822; bob@example.org", "Action": "failed", "Status": "5.1.1", "Remote-MTA": "dns; mx.example.org",
			"Diagnostic-Code": "smtp; 550 5.1.1 no such user here", "Last-Attempt-Date": "Mon, 23 Nov 2026 11:59:59 +0000", "Will-Retry-Until": ""},
		{"Final-Recipient": "rfc822; full@example.org", "Original-Recipient": "rfc822; Full+tag@example.org", "Status": "5.2.2",
			"Diagnostic-Code": "smtp; 552 5.2.2 mailbox full second line"},
		{"Final-Recipient": "rfc822; late@example.com", "Status": "4.4.7", "Diagnostic-Code": "X-Relay; no route to host", "Remote-MTA": ""},
		{"Final-Recipient": "rfc822; x@null.example", "Status": "5.1.10"},
	} {
		for name, v := range want {
			if got := p.recipients[i].Get(name); got != v {
				t.Errorf("recipient %d: %s: %q, want %q", i, name, got, v)
			}
		}
	}
	if got := p.message.Get("Original-Envelope-Id"); got != "order 66" {
		t.Errorf("Original-Envelope-Id %q", got)
	}
	p = parse(t, write(t, delayed()).text, false)
	if got := p.recipients[0].Get("Will-Retry-Until"); got != "Sat, 28 Nov 2026 08:00:00 +0000" {
		t.Errorf("Will-Retry-Until %q", got)
	}
	if h := p.header; h.Get("Auto-Submitted") != "auto-replied" || h.Get("From") != "Mail Delivery System <MAILER-DAEMON@mail.example.net>" ||
		h.Get("To") != "<ann@example.net>" || h.Get("Message-ID") != "<TOKEN1@mail.example.net>" || h.Get("References") != "<1@example.net>" {
		t.Errorf("header %v", h)
	}
	p = parse(t, write(t, cases()["letters"]).text, true)
	if got := p.recipients[0].Get("Final-Recipient"); got != `utf-8; \x{434}\x{43C}\x{438}\x{442}\x{440}\x{438}\x{439}\x{2B}x@\x{43F}\x{440}\x{438}\x{43C}\x{435}\x{440}.example` {
		t.Errorf("Final-Recipient %s", got)
	}
	if !strings.Contains(p.words, "дмитрий+x@пример.example") {
		t.Errorf("words: %s", p.words)
	}
}

// TestReturned: what of the message comes back (RFC 3461 section 4.3).
func TestReturned(t *testing.T) {
	const head = "Received: from app by mail.example.net; Mon, 23 Nov 2026 07:00:00 +0000\r\n"
	const hdr = "From: Ann <ann@example.net>\r\nTo: bob@example.org\r\nSubject: hello\r\n"
	big := theirs + strings.Repeat("0123456789\r\n", 6<<10)
	wide := "From: a@example.net\r\nX: " + strings.Repeat("x", 1000) + "\r\n\r\n"
	latin := "From: a@example.net\r\nSubject: gr\xfc\xdfe\r\n\r\nx\r\n"
	for name, c := range map[string]struct {
		kind         queue.Kind
		ret, body    string
		tls, utf8    bool
		media, wants string
	}{
		"default":          {kind: queue.WasFailed, body: theirs, media: "text/rfc822-headers", wants: head + hdr},
		"HDRS":             {kind: queue.WasFailed, ret: "HDRS", body: theirs, media: "text/rfc822-headers", wants: head + hdr},
		"FULL":             {kind: queue.WasFailed, ret: "FULL", body: theirs, media: "message/rfc822", wants: head + theirs},
		"FULL, large":      {kind: queue.WasFailed, ret: "FULL", body: big, media: "text/rfc822-headers", wants: head + hdr},
		"FULL, delayed":    {kind: queue.WasDelayed, ret: "FULL", body: theirs, media: "text/rfc822-headers", wants: head + hdr},
		"FULL, TLS only":   {kind: queue.WasFailed, ret: "FULL", body: theirs, tls: true, media: "text/rfc822-headers", wants: head + hdr},
		"FULL, 8-bit":      {kind: queue.WasFailed, ret: "FULL", body: theirs + "\xff", media: "text/rfc822-headers", wants: head + hdr},
		"FULL, long lines": {kind: queue.WasFailed, ret: "FULL", body: wide, media: "text/rfc822-headers; charset=utf-8", wants: head + strings.TrimSuffix(wide, "\r\n")},
		"latin1":           {kind: queue.WasFailed, body: latin, utf8: true, media: "text/rfc822-headers; charset=utf-8", wants: head + strings.TrimSuffix(latin, "\r\nx\r\n")},
		"letters":          {kind: queue.WasFailed, body: "Subject: ü\r\n\r\n", utf8: true, media: "message/global-headers", wants: head + "Subject: ü\r\n"},
		"8-bit, no UTF8":   {kind: queue.WasFailed, body: "Subject: ü\r\n\r\n", media: "text/rfc822-headers; charset=utf-8", wants: head + "Subject: ü\r\n"},
		"no body":          {kind: queue.WasFailed, body: hdr, media: "text/rfc822-headers", wants: head + hdr},
		"boundary inside":  {kind: queue.WasFailed, body: "A: b\r\n--TOKEN\r\n--TOKEN2x--\r\n\r\n", media: "text/rfc822-headers", wants: head + "A: b\r\n--TOKEN\r\n--TOKEN2x--\r\n"},
	} {
		e := event(c.kind)
		e.Message.Envelope.Return, e.Message.Envelope.RequireTLS, e.Message.Envelope.UTF8 = c.ret, c.tls, c.utf8
		e.Message.Size = int64(len(c.body))
		e.Head = body(c.body)
		p := parse(t, write(t, e).text, false)
		if p.kind != c.media || p.original != c.wants {
			t.Errorf("%s: %s\n%.300q\nwant %s\n%.300q", name, p.kind, p.original, c.media, c.wants)
		}
	}
}

// TestHeaderCapped: a huge header is cut at a line's end.
func TestHeaderCapped(t *testing.T) {
	e := event(queue.WasFailed)
	e.Head = body(strings.Repeat("X-Filler: 0123456789\r\n", 100<<10))
	p := parse(t, write(t, e).text, false)
	if n := len(p.original); n > 64<<10 || n < 63<<10 || !strings.HasSuffix(p.original, "X-Filler: 0123456789\r\n") {
		t.Errorf("%d octets, the last %q", n, p.original[max(0, n-30):])
	}
}

// TestHostile: whatever a remote or a client says stays inside its field.
func TestHostile(t *testing.T) {
	for name, evil := range map[string]string{
		"CRLF":        "no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x@y",
		"bare":        "no\rX: y\nZ: a",
		"NUL":         "a\x00b\x1b[31m",
		"boundary":    "\r\n--TOKEN2\r\nContent-Type: text/html\r\n\r\n<script>",
		"end":         "\r\n--TOKEN2--\r\n",
		"dot":         "\r\n.\r\nMAIL FROM:<x@y>",
		"huge word":   strings.Repeat("x", 64<<10),
		"huge lines":  strings.Repeat("x y\n", 16<<10),
		"8-bit":       strings.Repeat("ü\xff\u202e", 700),
		"nothing":     "",
		"only spaces": " \t\n ",
	} {
		e := event(queue.WasFailed)
		rc := &e.Recipients[0]
		rc.Last.Reply.Text, rc.Last.Host, rc.Reason, rc.Last.Why = evil, evil, evil, evil
		rc.Address, rc.Original, rc.Last.Reply.Status = evil+"@example.org", "rfc822;"+evil, evil
		e.Message.Envelope.EnvelopeID, e.Message.MessageID, e.Message.ID = evil, evil, queue.ID(evil)
		for _, code := range []int{550, 0} {
			rc.Last.Reply.Code = code
			text := write(t, e).text
			p := parse(t, text, false)
			if len(p.recipients) != 1 || p.recipients[0].Get("Action") != "failed" {
				t.Errorf("%s: %v", name, p.recipients)
			}
			if len(text) > 80<<10 {
				t.Errorf("%s: %d octets", name, len(text))
			}
		}
	}
}

func TestManyRecipients(t *testing.T) {
	e := event(queue.WasFailed)
	for i := range 999 {
		rc := e.Recipients[0]
		rc.Address = fmt.Sprintf("r%d@example.org", i)
		rc.Last.Reply.Text = strings.Repeat("long ", 1000)
		e.Recipients = append(e.Recipients, rc)
	}
	if p := parse(t, write(t, e).text, false); len(p.recipients) != 1000 {
		t.Errorf("%d recipients", len(p.recipients))
	}
}

func FuzzNotice(f *testing.F) {
	f.Add("no such user", "5.1.1", "mx.example.org", "bob@example.org", "rfc822;bob@example.org", "1", "Subject: x\r\n\r\nx", 550)
	f.Add("a\r\n--TOKEN2--\r\n", "5.1.1\r\n", "\x00", "\"a b\"@ü", "utf-8;\\x{FC}@x", "a\r\nb", "\r\n--TOKEN2\r\n\xff", 0)
	f.Add(strings.Repeat("ü", 600), "9.9.9", "[::1]", "@", ";", "+2B", "no end", 421)
	f.Fuzz(func(t *testing.T, said, status, host, addr, orcpt, envid, msg string, code int) {
		for _, kind := range []queue.Kind{queue.WasFailed, queue.WasDelayed, queue.WasDelivered} {
			e := event(kind)
			rc := &e.Recipients[0]
			rc.Last.Reply = queue.Reply{Code: code, Status: status, Text: said}
			rc.Last.Host, rc.Last.Why, rc.Reason = host, said, said
			rc.Address, rc.Original = addr, orcpt
			e.Message.Envelope.EnvelopeID, e.Message.Envelope.Return = envid, "FULL"
			e.Message.Envelope.From, e.Message.MessageID = addr+"@example.net", envid
			e.Head = body(msg)
			e.Message.Size = int64(len(msg))
			n, err := New(Options{Hostname: "mail.example.net"}, nil, nil).notice(e, e.Recipients)
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, n.text, true)
			if len(p.recipients) != 1 {
				t.Errorf("%d recipients", len(p.recipients))
			}
		}
	})
}

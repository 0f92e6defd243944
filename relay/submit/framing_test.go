package submit

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
)

// Ten ends of data that are none, in three segmentations: no receiver of ours
// may see a second transaction (CVE-2023-51764 and its kin).
func TestOnlyCRLFDotCRLFEndsAMessage(t *testing.T) {
	h := start(t, trusting())
	ends := []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\r.\r", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\n.\r", "\r\n.\r\r\n"}
	smuggled := "MAIL FROM:<ceo@victim.example>\r\nRCPT TO:<x@victim.example>\r\nDATA\r\nFrom: ceo@victim.example\r\n\r\nsmuggled\r\n.\r\n"
	for _, end := range ends {
		cuts := []string{"whole", "octets"}
		for i := range len(end) + 1 { // of its octets the last so many are beyond the edge of what is read at once
			cuts = append(cuts, fmt.Sprint("edge ", i))
		}
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("%q %s", end, cut), func(t *testing.T) {
				before := len(h.box.all())
				c := h.dial(t)
				c.begin()
				msg := head
				if beyond, ok := strings.CutPrefix(cut, "edge "); ok {
					n, _ := strconv.Atoi(beyond)
					pad := maxAhead - len(head) - len("first") - len(end) + n
					msg += strings.Repeat("0123456789abcde\n", pad/16) + strings.Repeat("y", pad%16)
				}
				msg += "first" + end + smuggled
				if cut == "octets" {
					for i := range len(msg) {
						c.send(msg[i : i+1])
					}
				} else {
					c.send(msg)
				}
				got := c.want("")
				c.do("NOOP", "250")
				if n := len(h.box.all()) - before; n > 1 || n == 1 && !strings.HasPrefix(got, "250") {
					t.Fatalf("%d messages, reply %q", n, got)
				}
				for _, p := range h.box.all()[before:] {
					if p.m.Envelope.From != "alice@example.com" {
						t.Errorf("smuggled: %+v", p.m.Envelope)
					}
					bare := strings.NewReplacer("\r\n", "").Replace(p.wire())
					if strings.ContainsAny(bare, "\r\n\x00") {
						t.Errorf("bare line end in %q", p.wire())
					}
				}
				for _, bad := range []string{"\r.", "\r\r", "\x00", ".\r\r"} {
					if strings.Contains(end, bad) && !strings.HasPrefix(got, "550 5.6.11") {
						t.Errorf("reply %q, want 550 5.6.11", got)
					}
				}
			})
		}
	}
}

// What comes with the end of a message, in one piece with it, is for the next command,
// wherever the edge of what is read at once falls.
func TestCommandsBehindTheEnd(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	const end = "\r\n.\r\nNOOP\r\nMAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"
	c.envelope()
	c.do("DATA", "354")
	for beyond := range len(end) + 1 {
		pad := maxAhead - len(head) - len(end) + beyond
		c.send(head + strings.Repeat("0123456789abcde\n", pad/16) + strings.Repeat("y", pad%16) + end)
		for _, want := range []string{"250 2.0.0 queued", "250", "250", "250", "354"} {
			c.want(want)
		}
	}
	c.send(head + "last\r\n.\r\nQUIT\r\n")
	c.want("250 2.0.0 queued")
	c.want("221")
	if n := len(h.box.all()); n != len(end)+2 {
		t.Errorf("%d messages, want %d", n, len(end)+2)
	}
}

// go-smtp would drop the CR of ".\rX", so that what it hands on looks clean.
func TestCRAfterLeadingDotIsSeen(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	for _, line := range []string{".\rX", ".\r.", "x\r\n.\rX"} {
		c.envelope()
		c.do("DATA", "354")
		c.send(head + line + "\r\n.\r\n")
		c.want("550 5.6.11")
	}
}

// unstuffed is what stands in wire before the end of the body, read in pieces
// of step octets into pieces of room octets; rest is what follows the end.
func unstuffed(wire string, step, room int) (text, rest string, whole bool) {
	var s dots
	p := make([]byte, room)
	for wire != "" && s != ended {
		n, used := s.unstuff(p, []byte(wire[:min(step, len(wire))]))
		text += string(p[:n])
		wire = wire[used:]
	}
	return text, wire, s == ended
}

func TestUnstuff(t *testing.T) {
	for wire, want := range map[string]string{
		".\r\nQUIT":            "|QUIT",
		"a\r\n.\r\nQUIT":       "a\r\n|QUIT",
		"..a\r\n...\r\n.\r\n":  ".a\r\n..\r\n|",
		".a\r\n.\r\n":          "a\r\n|",
		"\r\n.\r\n.\r\n":       "\r\n|.\r\n",
		"a\n.\r\n":             "a\n.\r\n",
		"a\r.\r\n":             "a\r.\r\n",
		"a\r\n.\n\r\n.\r\n":    "a\r\n\n\r\n|",
		"a\r\n.\rX\r\n.\r\n":   "a\r\n\rX\r\n|",
		"a\r\n.\r\r\n.\r\n":    "a\r\n\r\r\n.\r\n",
		"a\r\r\n.\r\n":         "a\r\r\n.\r\n",
		"a\r\n.\r\n.\r\n.\r\n": "a\r\n|.\r\n.\r\n",
	} {
		text, rest, whole := unstuffed(wire, len(wire), 100)
		if got := text + map[bool]string{true: "|"}[whole] + rest; got != want {
			t.Errorf("%q: %q, want %q", wire, got, want)
		}
	}
}

// FuzzUnstuff holds it against go-smtp's own reader, in any segmentation.
func FuzzUnstuff(f *testing.F) {
	for _, s := range []string{".\r\n", "..\r\n.\r\nx", "\r\r\n.\r\n", ".\r\r\n.\r\n", "a\n.\n.\r\n\r\n.\r\n", "\r\n.\rX\r\n.\r\n"} {
		f.Add(s, 1, 1)
		f.Add(s, 3, 2)
	}
	f.Fuzz(func(t *testing.T, wire string, step, room int) {
		text, rest, whole := unstuffed(wire, max(1, step), min(max(1, room), 4096))
		want, left, end := byOctet(wire)
		if text != want || rest != left || whole != end {
			t.Fatalf("%q: %q %q %v, want %q %q %v", wire, text, rest, whole, want, left, end)
		}
	})
}

// byOctet is go-smtp's automaton, but for the CR after a leading dot, which it
// drops unless LF comes next.
func byOctet(wire string) (text, rest string, whole bool) {
	const begin, dot, dotCR, cr, inside = 0, 1, 2, 3, 4
	state := begin
	for i := range len(wire) {
		c := wire[i]
		switch {
		case state == begin && c == '.':
			state = dot
			continue
		case state == dot && c == '\r':
			state = dotCR
			continue
		case state == dotCR && c == '\n':
			return text, wire[i+1:], true
		case state == dotCR:
			text += "\r"
			state = inside
		case state == cr && c == '\n':
			state = begin
		case (state == begin || state == inside) && c == '\r':
			state = cr
		default:
			state = inside
		}
		text += string([]byte{c})
	}
	return text, "", false
}

func TestDotsAndEndsSurvive(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	for _, body := range []string{"", ".", "..", ".\r\n", "a\r\n.\r\n..x\r\n", strings.Repeat("z", 65536) + "\r\n.", "no end"} {
		c.envelope()
		c.do("DATA", "354")
		sent := strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")
		if !strings.HasSuffix(sent, "\r\n") {
			sent += "\r\n"
		}
		c.send(strings.TrimSuffix(head, "\r\n") + sent + ".\r\n")
		c.want("250 2.0.0")
		all := h.box.all()
		got := strings.TrimPrefix(all[len(all)-1].body, head)
		if len(body) > 1000 { // mended; its own tests see to that
			continue
		}
		if strings.TrimSuffix(got, "\r\n") != strings.TrimSuffix(body, "\r\n") {
			t.Errorf("%q became %q", body, got)
		}
	}
}

// What is left of a body that broke off is never taken for commands.
func TestPauseInBodyEndsTheConnection(t *testing.T) {
	for _, how := range []string{"DATA", "BDAT"} {
		t.Run(how, func(t *testing.T) {
			w := trusting()
			w.adjust = func(s *Server) { s.limits.idle = time.Second }
			h := start(t, w)
			c := h.dial(t)
			c.do("EHLO c", "250")
			c.envelope()
			if how == "DATA" {
				c.do("DATA", "354")
				c.send(head)
			} else {
				c.send("BDAT 4000 LAST\r\n" + head)
			}
			c.want("4") // told that it broke off
			c.Write([]byte("MAIL FROM:<ceo@victim.example>\r\nRCPT TO:<x@victim.example>\r\n"))
			if rest := c.ended(); strings.Contains(rest, "250") {
				t.Errorf("commands were taken from the body: %q", rest)
			}
			if n := len(h.box.all()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

func TestSlowBodyIsCut(t *testing.T) {
	w := trusting()
	w.adjust = func(s *Server) { s.limits.span = time.Second; s.limits.rate = 1000 }
	h := start(t, w)
	c := h.dial(t)
	c.begin()
	c.send(head)
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			if _, err := c.Write([]byte("drip\r\n")); err != nil {
				return
			}
		}
	}()
	c.ended()
	if n := len(h.box.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// A chunk that ends with the connection is no message, though go-smtp takes
// the end for the end of the chunk.
func TestHalfChunkIsNoMessage(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.envelope()
	c.send("BDAT 4000 LAST\r\n" + head + "half of it")
	c.Conn.(interface{ CloseWrite() error }).CloseWrite()
	c.ended()
	h.stop()
	if n := len(h.box.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestChunks(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.envelope()
	body := head + "one\r\n.\r\nMAIL FROM:<x@y.example>\r\n"
	for i := range 20 {
		c.send("BDAT 1\r\n" + body[i:i+1])
		c.want("250")
	}
	c.do("RSET", "421 4.5.0")
	c.ended()
	c = h.dial(t)
	c.do("EHLO c", "250")
	c.envelope()
	c.do("BDAT 0", "250")
	c.send(fmt.Sprintf("BDAT %d\r\n%sBDAT 0 LAST\r\n", len(body), body))
	c.want("250 2.0.0 Continue")
	c.want("250 2.0.0 queued")
	c.send("BDAT 5 LAST\r\nNOOP\n") // without a transaction: swallowed
	c.want("502")
	c.envelope()
	c.send("BDAT 0 LAST\r\n")
	c.want("554 5.6.0")
	c.do("NOOP", "250")
	c.envelope()
	c.send("BDAT 3\r\na\rb")
	c.want("250") // it is found out with the next one
	c.send("BDAT 3\r\nabc")
	c.want("550 5.6.11")
	c.do("RSET", "250")
	if ps := h.box.all(); len(ps) != 1 || ps[0].body != body {
		t.Errorf("%+v", ps)
	}
	for _, bad := range []string{"BDAT 40 FOO", "BDAT 99999999999", "BDAT -1", "BDAT", "BDAT 1 LAST x", "BDAT 0x10"} {
		c := h.dial(t)
		c.do("EHLO c", "250")
		c.envelope()
		c.send(bad + "\r\nRSET\r\nNOOP\r\n")
		c.want("501 5.5.4")
		if rest := c.ended(); rest != "" {
			t.Errorf("%s: then %q", bad, rest)
		}
	}
}

func TestSize(t *testing.T) {
	w := trusting()
	w.Size = 2000
	h := start(t, w)
	exact := head + strings.Repeat("x\r\n", (2000-len(head))/3) + "123456"[:(2000-len(head))%3]
	for _, how := range []string{"DATA", "BDAT"} {
		for extra, want := range map[int]string{0: "250", 1: "552 5.3.4", 2: "552 5.3.4", 9000: "552 5.3.4"} {
			t.Run(fmt.Sprint(how, extra), func(t *testing.T) {
				c := h.dial(t)
				if got := c.do("EHLO c", "250"); !strings.Contains(got, "SIZE 2000\r\n") {
					t.Errorf("%q", got)
				}
				c.envelope()
				msg := exact[:len(head)] + strings.Repeat("x", extra) + exact[len(head):]
				if how == "DATA" {
					c.do("DATA", "354")
					if !strings.HasSuffix(msg, "\r\n") {
						msg = msg[:len(msg)-2] + "\r\n"
					}
					c.send(msg + ".\r\n")
				} else {
					c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(msg), msg))
				}
				c.want(want)
				c.do("MAIL FROM:<a@example.com> SIZE=2000", "250")
				c.do("RSET", "250")
				c.do("MAIL FROM:<a@example.com> SIZE=2001", "552 5.3.4")
				for _, n := range []string{"5000000000", "9223372036854775808", "99999999999999999999999999"} {
					c.do("MAIL FROM:<a@example.com> Size="+n, "552 5.3.4 message too large")
				}
				c.do("MAIL FROM:<a@example.com> SIZE=x", "501 5.5.4")
			})
		}
	}
	if n := len(h.box.all()); n != 2 {
		t.Errorf("%d messages", n)
	}
	for _, last := range []string{"", " LAST"} {
		c := h.dial(t)
		c.do("EHLO c", "250")
		c.envelope()
		c.send(fmt.Sprintf("BDAT %d\r\n%s", len(head), head))
		c.want("250")
		c.send("BDAT 4000000000" + last + "\r\nNOOP\r\n")
		c.want("552 5.3.4")
		c.ended()
	}
}

// After a refusal the rest of the body is swallowed and the session goes on.
func TestRefusedBodyIsSwallowed(t *testing.T) {
	w := trusting()
	w.gate = func(m preflight.Mail) preflight.Ruling {
		if m.Author == "refused.example" {
			return preflight.Ruling{Do: preflight.ActReject, Code: 550, Status: "5.7.1", Text: "no record"}
		}
		return preflight.Ruling{Do: preflight.ActHold}
	}
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	commands := strings.Repeat("MAIL FROM:<ceo@victim.example>\r\n", 9000)
	for msg, want := range map[string]string{
		"From: a@refused.example\r\n\r\n": "550 5.7.1 no record",
		"no header\r\n\r\n":               "554 5.6.0",
		"From: a@example.com\rX: b\r\n":   "550 5.6.11",
		"From: a@example.com\r\n\r\n\x00": "550 5.6.11",
	} {
		c.envelope()
		c.do("DATA", "354")
		c.send(msg + commands + ".\r\n")
		c.want(want)
		c.do("NOOP", "250")
	}
	if n := len(h.box.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// A line of 10 KiB arrives as quoted-printable that decodes to what was sent;
// what is signed is what is stored.
func TestWideLinesAreMendedBeforeSigning(t *testing.T) {
	var signed string
	w := trusting()
	w.pen = func(domain string, r io.Reader) ([]byte, error) {
		b, err := io.ReadAll(r)
		signed = string(b)
		return []byte("DKIM-Signature: d=" + domain + "\r\n"), err
	}
	h := start(t, w)
	c := h.dial(t)
	c.begin()
	msg := "From: alice@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + strings.Repeat("<b>grün</b>", 1000) + "\r\nend\r\n"
	c.send(msg + ".\r\n")
	c.want("250")
	p := h.box.all()[0]
	if !strings.Contains(p.body, "Content-Transfer-Encoding: quoted-printable\r\n") {
		t.Errorf("%.300q", p.body)
	}
	if got := leaves(t, p.wire()); got[0] != leaves(t, msg)[0] {
		t.Errorf("%.100q", got[0])
	}
	for line := range strings.Lines(p.wire()) {
		if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("line of %d octets", len(line))
		}
	}
	_, after, _ := bytes.Cut(p.m.Head, []byte("DKIM-Signature: d=example.com\r\n"))
	if signed != string(after)+p.body {
		t.Errorf("signed %.200q", signed)
	}
	if !strings.HasPrefix(string(p.m.Head), "Received: ") {
		t.Errorf("head %q", p.m.Head)
	}
	if p.m.Envelope.Body != "" { // seven bits only, now
		t.Errorf("body %q", p.m.Envelope.Body)
	}
	c.envelope()
	c.do("DATA", "354")
	c.send("From: alice@example.com\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n--b--\r\n.\r\n")
	c.want("554 5.6.0 a signed part")
	c.envelope()
	c.do("DATA", "354")
	c.send("From: alice@example.com\r\n\r\n" + strings.Repeat("0123456789", 1<<20) + "\r\n.\r\n") // one line
	c.want("250")
}

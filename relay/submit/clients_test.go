package submit

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// Dialogues as programs in the field hold them, pipelining or not: what they
// send, and how each reply begins.
func TestClientsInTheField(t *testing.T) {
	cfg, pool := certificate(t)
	us, _ := ParseUsers("users", strings.NewReader("alice "+cheap("secret")))
	text := strings.ReplaceAll(head, "\r\n", "\n") + "Hi\n"
	for name, d := range map[string]struct {
		under bool // TLS, with AUTH
		says  []string
	}{
		"Python smtplib":         {false, []string{"ehlo [127.0.0.1]", "250", "mail FROM:<alice@example.com> size=120", "250", "rcpt TO:<bob@example.net>", "250", "data", "354", head + "Hi\r\n.", "250", "quit", "221"}},
		"smtplib, debugged":      {false, []string{"noop", "250", "helo me", "250", "help", "502", "vrfy bob", "252", "rset", "250", "expn list", "502", "quit", "221"}},
		"swaks":                  {true, []string{"AUTH LOGIN " + b64("alice"), "334", b64("secret"), "235", "MAIL FROM:<alice@example.com>", "250", "RCPT TO:<bob@example.net>", "250", "DATA", "354", head + "Hi\r\n\r\n.", "250", "QUIT", "221"}},
		"msmtp":                  {true, []string{"AUTH PLAIN " + b64("\x00alice\x00secret"), "235", "MAIL FROM:<alice@example.com> RET=HDRS AUTH=<>", "250", "RCPT TO:<bob@example.net> NOTIFY=FAILURE,DELAY", "250", "DATA", "354", head + "Hi\r\n.", "250", "QUIT", "221"}},
		"PLAIN when asked":       {true, []string{"AUTH PLAIN", "334 \r\n", b64("\x00alice\x00secret"), "235", "QUIT", "221"}},
		"PHP, bare LF":           {false, []string{"HELO web", "250", "MAIL FROM: <alice@example.com>", "250", "RCPT TO: <bob@example.net>", "250", "DATA", "354", text + "\r\n.", "250", "QUIT", "221"}},
		"no brackets":            {false, []string{"helo web", "250", "mail from: alice@example.com", "250", "rcpt to: bob@example.net", "250", "data", "354", head + ".", "250"}},
		"many spaces":            {false, []string{"EHLO  web", "250", "MAIL  FROM:<alice@example.com>  BODY=8BITMIME ", "250", "RCPT  TO:<bob@example.net> ", "250", "RSET ", "250"}},
		"pipelining":             {false, []string{"EHLO c\r\nMAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA", "250", "", "250", "", "250", "", "354", head + "Hi\r\n.\r\nQUIT", "250", "", "221"}},
		"chunks":                 {false, []string{"EHLO c", "250", fmt.Sprintf("MAIL FROM:<alice@example.com> SIZE=%d\r\nRCPT TO:<bob@example.net>\r\nBDAT %d LAST\r\n%sQUIT", len(head), len(head), head), "250", "", "250", "", "250 2.0.0 queued", "", "221"}},
		"keep-alive":             {false, []string{"EHLO c", "250", "NOOP", "250", "NOOP", "250", "RSET", "250", "EHLO c", "250", "QUIT", "221"}},
		"header only":            {false, []string{"EHLO c", "250", "MAIL FROM:<>", "250", "RCPT TO:<bob@example.net>", "250", "DATA", "354", "From: alice@example.com\r\nSubject: =?utf-8?q?x?=\r\n.", "250"}},
		"eight bits, undeclared": {false, []string{"EHLO c", "250", "MAIL FROM:<alice@example.com>", "250", "RCPT TO:<bob@example.net>", "250", "DATA", "354", "From: J\xfcrgen <alice@example.com>\r\nSubject: gr\xfcn\r\n\r\n\xfc\r\n.", "250"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := trusting()
			w.TLS, w.Users = cfg, us
			if d.under {
				w.Trusted = nil
			}
			h := start(t, w)
			c := h.dial(t)
			if d.under {
				c.do("EHLO client.test", "250")
				c = c.startTLS(pool)
			}
			queued := 0
			for says := d.says; len(says) > 0; says = says[2:] {
				if says[0] != "" {
					c.send(says[0] + "\r\n")
				}
				if got := c.want(says[1]); strings.Contains(got, "queued as") {
					queued++
				}
			}
			for _, p := range h.box.all() {
				if p.rs[0].Address != "bob@example.net" || strings.ContainsAny(strings.ReplaceAll(p.wire(), "\r\n", ""), "\r\n") || strings.Contains(p.body, "\r\n.\r\n") {
					t.Errorf("%+v", p)
				}
			}
			if n := len(h.box.all()); n != queued {
				t.Errorf("%d messages, %d times queued", n, queued)
			}
		})
	}
}

// What came behind a QUIT, or behind an end that go-smtp decided on, is no
// command any more.
func TestNothingFollowsTheEnd(t *testing.T) {
	h := start(t, trusting())
	more := "EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n" + head + ".\r\n"
	for _, end := range []string{"QUIT\r\n", strings.Repeat("XXXX\r\n", 4)} {
		for _, after := range []string{more, strings.TrimPrefix(more, "EHLO c\r\n")} {
			c := h.dial(t)
			c.send("EHLO c\r\n" + end + after)
			if got := c.ended(); strings.Contains(got, "354") {
				t.Errorf("%q", got)
			}
		}
	}
	h.stop()
	if n := len(h.box.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
	if log := h.log.String(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

// Whatever octets a field has, the store takes the message.
func TestOddFieldsAreStored(t *testing.T) {
	store, err := disk.Open(vfs.NewMem(), "queue", disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w := trusting()
	w.in = store
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	for _, f := range []string{"Message-ID: <\xfc@example.com>", "Message-ID:", "Subject: \xff\xfe", "X-A:" + strings.Repeat(" \xe4", 5000), "Date: \x80", "To: \xfc"} {
		c.envelope()
		c.do("DATA", "354")
		c.send("From: a@example.com\r\n" + f + "\r\n\r\n.\r\n")
		c.want("250")
	}
}

// An application on this machine, or in a network that is trusted, works as
// hard as it likes: neither the cap per address nor the one on commands is
// meant for it, and strangers leave it room.
func TestTrustedClientsAreNotThrottled(t *testing.T) {
	w := trusting()
	w.ConnsPerIP, w.Recipients = 2, 100
	h := start(t, w)
	var wg sync.WaitGroup
	for range 50 {
		c := h.dial(t)
		c.do("EHLO c", "250")
		wg.Go(func() {
			for range 20 {
				c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
				for _, want := range []string{"250", "250", "354"} {
					if got, err := c.reply(); !strings.HasPrefix(got, want) {
						t.Errorf("%q, %v; want %q", got, err, want)
						return
					}
				}
				c.send(head + ".\r\n")
				if got, err := c.reply(); !strings.HasPrefix(got, "250 2.0.0 queued") {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(h.box.all()); n != 1000 {
		t.Errorf("%d messages", n)
	}

	c := h.dial(t) // more recipients than go into one message: the others hear 452, these get it
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@example.com>", "250")
	for i := range 300 {
		c.do(fmt.Sprintf("RCPT TO:<u%d@example.net>", i), map[bool]string{true: "250", false: "452 4.5.3"}[i < 100])
	}
	c.do("DATA", "354")
	c.send(head + ".\r\n")
	c.want("250 2.0.0 queued")
}

func TestStrangersLeaveRoom(t *testing.T) {
	h := build(t, world{Options: Options{Conns: 20, ConnsPerIP: 100, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}})
	admitted := func(from string) bool {
		before := len(h.conns)
		h.admit(fakeConn{from: from}, false)
		return len(h.conns) > before
	}
	for i := range 18 {
		if !admitted("198.51.100.7") {
			t.Fatalf("stranger %d was turned away", i)
		}
	}
	if admitted("198.51.100.8") {
		t.Error("strangers may take every place")
	}
	for i, want := range []bool{true, true, false} {
		if admitted("192.0.2.1") != want {
			t.Errorf("trusted client %d: %v; two places are left", i, !want)
		}
	}
	h.clear.Close()
}

// A thousand messages over one connection.
func TestOneConnectionForAll(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	for range 1000 {
		c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
		c.want("250")
		c.want("250")
		c.want("354")
		c.send(head + ".\r\n")
		c.want("250 2.0.0 queued")
	}
}

// gauge swallows a message and looks how much memory is in use meanwhile.
type gauge struct {
	box
	seen, next int64
	peak       uint64
}

func (g *gauge) Create(ctx context.Context) (queue.Draft, error) {
	d, err := g.box.Create(ctx)
	return &gauged{d.(*draft), g}, err
}

type gauged struct {
	*draft
	g *gauge
}

func (d *gauged) Write(p []byte) (int, error) {
	if d.g.seen += int64(len(p)); d.g.seen > d.g.next {
		d.g.next += 6 << 20
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		d.g.peak = max(d.g.peak, m.HeapAlloc)
	}
	return len(p), nil
}

// A large message never lies in memory.
func TestLargeMessageIsStreamed(t *testing.T) {
	g := &gauge{}
	w := trusting()
	w.in = g
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	chunk := strings.Repeat(strings.Repeat("x", 74)+"\r\n", 1<<20/76)
	for _, how := range []string{"DATA", "BDAT"} {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		g.peak = 0
		c.envelope()
		if how == "DATA" {
			c.do("DATA", "354")
			c.send(head)
			for range 24 {
				c.send(chunk)
			}
			c.send(".\r\n")
		} else {
			c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(head)+24*len(chunk), head))
			for range 24 {
				c.send(chunk)
			}
		}
		c.want("250")
		if g.peak > before.HeapAlloc+8<<20 {
			t.Errorf("%s: %d KiB more in use", how, (g.peak-before.HeapAlloc)>>10)
		}
	}
}

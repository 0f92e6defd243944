package submit

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/preflight"
	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// fakeConn is a connection to nowhere.
type fakeConn struct {
	net.Conn
	from string // 192.0.2.1
}

func (c fakeConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(cmp.Or(c.from, "192.0.2.1")), Port: 1}
}
func (fakeConn) Write(p []byte) (int, error)      { return len(p), nil }
func (fakeConn) Close() error                     { return nil }
func (fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (fakeConn) SetWriteDeadline(time.Time) error { return nil }

// The store that runs in production, once through.
func TestMessageIsInTheRealQueue(t *testing.T) {
	store, err := disk.Open(vfs.NewMem(), "queue", disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w := trusting()
	w.in = store
	h := start(t, w)
	c := h.dial(t)
	bodies := map[string]string{}
	c.do("EHLO c", "250")
	for _, body := range []string{"short\r\n", strings.Repeat("larger than what is kept inline\r\n", 9000)} {
		c.envelope()
		c.do("DATA", "354")
		c.send(head + body + ".\r\n")
		bodies[strings.TrimSpace(strings.TrimPrefix(c.want("250 2.0.0 queued as "), "250 2.0.0 queued as "))] = head + body
	}
	h.stop()
	n := 0
	for e, err := range store.List(context.Background(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		r, err := store.Body(context.Background(), e.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(b) != bodies[string(e.Message.ID)] {
			t.Errorf("%s: %d octets, %v", e.Message.ID, len(b), err)
		}
	}
	if n != 2 {
		t.Errorf("%d messages", n)
	}
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "submit.sock")
	w := world{Options: Options{Listen: []Listen{{Network: "unix", Address: path}}, SocketMode: 0o600}}
	h := start(t, w)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", fi, err)
	}
	c := h.dial(t)
	c.begin()
	c.send(head + ".\r\n")
	c.want("250")
	if p := h.box.all()[0]; p.m.Submitter != "local" || !strings.HasPrefix(string(p.m.Head), "Received: from client.test (local)\r\n") {
		t.Errorf("%+v", p.m)
	}
	if err := build(t, w).Listen(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "answers") {
		t.Errorf("a living socket was replaced: %v", err)
	}
	c.do("QUIT", "221")
	h.stop()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path}) // a process that dies leaves its socket
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	start(t, w).dial(t)

	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("precious"), 0o600)
	w.Listen = []Listen{{Network: "unix", Address: file}}
	if err := build(t, w).Listen(); err == nil {
		t.Error("a file was replaced")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("%q", b)
	}
	if es, _ := os.ReadDir(dir); len(es) != 2 {
		t.Errorf("left in the directory: %v", es)
	}
}

func TestListenAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "s")
	h := build(t, world{Options: Options{Listen: []Listen{{Network: "unix", Address: path}, {Network: "tcp", Address: taken.Addr().String()}}}})
	if err := h.Listen(); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("%v", err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the first one is open")
	}
	for _, o := range []Options{
		{Hostname: "h"},
		{Listen: []Listen{{Network: "tcp", Address: ":0"}}},
		{Hostname: "h", Listen: []Listen{{Network: "tcp", Address: ":0", Implicit: true}}},
		{Hostname: "h", Listen: []Listen{{Network: "udp", Address: ":0"}}},
	} {
		if _, err := New(o, nil, nil, nil); err == nil {
			t.Errorf("%+v", o)
		}
	}
}

func TestConnectionCaps(t *testing.T) {
	for _, w := range []world{{Options: Options{Conns: 2}}, {Options: Options{ConnsPerIP: 2}}} {
		h := start(t, w)
		a, b := h.dial(t), h.dial(t)
		c, err := net.Dial("tcp", h.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		wrap(t, c).want("421 4.7.0 relay.test has too many connections")
		wrap(t, c).ended()
		a.do("QUIT", "221")
		a.ended()
		waitFor(t, func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.conns) == 1 })
		h.dial(t).do("NOOP", "250")
		b.do("NOOP", "250")
	}
	for from, want := range map[string]string{"2001:db8::1": "2001:db8::/64", "2001:db8::ffff:0:0:1": "2001:db8::/64", "::ffff:192.0.2.1": "192.0.2.1"} {
		if ip, _ := addrOf(fakeConn{from: from}.RemoteAddr()); originOf(ip) != want {
			t.Errorf("%s: %s", from, originOf(ip))
		}
	}
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	in := time.After(10 * time.Second)
	for tick := time.Tick(time.Millisecond); !f(); {
		select {
		case <-tick:
		case <-in:
			t.Fatal("waited in vain")
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	cfg, pool := certificate(t)
	w := trusting()
	w.TLS, w.Listen = cfg, []Listen{{Network: "tcp", Address: "127.0.0.1:0", Implicit: true}}
	h := start(t, w)
	dial := func() *client {
		c, err := tls.Dial("tcp", h.Addrs()[0].String(), &tls.Config{ServerName: "localhost", RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		cl := wrap(t, c)
		cl.want("220 relay.test ")
		return cl
	}
	c := dial()
	c.begin()
	c.send(head + ".\r\n")
	c.want("250")
	if p := h.box.all()[0]; !strings.Contains(string(p.m.Head), "with ESMTPS id") {
		t.Errorf("%q", p.m.Head)
	}
	c.do("STARTTLS", "502")

	c = dial() // a close_notify within a chunk: no message, and nothing taken in the clear
	c.do("EHLO c", "250")
	c.envelope()
	c.send("BDAT 4000 LAST\r\n" + head)
	c.Conn.(*tls.Conn).CloseWrite()
	c.Conn.(*tls.Conn).NetConn().Write([]byte("MAIL FROM:<x@y.example>\r\n"))
	c.ended()
	h.stop()
	if n := len(h.box.all()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestStartTLS(t *testing.T) {
	cfg, pool := certificate(t)
	w := trusting()
	w.TLS = cfg
	h := start(t, w)

	c := h.dial(t)
	c.do("EHLO before", "250")
	c.do("MAIL FROM:<clear@example.com>", "250") // forgotten by the handshake
	s := c.startTLS(pool)
	s.do("RCPT TO:<b@example.net>", "502")
	s.envelope()
	s.do("DATA", "354")
	s.send(head + ".\r\n")
	s.want("250")
	if p := h.box.all()[0]; p.m.Envelope.From != "alice@example.com" || !strings.Contains(string(p.m.Head), "from client.test ([127.0.0.1])\r\n\tby relay.test with ESMTPS") {
		t.Errorf("%+v", p.m)
	}

	c = h.dial(t)
	c.do("EHLO c", "250")
	c.do("STARTTLSxyz", "501")
	c.do("STARTTLS now", "501")
	c.send("STARTTLS\r\nEHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n") // injected
	if got := c.want("503 5.5.1") + c.ended(); strings.Contains(got, "250") {
		t.Errorf("%q", got)
	}

	c = h.dial(t)
	c.do("STARTTLS", "220")
	c.send("EHLO x\r\nMAIL FROM:<a@example.com>\r\n" + strings.Repeat("NOOP\r\n", 50))
	if got := c.ended(); strings.Contains(got, "250") || strings.Contains(got, "550") {
		t.Errorf("after a failed handshake: %q", got)
	}
	if n := len(h.box.all()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestHandshakeMustEnd(t *testing.T) {
	cfg, _ := certificate(t)
	w := trusting()
	w.TLS, w.Listen = cfg, []Listen{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "127.0.0.1:0", Implicit: true}}
	w.adjust = func(s *Server) { s.limits.shake = 100 * time.Millisecond }
	h := start(t, w)
	c := h.dial(t)
	c.do("STARTTLS", "220")
	c.ended()
	nc, err := net.Dial("tcp", h.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	wrap(t, nc).ended()
}

func TestPanicInTLSCallback(t *testing.T) {
	cfg, _ := certificate(t)
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("callback") }
	w := trusting()
	w.TLS, w.Listen = cfg, []Listen{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "127.0.0.1:0", Implicit: true}}
	h := start(t, w)
	bystander := h.dial(t)
	if c, err := tls.Dial("tcp", h.Addrs()[1].String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("no panic")
	}
	c := h.dial(t)
	c.do("STARTTLS", "220")
	if err := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("no panic")
	}
	bystander.do("NOOP", "250")
	if n := strings.Count(h.log.String(), "panic in a session"); n != 2 {
		t.Errorf("%d panics logged", n)
	}
}

func TestDrain(t *testing.T) {
	h := start(t, trusting())
	idle, busy, open := h.dial(t), h.dial(t), h.dial(t)
	idle.do("EHLO c", "250")
	busy.begin()
	busy.send(head)
	open.do("EHLO c", "250")
	open.envelope()
	done := make(chan error, 1)
	go func() { done <- h.stop() }()
	if got := idle.ended(); !strings.HasPrefix(got, "421 4.3.2") {
		t.Errorf("idle: %q", got)
	}
	if _, err := net.Dial("tcp", h.Addrs()[0].String()); err == nil {
		t.Error("still listening")
	}
	open.do("RSET", "250")
	if got := open.ended(); !strings.HasPrefix(got, "421") {
		t.Errorf("between transactions: %q", got)
	}
	busy.send("the rest\r\n.\r\nMAIL FROM:<next@example.com>\r\n")
	busy.want("250 2.0.0 queued")
	if got := busy.ended(); !strings.HasPrefix(got, "421 4.3.2") {
		t.Errorf("afterwards: %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(h.box.all()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestDrainEndsAfterGrace(t *testing.T) {
	w := trusting()
	w.adjust = func(s *Server) { s.grace = 100 * time.Millisecond }
	h := start(t, w)
	c := h.dial(t)
	c.begin()
	c.send(head)
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	c.ended()
	if n := len(h.box.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// The gate hears the domains, first of the envelope, then of the author too.
func TestGateIsAsked(t *testing.T) {
	var asked []preflight.Mail
	w := trusting()
	w.gate = func(m preflight.Mail) preflight.Ruling {
		asked = append(asked, m)
		if m.Envelope == "no.example" {
			return preflight.Ruling{Do: preflight.ActReject}
		}
		return preflight.Ruling{Do: preflight.ActSmartHost}
	}
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@no.example>", "550 5.7.1")
	c.do("MAIL FROM:<a@Bounces.Example.com>", "250")
	c.do("RCPT TO:<b@example.net>", "250")
	c.do("DATA", "354")
	c.send("From: \"x\" <a@EXAMPLE.com>\r\n\r\n.\r\n")
	c.want("250")
	want := []preflight.Mail{{Envelope: "no.example"}, {Envelope: "bounces.example.com"}, {Envelope: "bounces.example.com", Author: "example.com"}}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("%v", asked)
	}
}

package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Faults of ours are temporary, and their text stays here.
func TestLocalFaults(t *testing.T) {
	w := trusting()
	w.pen = func(domain string, _ io.Reader) ([]byte, error) {
		if domain == "unsigned.example" {
			return nil, errors.New("secret detail")
		}
		return nil, nil
	}
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	send := func(from, want string) {
		t.Helper()
		c.envelope()
		c.do("DATA", "354")
		c.send("From: " + from + "\r\n\r\n" + strings.Repeat("x", 1200) + "\r\n.\r\n")
		if got := c.want(want); strings.Contains(got, "secret") {
			t.Errorf("%q", got)
		}
		if n := h.box.drafts(); n != 0 {
			t.Errorf("%d drafts left", n)
		}
	}
	set := func(create, commit error) {
		h.box.mu.Lock()
		defer h.box.mu.Unlock()
		h.box.err, h.box.late = create, commit
	}
	send("a@unsigned.example", "451 4.3.0")
	set(fmt.Errorf("no room: %w", queue.ErrFull), nil)
	send("a@example.com", "452 4.3.1")
	set(queue.ErrUnhealthy, nil)
	send("a@example.com", "451 4.3.0")
	set(nil, errors.New("secret path"))
	send("a@example.com", "451 4.3.0")
	set(nil, nil)
	send("a@example.com", "250")
	if !strings.Contains(h.log.String(), "secret path") {
		t.Error("the fault is not in the log")
	}
}

// panicky is an intake that does what its name says.
type panicky struct{}

func (panicky) Create(context.Context) (queue.Draft, error) { panic("intake") }

func TestPanicCostsOneConnection(t *testing.T) {
	for name, w := range map[string]world{
		"gate": {gate: func(preflight.Mail) preflight.Ruling { panic("gate") }},
		"author": {gate: func(m preflight.Mail) preflight.Ruling {
			return map[bool]preflight.Ruling{}[m.Author != "" && panics()]
		}},
		"signer": {pen: func(string, io.Reader) ([]byte, error) { panic("signer") }},
		"intake": {in: panicky{}},
	} {
		for _, how := range []string{"DATA", "BDAT"} {
			t.Run(name+" "+how, func(t *testing.T) {
				w.Trusted = loopback
				h := start(t, w)
				bystander := h.dial(t)
				bystander.do("EHLO c", "250")
				c := h.dial(t)
				text := head + "MAIL FROM:<x@y.example>\r\n"
				verb := "DATA\r\n" + text + ".\r\n"
				if how == "BDAT" {
					verb = fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text)
				}
				c.send("EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n" + verb)
				if got := c.ended(); !strings.Contains(got, "421 ") {
					t.Errorf("%q", got)
				}
				bystander.do("NOOP", "250")
				waitFor(t, func() bool { return strings.Contains(h.log.String(), "panic in a session") })
			})
		}
	}
}

// fuse is a verifier that does what its name says.
type fuse struct{}

func (fuse) fits(string) bool { panic("verifier") }

// A panic in AUTH costs one connection too, and keeps no place among those
// that compute.
func TestPanicInAuth(t *testing.T) {
	cfg, pool := certificate(t)
	h := start(t, world{Options: Options{TLS: cfg, Users: &Users{byName: map[string]*user{}, most: 1, decoy: fuse{}}}})
	bystander := h.dial(t)
	for range 1 + cap(h.auth.places) {
		c := h.dial(t).startTLS(pool)
		c.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "421 ")
		c.ended()
	}
	bystander.do("NOOP", "250")
	if log := h.log.String(); !strings.Contains(log, "panic in a session") || strings.Contains(log, "secret") || strings.Contains(log, b64("\x00alice\x00secret")) {
		t.Error(log)
	}
}

func panics() bool { panic("author") }

func TestPanicInLogoutIsKept(t *testing.T) {
	h := build(t, trusting())
	s := &session{srv: h.Server, d: &dialogue{Conn: fakeConn{}, raw: newConn(fakeConn{}, h.limits, nil), server: h.Server}}
	s.t = &transaction{}
	s.t.hold.back = []func(){func() { panic("give back") }}
	if err := s.Logout(); err != nil || !strings.Contains(h.log.String(), "give back") {
		t.Errorf("%v %s", err, h.log)
	}
}

// Every no has its line, with who and why.
func TestRefusalsAreLogged(t *testing.T) {
	w := trusting()
	w.Senders = []string{"example.com"}
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@other.example>", "550")
	c.do("MAIL FROM:<a..b@example.com>", "501")
	c.do("MAIL FROM:<a@example.com>", "250")
	c.do("RCPT TO:<b@[192.0.2.1]>", "550")
	c.do("RCPT TO:<b@example.net>", "250")
	c.do("DATA", "354")
	c.send("From: a@other.example\r\n\r\n.\r\n")
	c.want("550")
	c.envelope()
	c.do("DATA", "354")
	c.send("From: ")
	c.Close()
	h.stop()
	log := h.log.String()
	for _, want := range []string{
		`msg="message refused" remote=127.0.0.1 from=a@other.example to=[] user=127.0.0.0/8 code=550 status=5.7.1 reason="MAIL FROM: this relay does not send for the domain other.example"`,
		`to=[] user=127.0.0.0/8 code=501 status=5.1.7 reason="sender address: misplaced dot before the @"`,
		`msg="message refused" remote=127.0.0.1 from=a@example.com to=[<b@[192.0.2.1]>] user=127.0.0.0/8 code=550 status=5.1.2 `,
		`msg="message refused" remote=127.0.0.1 from=a@example.com to=[b@example.net] user=127.0.0.0/8 code=550 status=5.7.1 reason="From: this relay`,
		`msg="message broke off" remote=127.0.0.1 from=alice@example.com user=127.0.0.0/8 took=`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
}

// Only a unix socket passes for local: a connection that does not say where it
// comes from is a stranger's.
func TestNobodyIsTrustedForWantOfAnAddress(t *testing.T) {
	h := build(t, trusting())
	for a, want := range map[net.Addr]string{nil: "", &net.TCPAddr{}: "", &net.IPAddr{}: "", &net.UnixAddr{}: "local", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}: "127.0.0.0/8"} {
		if got := h.trusts(a); got != want {
			t.Errorf("%v: %q", a, got)
		}
	}
}

// A signature takes a thousand times what a reply takes: as many are made at
// once as there are processors, so that the others are answered meanwhile.
func TestFewSignAtOnce(t *testing.T) {
	places := runtime.GOMAXPROCS(0)
	var now, most atomic.Int64
	next := make(chan struct{})
	w := trusting()
	w.pen = func(string, io.Reader) ([]byte, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-next
		return nil, nil
	}
	h := start(t, w)
	var waiting []*client
	for range places + 4 {
		c := h.dial(t)
		c.begin()
		c.send(head + "x\r\n.\r\n")
		waiting = append(waiting, c)
	}
	waitFor(t, func() bool { return h.box.drafts() == len(waiting) && now.Load() == int64(places) })
	free := h.dial(t)
	free.do("EHLO c", "250")
	free.do("NOOP", "250")
	close(next)
	for _, c := range waiting {
		c.want("250 2.0.0 queued")
	}
	if n := most.Load(); n != int64(places) {
		t.Errorf("%d signatures at once, want %d", n, places)
	}
}

package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

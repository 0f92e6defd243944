package deliver

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
	"smtprelay/relay/deliver/mxtest"
)

const destZone = `
$ORIGIN dest.test.
@ MX 10 mx1
mx1 A 127.0.0.2
`

func TestDelivers(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	w.put(queue.Message{Head: []byte("Received: here\r\n"), Author: "example.test"}, hello, "bob@dest.test")
	got := w.run(1)
	is(t, got["bob@dest.test"], "sent dot 250 2.0.0")
	ms := mx.Messages()
	if len(ms) != 1 {
		t.Fatalf("%d messages", len(ms))
	}
	m := ms[0]
	if want := "Received: here\r\n" + hello; string(m.Data) != want {
		t.Errorf("got %q, want %q", m.Data, want)
	}
	if m.From != "alice@example.test" || m.EHLO != "mail.example.test" || m.Remote.Addr().String() != "127.0.0.1" {
		t.Errorf("got %+v", m)
	}
}

// Every phase, every way to fail, with one exchanger: nothing fails for good that
// might still work out.
func TestTroubleInEveryPhase(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"drop banner", "drop banner", "deferred greet"},
		{"drop EHLO", "drop EHLO", "deferred ehlo"},
		{"drop MAIL", "drop MAIL", "deferred mail"},
		{"drop RCPT", "drop RCPT", "deferred rcpt"},
		{"drop DATA", "drop DATA", "deferred data"},
		{"drop body", "drop body", "deferred dot"},
		{"reply lost", "drop dot", "deferred dot"},
		{"hang banner", "hang banner", "deferred greet"},
		{"hang EHLO", "hang EHLO", "deferred ehlo"},
		{"hang MAIL", "hang MAIL", "deferred mail"},
		{"hang RCPT", "hang RCPT", "deferred rcpt"},
		{"hang DATA", "hang DATA", "deferred data"},
		{"hang dot", "hang dot", "deferred dot"},
		{"421 banner", "banner 421 4.3.2 later", "deferred greet 421 4.3.2"},
		{"421 EHLO", "EHLO 421 4.3.2 later", "deferred ehlo 421 4.3.2"},
		{"421 MAIL", "MAIL 421 4.3.2 later", "deferred mail 421 4.3.2"},
		{"421 RCPT", "RCPT 421 4.3.2 later", "deferred rcpt 421 4.3.2"},
		{"421 DATA", "DATA 421 4.3.2 later", "deferred data 421 4.3.2"},
		{"421 dot", "dot 421 4.3.2 later", "deferred dot 421 4.3.2"},
		{"554 banner", "banner 554 5.7.1 no", "deferred greet 554 5.7.1"},
		{"550 EHLO and HELO", "EHLO 550 5.7.1 no\nHELO 550 5.7.1 no", "deferred ehlo 550 5.7.1"},
		{"451 MAIL", "MAIL 451 4.7.1 later", "deferred mail 451 4.7.1"},
		{"550 MAIL", "MAIL 550 5.7.1 no", "refused mail 550 5.7.1"},
		{"451 RCPT", "RCPT 451 4.7.1 greylisted", "deferred rcpt 451 4.7.1"},
		{"550 RCPT", "RCPT 550 5.1.1 no such user", "refused rcpt 550 5.1.1"},
		{"451 DATA", "DATA 451 4.3.0 later", "deferred data 451 4.3.0"},
		{"554 DATA", "DATA 554 5.7.1 no", "refused data 554 5.7.1"},
		{"452 dot", "dot 452 4.3.1 full", "deferred dot 452 4.3.1"},
		{"550 dot", "dot 550 5.7.1 spam", "refused dot 550 5.7.1"},
		{"530", "MAIL 530 5.7.0 log in first", "refused mail 530 5.7.0"},
		{"530 for want of TLS", "tls broken\nMAIL 530 5.7.0 must issue STARTTLS", "deferred mail 530 5.7.0"},
		{"530 after 454", "tls x\nSTARTTLS 454 4.7.0 later\nMAIL 530 5.7.0 must issue STARTTLS", "deferred mail 530 5.7.0"},
		{"garbage banner", `raw banner "HTTP/1.1 400 no\r\n"`, "deferred greet"},
		{"code 000", `raw MAIL "000 what\r\n"`, "deferred mail"},
		{"code 999", `raw RCPT "999 what\r\n"`, "deferred rcpt"},
		{"binary", `raw RCPT "\x00\xff\x80\r\n"`, "deferred rcpt"},
		{"354 to MAIL", "MAIL 354 eh", "deferred mail"},
		{"250 to DATA", "DATA 250 eh", "deferred data"},
		{"354 to dot", "dot 354 more", "deferred dot"},
		{"code changes", `raw dot "250-a\r\n550 b\r\n"`, "deferred dot"},
		{"no CRLF", "raw dot \"250 2.0.0 ok\"\nhang QUIT", "deferred dot"},
	} {
		for _, pipelining := range []bool{true, false} {
			name, script := c.name, c.script
			if !pipelining {
				name, script = name+", lock-step", "nopipelining\n"+script
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, destZone)
				w.o.Timeouts = shortly
				mx := w.mx("127.0.0.2", script)
				w.put(queue.Message{}, hello, "bob@dest.test")
				is(t, w.run(1)["bob@dest.test"], c.want)
				if n := len(mx.Messages()); n > 0 && !strings.Contains(script, "raw dot") {
					t.Errorf("%d messages were taken", n)
				}
			})
		}
	}
}

// What a hostile peer sends without end is not read without end.
func TestHostileReplies(t *testing.T) {
	line := strings.Repeat("x", 64<<10)
	for name, script := range map[string]string{
		"endless line":     `raw EHLO "250-` + line + `\r\n"`,
		"endless lines":    `raw EHLO "` + strings.Repeat(`250-X\r\n`, 1000) + `"`,
		"100 KiB of lines": `raw EHLO "` + strings.Repeat(`250-`+line[:900]+`\r\n`, 99) + `250 ok\r\n"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			w.mx("127.0.0.2", script)
			w.put(queue.Message{}, hello, "bob@dest.test")
			is(t, w.run(1)["bob@dest.test"], "deferred ehlo")
		})
	}
}

func TestMixedRecipients(t *testing.T) {
	for _, extra := range []string{"", "nopipelining\n"} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", extra+"RCPT <b@dest.test> 450 4.2.1 busy\nRCPT <c@dest.test> 550 5.1.1 unknown")
		w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
		got := w.run(3)
		is(t, got["a@dest.test"], "sent dot 250 2.0.0")
		is(t, got["b@dest.test"], "deferred rcpt 450 4.2.1")
		is(t, got["c@dest.test"], "refused rcpt 550 5.1.1")
		if ms := mx.Messages(); len(ms) != 1 || !slices.Equal(ms[0].To, []string{"a@dest.test"}) {
			t.Errorf("got %+v", ms)
		}
	}
}

// The connection is lost after one recipient was refused: that stands, the
// others wait.
func TestRefusalOutlivesConnection(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "nopipelining\nRCPT <a@dest.test> 550 5.1.1 unknown\nRCPT <b@dest.test> 421 4.3.2 bye")
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	got := w.run(3)
	is(t, got["a@dest.test"], "refused rcpt 550 5.1.1")
	is(t, got["b@dest.test"], "deferred rcpt 421 4.3.2")
	is(t, got["c@dest.test"], "deferred rcpt 421 4.3.2")
}

// A peer that takes DATA although it took no recipient gets a lone dot.
func TestDataWithoutRecipients(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "RCPT 550 5.1.1 unknown\nDATA 354 go")
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "refused rcpt 550 5.1.1")
	if wire := string(closed(t, mx)[0].Wire); !strings.HasSuffix(wire, "DATA\r\n.\r\nQUIT\r\n") {
		t.Errorf("wire: %q", wire)
	}
}

// After a refused MAIL nothing is ended with a dot: the connection is.
func TestDataAfterRefusedMail(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", `raw MAIL "550 5.7.1 no\r\n"`+"\n"+`raw RCPT "250 ok\r\n"`+"\nDATA 354 go")
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "refused mail 550 5.7.1")
	if wire := string(closed(t, mx)[0].Wire); !strings.HasSuffix(wire, "DATA\r\n") {
		t.Errorf("wire: %q", wire)
	}
}

// A peer that answers in the middle of the body and closes is heard.
func TestLateReply(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "late body 552 5.3.4 too big")
	w.put(queue.Message{}, hello+strings.Repeat("0123456789abcdef\r\n", 1<<20), "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "refused data 552 5.3.4")
}

// A peer that stops reading holds nobody longer than the block timeout.
func TestZeroWindow(t *testing.T) {
	w := newWorld(t, destZone)
	w.o.Timeouts = shortly
	w.mx("127.0.0.2", "hang body")
	w.put(queue.Message{}, hello+strings.Repeat("0123456789abcdef\r\n", 1<<20), "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred data")
}

// closed waits until the peer's connections have ended and returns them.
func closed(t *testing.T, mx *mxtest.Server) []mxtest.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := mx.WaitClosed(ctx, 1); err != nil {
		t.Fatal(err)
	}
	return mx.Conns()
}

var shortly = Timeouts{
	Connect: 300 * time.Millisecond, Greet: 300 * time.Millisecond, Mail: 300 * time.Millisecond,
	Rcpt: 300 * time.Millisecond, Data: 300 * time.Millisecond, Block: 300 * time.Millisecond, Dot: 300 * time.Millisecond,
}

// The message was taken and the reply got lost: it is sent once more, no more
// often, and by the same name.
func TestLostReplyMakesOneCopy(t *testing.T) {
	w := newWorld(t, destZone)
	w.o.Timeouts = shortly
	w.q.Retry = []time.Duration{time.Millisecond}
	mx := w.mx("127.0.0.2", `raw dot "250", once`)
	w.put(queue.Message{}, hello, "a@dest.test")
	got := w.until(func(got map[string]queue.Recipient) bool { return got["a@dest.test"].State == queue.Delivered })
	if r := got["a@dest.test"]; r.Tries != 2 {
		t.Errorf("%d tries", r.Tries)
	}
	if n := len(mx.Messages()); n != 2 {
		t.Errorf("%d copies", n)
	}
}

// A peer that drips is given up when the phase is over, however busy it looks.
func TestDrip(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := c.Write([]byte("2")); err != nil {
						return
					}
				}
			}()
		}
	}()
	w := newWorld(t, destZone)
	w.o.Timeouts = shortly
	w.port = netip.MustParseAddrPort(ln.Addr().String()).Port()
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred greet")
	if r.Last.Took > 5*time.Second || r.Last.Why != "timed out" {
		t.Errorf("took %v: %s", r.Last.Took, r.Last.Why)
	}
}

func TestConnectionRefused(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	mx.Close()
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred connect")
	if r.Reason != "connection refused" {
		t.Errorf("reason %q", r.Reason)
	}
}

// A source that this machine does not have is our fault.
func TestCannotBind(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "")
	w.gate.sources[0].Bind = "192.0.2.77"
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred connect ours")
}

func TestSourceWithoutAddress(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "")
	w.gate.sources[0].Bind = "wan"
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred gate ours")
	w.gate.sources = append(w.gate.sources, preflight.Source{Name: "any", EHLO: "any.example.test"})
	w.put(queue.Message{}, hello, "b@dest.test")
	if r := w.run(1)["b@dest.test"]; r.Last.Source != "any" {
		t.Errorf("source %q", r.Last.Source)
	}
}

// Only those whom the dot is for are marked, and before it is sent.
func TestSendingMark(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "RCPT <b@dest.test> 550 5.1.1 no")
	m := &marked{Work: w.store, mx: mx}
	w.work = m
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	w.run(3)
	if !slices.Equal(m.ns, []int{0, 2}) || m.had != 0 {
		t.Errorf("marked %v, %d messages were there by then", m.ns, m.had)
	}
}

type marked struct {
	queue.Work
	mx  *mxtest.Server
	ns  []int
	had int
}

func (m *marked) Sending(ctx context.Context, l queue.Lease, id queue.ID, ns ...int) error {
	m.ns, m.had = ns, len(m.mx.Messages())
	return m.Work.Sending(ctx, l, id, ns...)
}

// What a stop of ours broke off was no try.
func TestStopIsNoTry(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "nopipelining\nRCPT <a@dest.test> 550 5.1.1 no\nhang DATA")
	w.q.Grace = time.Millisecond
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test")
	o := w.o
	o.Port = w.port
	s := queue.NewScheduler(w.work, New(o, w.gate, w.dns.Client()), w, w.q, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for len(w.mxs["127.0.0.2"].Conns()) == 0 || !strings.Contains(string(w.mxs["127.0.0.2"].Conns()[0].Wire), "DATA") {
		runtime.Gosched()
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for e, err := range w.store.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.Recipients {
			if r.Address == "b@dest.test" && (r.State != queue.Waiting || r.Tries != 0) {
				t.Errorf("got %+v", r)
			}
			if r.Address == "a@dest.test" && r.State == queue.Waiting {
				t.Errorf("the refusal was forgotten: %+v", r)
			}
		}
	}
}

func TestNameWithLineEnd(t *testing.T) {
	w := newWorld(t, destZone)
	w.mx("127.0.0.2", "")
	w.gate.sources[0].EHLO = "x\r\nMAIL FROM:<>"
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred ehlo")
}

// Without settings the phases take what RFC 5321 section 4.5.3.2 gives them.
func TestTimeouts(t *testing.T) {
	const m = time.Minute
	want := Timeouts{Connect: m / 2, Greet: 5 * m, Mail: 5 * m, Rcpt: 5 * m, Data: 2 * m, Block: 3 * m, Dot: 10 * m}
	if got := newClient(Options{}).t; got != want {
		t.Errorf("got %+v", got)
	}
	want.Dot = m
	if got := newClient(Options{Timeouts: Timeouts{Dot: m}}).t; got != want {
		t.Errorf("got %+v", got)
	}
}

// What failed is not tried for each message of a trip, but a trip may have no end.
func TestFailureIsKnownForAWhile(t *testing.T) {
	p := place{source: "wan4"}
	for ago, want := range map[time.Duration]bool{time.Minute: true, 6 * time.Minute: true, 20 * time.Minute: false} {
		a := queue.Attempt{At: time.Now().Add(-ago), Took: 4 * time.Minute, Why: "no answer"}
		v := &voyage{failed: map[place]failure{p: {Attempt: a}}}
		f, ok := v.known(p)
		if ok != want || ok && (f.Took != 0 || f.At.Before(a.At.Add(ago)) || f.Why != a.Why) {
			t.Errorf("after %v: %v, %+v", ago, ok, f.Attempt)
		}
		if _, ok := v.known(place{source: "other"}); ok {
			t.Error("another place is known")
		}
	}
}

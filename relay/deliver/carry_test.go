package deliver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"smtprelay/queue"
)

// One connection carries all that is due, each message settled before the next.
func TestReuse(t *testing.T) {
	w := newWorld(t, destZone)
	w.q.Connections = 1
	mx := w.mx("127.0.0.2", "RCPT <no@dest.test> 550 5.1.1 unknown")
	for _, to := range []string{"a@dest.test", "no@dest.test", "b@dest.test"} {
		w.put(queue.Message{}, hello, to)
	}
	w.run(3)
	cs := closed(t, mx)
	if len(cs) != 1 {
		t.Fatalf("%d connections", len(cs))
	}
	var verbs []string
	for _, c := range cs[0].Commands {
		verb, _, _ := strings.Cut(c, " ")
		verbs = append(verbs, verb)
	}
	want := "EHLO MAIL RCPT DATA MAIL RCPT DATA RSET MAIL RCPT DATA QUIT"
	if got := strings.Join(verbs, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A connection that had its time between two messages is renewed, not booked.
func TestReuseEnds(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"421":     {"", "MAIL 421 4.7.0 enough for now, once"},
		"closed":  {"", "drop MAIL, once"},
		"MAILMAX": {"offer LIMITS MAILMAX=1", "offer LIMITS MAILMAX=1"},
	} {
		w := newWorld(t, destZone)
		w.q.Connections = 1
		mx := w.mx("127.0.0.2", c.before)
		w.put(queue.Message{}, hello, "a@dest.test")
		w.put(queue.Message{}, hello, "b@dest.test")
		w.work = onSettle{w.store, sync.OnceFunc(func() { mx.Set(c.after) })}
		got := w.run(2)
		is(t, got["a@dest.test"], "sent dot 250 2.0.0")
		is(t, got["b@dest.test"], "sent dot 250 2.0.0")
		if n := len(closed(t, mx)); n != 2 {
			t.Errorf("%s: %d connections", name, n)
		}
	}
}

// onSettle is told before results are made durable.
type onSettle struct {
	queue.Work
	do func()
}

func (o onSettle) Settle(ctx context.Context, l queue.Lease, rs ...queue.Result) error {
	o.do()
	return o.Work.Settle(ctx, l, rs...)
}

func TestManyRecipients(t *testing.T) {
	for script, want := range map[string]int{
		"":                                   3, // 100 a transaction
		"offer LIMITS RCPTMAX=90":            3,
		"RCPT 452 4.5.3 too many, after 100": 0,
	} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", script)
		var to []string
		for i := range 250 {
			to = append(to, fmt.Sprintf("u%d@dest.test", i))
		}
		w.put(queue.Message{}, hello, to...)
		got := w.run(len(to))
		if want == 0 {
			is(t, got["u249@dest.test"], "deferred rcpt 452 4.5.3")
			continue
		}
		for _, r := range got {
			is(t, r, "sent dot 250 2.0.0")
		}
		ms := mx.Messages()
		if len(ms) != want {
			t.Errorf("%q: %d transactions, want %d", script, len(ms), want)
		}
		for _, m := range ms {
			if string(m.Data) != hello {
				t.Errorf("%q: got %q", script, m.Data)
			}
		}
	}
}

// "Too many" of a transaction that took others means: in the next one.
func TestTooManyAtOnce(t *testing.T) {
	for script, want := range map[string]string{
		"RCPT <b@dest.test> 452 4.5.3 too many, once": "sent dot 250 2.0.0",
		"RCPT <b@dest.test> 452 too many, once":       "sent dot 250 2.0.0",
		"RCPT <b@dest.test> 552 too many, once":       "sent dot 250 2.0.0",
		"RCPT <b@dest.test> 552 5.5.3 too many, once": "sent dot 250 2.0.0",
		"RCPT <b@dest.test> 552 5.2.2 full, once":     "refused rcpt 552 5.2.2",
		"RCPT <b@dest.test> 452 4.2.2 full, once":     "deferred rcpt 452 4.2.2",
	} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", script)
		w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test")
		got := w.run(2)
		is(t, got["a@dest.test"], "sent dot 250 2.0.0")
		is(t, got["b@dest.test"], want)
		if n := len(mx.Messages()); (n == 2) != strings.HasPrefix(want, "sent") {
			t.Errorf("%s: %d messages", script, n)
		}
	}
}

// Two domains at one exchanger are two destinations: each gets the whole message,
// read from the store again.
func TestTwoDomainsAtOneExchanger(t *testing.T) {
	w := newWorld(t, destZone, "$ORIGIN other.test.\n@ MX 10 mx1.dest.test.")
	mx := w.mx("127.0.0.2", "")
	body := hello + strings.Repeat("0123456789abcdef\r\n", 10000)
	w.put(queue.Message{Head: []byte("Received: x\r\n")}, body, "a@dest.test", "b@other.test")
	for _, r := range w.run(2) {
		is(t, r, "sent dot 250 2.0.0")
	}
	ms := mx.Messages()
	if len(ms) != 2 {
		t.Fatalf("%d messages", len(ms))
	}
	for _, m := range ms {
		if string(m.Data) != "Received: x\r\n"+body {
			t.Errorf("%s: got %d octets", m.To, len(m.Data))
		}
	}
}

// Whoever had no turn before the connection ended waits, and knows why.
func TestConnectionEndsBeforeTheRest(t *testing.T) {
	var to []string
	for i := range 150 { // two transactions
		to = append(to, fmt.Sprintf("u%d@dest.test", i))
	}
	for script, c := range map[string]struct{ first, rest string }{
		"drop dot": {"deferred dot", "deferred mail"},
		"drop dot\nRCPT <u1@dest.test> 451 4.7.1 greylisted": {"deferred dot", "deferred mail"},
		"RCPT 550 5.1.1 unknown\nDATA 421 4.3.2 bye":         {"refused rcpt 550 5.1.1", "deferred mail"},
		"nopipelining\nRCPT <u1@dest.test> 421 4.3.2 enough": {"deferred rcpt 421 4.3.2", "deferred rcpt 421 4.3.2"},
	} {
		w := newWorld(t, destZone)
		w.mx("127.0.0.2", script)
		w.put(queue.Message{}, hello, to...)
		got := w.run(len(to))
		is(t, got["u0@dest.test"], c.first)
		r := got["u149@dest.test"]
		is(t, r, c.rest)
		if r.Last.At.IsZero() || r.Last.Host != "mx1.dest.test" || r.Reason == "no reason given" {
			t.Errorf("%q: got %+v", script, r)
		}
	}
}

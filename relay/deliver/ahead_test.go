package deliver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"smtprelay/queue"
	"smtprelay/relay/deliver/mxtest"
)

// promptly takes every peer for one that answers the final dot at once.
func promptly(w *world) *Deliverer {
	w.q.Connections = 1
	d := w.deliverer()
	d.c.soon = time.Hour
	return d
}

// From the second message on the next envelope is at the peer before the message
// before it is settled.
func TestEnvelopeGoesWithTheDot(t *testing.T) {
	for _, script := range []string{"", "tls x", "nopipelining"} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", script)
		for _, to := range []string{"a", "b", "c", "d"} {
			w.put(queue.Message{}, hello, to+"@dest.test")
		}
		settled, early := 0, 0
		w.work = onSettle{w.store, func() {
			settled++
			next := fmt.Sprintf("RCPT TO:<%c@dest.test>", 'a'+settled)
			if said := strings.Join(mx.Conns()[0].Commands, "\n"); strings.Contains(said, next) {
				early++
			}
		}}
		d := promptly(w)
		rs := w.runOn(d, 4)
		d.Close()
		for _, r := range rs {
			is(t, r, "sent dot 250 2.0.0")
		}
		want := 2
		if script == "nopipelining" {
			want = 0
		}
		cs := closed(t, mx)
		if early != want || len(cs) != 1 || !bytes.HasSuffix(cs[0].Wire, []byte(".\r\nQUIT\r\n")) {
			t.Errorf("%q: %d envelopes came early, want %d, over %d connections", script, early, want, len(cs))
		}
	}
}

// A peer that cannot bear it is spared, for the rest of the trip.
func TestNoEnvelopeAheadAfterALoss(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "drop RCPT <c@dest.test>")
	for _, to := range []string{"a", "b", "c", "d", "e", "f"} {
		w.put(queue.Message{}, hello, to+"@dest.test")
	}
	settled, early := 0, ""
	w.work = onSettle{w.store, func() {
		settled++
		cs := mx.Conns()
		said := strings.Join(cs[len(cs)-1].Commands, "\n")
		if next := string(rune('a' + settled)); strings.Contains(said, "RCPT TO:<"+next+"@dest.test>") {
			early += next
		}
	}}
	for to, r := range w.runOn(promptly(w), 6) {
		if to == "c@dest.test" {
			is(t, r, "deferred rcpt")
		} else {
			is(t, r, "sent dot 250 2.0.0")
		}
	}
	if early != "c" {
		t.Errorf("the envelopes of %q went ahead", early)
	}
}

// Whatever becomes of the second message or of the third envelope, the third
// message ends as if they had come one after the other, and nobody gets a copy.
func TestAfterTheEnvelopeWentAhead(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		b, c   string
		cut    bool // the first connection ends in the middle
	}{
		"the dot is refused":        {"dot 554 5.6.0 content, after 1\ndot 250 2.0.0 ok", "refused dot 554 5.6.0", "refused dot 554 5.6.0", false},
		"the dot is put off":        {"dot 451 4.3.0 later, after 1", "deferred dot 451 4.3.0", "deferred dot 451 4.3.0", false},
		"goodbye at the dot":        {"dot 421 4.3.2 enough, after 1", "deferred dot 421 4.3.2", "deferred dot 421 4.3.2", true},
		"MAIL is refused":           {"MAIL 550 5.1.8 no, after 2", "sent dot 250 2.0.0", "refused mail 550 5.1.8", false},
		"goodbye at MAIL":           {"MAIL 421 4.3.2 enough, after 2", "sent dot 250 2.0.0", "deferred mail 421 4.3.2", true},
		"closed at MAIL":            {"drop MAIL, after 2", "sent dot 250 2.0.0", "deferred mail", true},
		"the recipient is refused":  {"RCPT <c@dest.test> 550 5.1.1 unknown", "sent dot 250 2.0.0", "refused rcpt 550 5.1.1", false},
		"the recipient is put off":  {"RCPT <c@dest.test> 450 4.2.1 later", "sent dot 250 2.0.0", "deferred rcpt 450 4.2.1", false},
		"DATA is refused":           {"DATA 554 5.3.0 no, after 2", "sent dot 250 2.0.0", "refused data 554 5.3.0", false},
		"the connection has limits": {"offer LIMITS MAILMAX=2", "sent dot 250 2.0.0", "sent dot 250 2.0.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			mx := w.mx("127.0.0.2", c.script)
			for _, to := range []string{"a", "b", "c"} {
				w.put(queue.Message{}, hello, to+"@dest.test")
			}
			got := w.runOn(promptly(w), 3)
			is(t, got["a@dest.test"], "sent dot 250 2.0.0")
			is(t, got["b@dest.test"], c.b)
			is(t, got["c@dest.test"], c.c)
			whole(t, mx)
			if first := closed(t, mx)[0].Commands; (first[len(first)-1] != "QUIT") != c.cut {
				t.Errorf("the last word on the first connection is %q", first[len(first)-1])
			}
		})
	}
}

// whole are all messages that were taken, and each was taken once.
func whole(t *testing.T, mx *mxtest.Server) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range mx.Messages() {
		if seen[m.To[0]] || string(m.Data) != hello {
			t.Errorf("%s got %q", m.To, m.Data)
		}
		seen[m.To[0]] = true
	}
}

// A message whose envelope is at the peer already does not go out when the gate
// thinks better of it, or when its text cannot be had.
func TestEnvelopeInVain(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w *world)
		want  string
	}{
		"the verdict falls": {func(w *world) {
			w.gate.mu.Lock()
			defer w.gate.mu.Unlock()
			w.gate.sources = nil
		}, "deferred gate ours"},
		"the text is lost": {func(w *world) { w.work.(*spoilt).bodies = true }, "deferred data ours"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			mx := w.mx("127.0.0.2", "")
			for _, to := range []string{"a", "b", "c"} {
				w.put(queue.Message{}, hello, to+"@dest.test")
			}
			sp := &spoilt{Work: w.store}
			sp.settle = func() {
				if sp.settled++; sp.settled == 2 {
					c.spoil(w)
				}
			}
			w.work = sp
			got := w.runOn(promptly(w), 3)
			is(t, got["a@dest.test"], "sent dot 250 2.0.0")
			is(t, got["b@dest.test"], "sent dot 250 2.0.0")
			is(t, got["c@dest.test"], c.want)
			whole(t, mx)
			cs := closed(t, mx)
			if wire := cs[0].Wire; len(cs) != 1 || !bytes.HasSuffix(wire, []byte("RCPT TO:<c@dest.test>\r\nDATA\r\n")) {
				t.Errorf("%d connections, the first ends in %q", len(cs), wire[max(0, len(wire)-60):])
			}
		})
	}
}

// What one exchanger puts off goes to the next: the first, who has the envelope of
// another message, hears no more of either.
func TestEnvelopeLeftBehind(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.2\nmx2 A 127.0.0.3\n")
	first, second := w.mx("127.0.0.2", "dot 451 4.3.0 later, after 1"), w.mx("127.0.0.3", "")
	for _, to := range []string{"a", "b", "c"} {
		w.put(queue.Message{}, hello, to+"@dest.test")
	}
	for _, r := range w.runOn(promptly(w), 3) {
		is(t, r, "sent dot 250 2.0.0")
	}
	if wire := closed(t, first)[0].Wire; !bytes.HasSuffix(wire, []byte("RCPT TO:<c@dest.test>\r\nDATA\r\n")) {
		t.Errorf("the first connection ends in %q", wire[max(0, len(wire)-60):])
	}
	whole(t, first)
	whole(t, second)
	if a, b := len(first.Messages()), len(second.Messages()); a != 1 || b != 2 {
		t.Errorf("%d and %d messages", a, b)
	}
}

// spoilt is a store that loses its bodies.
type spoilt struct {
	queue.Work
	settle  func()
	settled int
	bodies  bool
}

func (s *spoilt) Settle(ctx context.Context, l queue.Lease, rs ...queue.Result) error {
	s.settle()
	return s.Work.Settle(ctx, l, rs...)
}

func (s *spoilt) Body(ctx context.Context, id queue.ID) (io.ReadSeekCloser, error) {
	if s.bodies {
		return nil, queue.ErrDamaged
	}
	return s.Work.Body(ctx, id)
}

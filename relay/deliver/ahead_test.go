package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
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

// Where an envelope that went ahead is lost, or answered as if it made no sense, it is
// said again in turn, and none goes ahead there for a while.
func TestNoEnvelopeAheadAfterALoss(t *testing.T) {
	for script, c := range map[string]string{
		"drop MAIL <c@example.test>, once":                 "sent dot 250 2.0.0",
		"drop RCPT <c@dest.test>, once":                    "sent dot 250 2.0.0",
		"drop RCPT <c@dest.test>":                          "deferred rcpt",
		"hang RCPT <c@dest.test>, once":                    "sent dot 250 2.0.0",
		"MAIL <c@example.test> 503 5.5.1 HELO first, once": "sent dot 250 2.0.0",
		"MAIL <c@example.test> 503 5.5.1 HELO first":       "refused mail 503 5.5.1",
		"RCPT <c@dest.test> 500 what, once":                "sent dot 250 2.0.0",
		"RCPT <c@dest.test> 550 5.5.0 no such thing, once": "sent dot 250 2.0.0",
	} {
		t.Run(script, func(t *testing.T) {
			w := newWorld(t, destZone)
			w.o.Timeouts = shortly
			mx := w.mx("127.0.0.2", script)
			put := func(names string) {
				for _, n := range names {
					w.put(queue.Message{Envelope: queue.Envelope{From: string(n) + "@example.test"}}, hello, string(n)+"@dest.test")
				}
			}
			settled, early := 0, ""
			w.work = onSettle{w.store, func() {
				settled++
				cs := mx.Conns()
				said := strings.Join(cs[len(cs)-1].Commands, "\n")
				if next := string(rune('a' + settled)); strings.Contains(said, "MAIL FROM:<"+next+"@example.test>") {
					early += next
				}
			}}
			d := promptly(w)
			put("abcdef")
			got := w.runOn(d, 6)
			put("ghij") // another trip
			maps.Copy(got, w.runOn(d, 4))
			d.Close()
			for to, r := range got {
				want := "sent dot 250 2.0.0"
				if to == "c@dest.test" {
					want = c
				}
				is(t, r, want)
			}
			whole(t, mx)
			if early != "c" {
				t.Errorf("the envelopes of %q went ahead", early)
			}
		})
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
			d := promptly(w)
			got := w.runOn(d, 3)
			d.Close()
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

// Over several connections, and whatever goes wrong before the dot is answered, each
// message arrives once, and where it should.
func TestAllArriveOnce(t *testing.T) {
	for _, script := range []string{
		"drop MAIL, 9 times\nMAIL 421 4.3.2 enough, 5 times\nRCPT 450 4.2.0 later, 9 times",
		"drop RCPT, 5 times\nRCPT 421 4.3.2 enough, 5 times\nDATA 451 4.3.0 later, 9 times\ndrop DATA, 5 times",
		"dot 451 4.3.0 later, 19 times\ndot 421 4.3.2 enough, 9 times\ndrop body, 9 times",
	} {
		w := newWorld(t, destZone)
		w.q.Retry = []time.Duration{20 * time.Millisecond}
		mx := w.mx("127.0.0.2", script)
		const n = 200
		for i := range n {
			to := fmt.Sprintf("u%d@dest.test", i)
			w.put(queue.Message{}, hello+to+"\r\n", to)
		}
		d := promptly(w)
		w.q.Connections = 4
		for to, r := range w.untilOn(d, func(got map[string]queue.Recipient) bool {
			done := 0
			for _, r := range got {
				if r.State != queue.Waiting {
					done++
				}
			}
			return done == n
		}) {
			if r.State != queue.Delivered {
				t.Errorf("%s is %s: %s", to, r.State, r.Reason)
			}
		}
		d.Close()
		seen := map[string]bool{}
		for _, m := range mx.Messages() {
			if to := m.To[0]; seen[to] || len(m.To) != 1 || string(m.Data) != hello+to+"\r\n" {
				t.Errorf("%s got %q", m.To, m.Data)
			}
			seen[m.To[0]] = true
		}
		if len(seen) != n {
			t.Errorf("%d of %d arrived", len(seen), n)
		}
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
			d := promptly(w)
			got := w.runOn(d, 3)
			d.Close()
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

// A peer that waits for the final dot does not wait for the gate, which may want to look
// at the next sender first.
func TestDotDoesNotWaitForTheGate(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	for _, from := range []string{"a", "b", "new"} {
		w.put(queue.Message{Author: from + ".example.test"}, hello, from+"@dest.test")
	}
	d := promptly(w)
	d.c.soon = 500 * time.Millisecond
	d.gate = looking{w.gate, func(ctx context.Context) {
		if len(mx.Messages()) < 2 {
			<-ctx.Done() // until we say that there is no time, or the test ends
		}
	}}
	for _, r := range w.runOn(d, 3) {
		is(t, r, "sent dot 250 2.0.0")
	}
	d.Close()
	whole(t, mx)
}

// looking is a gate that looks at what is new.
type looking struct {
	*gate
	look func(context.Context)
}

func (g looking) Route(ctx context.Context, m preflight.Mail, to string, tried []string) preflight.Route {
	if m.Author == "new.example.test" {
		g.look(ctx)
	}
	return g.gate.Route(ctx, m, to, tried)
}

// What one exchanger puts off goes to the next: the first, who has the envelope of
// another message, hears no more of either.
func TestEnvelopeLeftBehind(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.2\nmx2 A 127.0.0.3\n")
	first, second := w.mx("127.0.0.2", "dot 451 4.3.0 later, after 1"), w.mx("127.0.0.3", "")
	for _, to := range []string{"a", "b", "c"} {
		w.put(queue.Message{}, hello, to+"@dest.test")
	}
	d := promptly(w)
	for _, r := range w.runOn(d, 3) {
		is(t, r, "sent dot 250 2.0.0")
	}
	d.Close()
	if wire := closed(t, first)[0].Wire; !bytes.HasSuffix(wire, []byte("RCPT TO:<c@dest.test>\r\nDATA\r\n")) {
		t.Errorf("the first connection ends in %q", wire[max(0, len(wire)-60):])
	}
	whole(t, first)
	whole(t, second)
	if a, b := len(first.Messages()), len(second.Messages()); a != 1 || b != 2 {
		t.Errorf("%d and %d messages", a, b)
	}
}

// A job that was handed out ahead is given back, or put off for a moment, however the
// trip ends; and what the operator does meanwhile is done.
func TestEnvelopeAheadIsGivenBack(t *testing.T) {
	const fails, panics = "the store does not settle", "the delivery panics"
	for _, name := range []string{fails, panics, "held", "removed", "we stop"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			mx := w.mx("127.0.0.2", "hold RCPT <c@dest.test>")
			var ids []queue.ID
			for _, to := range []string{"a", "b", "c"} {
				ids = append(ids, w.put(queue.Message{}, hello, to+"@dest.test"))
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			w.q.Grace = time.Millisecond
			sp := &spoilt{Work: w.store}
			w.work = sp
			change := func(s queue.State) {
				if n, err := w.store.Update(ctx, queue.Filter{ID: ids[2]}, queue.Change{State: s}); n != 1 || err != nil {
					t.Error(n, err)
				}
				mx.Release()
			}
			sp.settle = func() {
				if sp.settled++; sp.settled != 2 {
					return
				}
				if err := mx.WaitHeld(ctx, 1); err != nil {
					t.Error(err)
				}
				switch name {
				case fails:
					sp.err = errors.New("no")
				case panics:
					panic("bomb")
				case "held":
					change(queue.Held)
				case "removed":
					change(queue.Removed)
				case "we stop":
					stop()
				}
			}
			d := promptly(w)
			s := queue.NewScheduler(w.work, d, w, w.q, d.log)
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			told := map[string]queue.Recipient{}
			if name == "we stop" {
				<-ctx.Done()
			}
			for name != "we stop" && len(told) < 3 {
				for _, r := range (<-w.told).Recipients {
					told[r.Address] = r
				}
			}
			stop()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			d.Close()
			mx.Release()

			left := map[string]string{}
			for e, err := range w.store.List(t.Context(), queue.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range e.Recipients {
					left[r.Address] = fmt.Sprint(r.State, " ", r.Tries)
				}
			}
			want := map[string]string{}
			switch name {
			case fails, panics:
				want["b@dest.test"], want["c@dest.test"] = "waiting 1", "waiting 1"
			case "held":
				want["c@dest.test"] = "held 1"
			case "we stop":
				want["c@dest.test"] = "waiting 0"
			}
			if !maps.Equal(left, want) {
				t.Errorf("left are %v, want %v", left, want)
			}
			closed(t, mx)
			whole(t, mx)
			if n := len(mx.Messages()); n != 2 {
				t.Errorf("%d messages were taken, want 2", n)
			}
			if got, twice := strings.Count(w.log.String(), "maybe duplicate"), name == fails || name == panics; got != 1 && twice || got != 0 && !twice {
				t.Errorf("%d may be duplicates", got)
			}
		})
	}
}

// spoilt is a store that loses its bodies, or does not settle once.
type spoilt struct {
	queue.Work
	settle  func()
	settled int
	bodies  bool
	err     error
}

func (s *spoilt) Settle(ctx context.Context, l queue.Lease, rs ...queue.Result) error {
	s.settle()
	if err := s.err; err != nil {
		s.err = nil
		return err
	}
	return s.Work.Settle(ctx, l, rs...)
}

func (s *spoilt) Body(ctx context.Context, id queue.ID) (io.ReadSeekCloser, error) {
	if s.bodies {
		return nil, queue.ErrDamaged
	}
	return s.Work.Body(ctx, id)
}

package deliver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
	"smtprelay/relay/deliver/mxtest"
)

// falls has the verdict fall while a transaction waits for the answer to its final
// dot, lets that come, and returns who was told what.
func falls(t *testing.T, w *world, mx *mxtest.Server, to preflight.Route, sources []preflight.Source, told int) map[string]queue.Recipient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		if mx.WaitHeld(ctx, 1) == nil {
			w.gate.mu.Lock()
			w.gate.sources, w.gate.final = sources, to
			w.gate.mu.Unlock()
			mx.Release()
		}
	}()
	return w.run(told)
}

var (
	held  = preflight.Route{Wait: time.Minute, Why: "PTR-EXISTS of wan4", Awaits: "wan4"}
	other = []preflight.Source{{Name: "other", Bind: "127.0.0.9", EHLO: "other.example.test"}}
)

// What is open when a verdict falls ends in good order. The next message is held, or
// leaves from the source that is left.
func TestVerdictFallsInATransaction(t *testing.T) {
	for name, c := range map[string]struct {
		sources []preflight.Source
		second  string
		from    []string
	}{
		"held":      {nil, "deferred gate ours", []string{"127.0.0.1"}},
		"elsewhere": {other, "sent dot 250 2.0.0", []string{"127.0.0.1", "127.0.0.9"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			w.q.Connections = 1
			mx := w.mx("127.0.0.2", "hold dot")
			w.put(queue.Message{}, hello, "a@dest.test")
			w.put(queue.Message{}, hello, "b@dest.test")
			got := falls(t, w, mx, held, c.sources, 2)
			is(t, got["a@dest.test"], "sent dot 250 2.0.0")
			is(t, got["b@dest.test"], c.second)
			ended(t, mx, c.from)
		})
	}
}

// ended in good order are all connections, and from these addresses the mail came.
func ended(t *testing.T, mx *mxtest.Server, from []string) {
	t.Helper()
	for _, conn := range closed(t, mx) {
		if last := conn.Commands[len(conn.Commands)-1]; last != "QUIT" {
			t.Errorf("from %s: the last word is %q", conn.Remote, last)
		}
	}
	var got []string
	for _, m := range mx.Messages() {
		got = append(got, m.Remote.Addr().String())
	}
	if fmt.Sprint(got) != fmt.Sprint(from) {
		t.Errorf("mail from %v, want %v", got, from)
	}
}

// A message to so many recipients that it takes several transactions is no
// exception: those of the first are served, the rest is held or leaves elsewhere.
func TestVerdictFallsBetweenTransactions(t *testing.T) {
	for name, c := range map[string]struct {
		sources []preflight.Source
		rest    string
		from    []string
	}{
		"held":      {nil, "deferred gate ours", []string{"127.0.0.1"}},
		"elsewhere": {other, "sent dot 250 2.0.0", []string{"127.0.0.1", "127.0.0.9", "127.0.0.9"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, destZone)
			mx := w.mx("127.0.0.2", "offer LIMITS RCPTMAX=2\nhold dot")
			w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test", "d@dest.test", "e@dest.test")
			got := falls(t, w, mx, held, c.sources, 5)
			for i, a := range []string{"a", "b", "c", "d", "e"} {
				want := c.rest
				if i < 2 {
					want = "sent dot 250 2.0.0"
				}
				is(t, got[a+"@dest.test"], want)
			}
			if c.sources == nil && got["e@dest.test"].Last.Awaits != "wan4" {
				t.Errorf("it waits for %q", got["e@dest.test"].Last.Awaits)
			}
			ended(t, mx, c.from)
		})
	}
}

// Whom the remote put off before the verdict fell keeps the remote's word.
func TestVerdictFallsAfterADeferral(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "offer LIMITS RCPTMAX=2\nhold dot\nRCPT <a@dest.test> 450 4.2.2 mailbox full")
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	got := falls(t, w, mx, held, nil, 3)
	is(t, got["a@dest.test"], "deferred rcpt 450 4.2.2")
	is(t, got["b@dest.test"], "sent dot 250 2.0.0")
	is(t, got["c@dest.test"], "deferred gate ours")
}

// Nor is the next exchanger: the first one took its time to say no.
func TestVerdictFallsBetweenExchangers(t *testing.T) {
	w := newWorld(t, destZone, "$ORIGIN two.test.\n@ MX 10 mx1.dest.test.\n@ MX 20 b\nb A 127.0.0.3")
	first, second := w.mx("127.0.0.2", "hold EHLO, once\nRCPT 450 4.2.0 later"), w.mx("127.0.0.3", "")
	w.put(queue.Message{}, hello, "a@two.test")
	got := falls(t, w, first, held, nil, 1)
	is(t, got["a@two.test"], "deferred rcpt 450 4.2.0")
	if n := len(second.Conns()); n != 0 {
		t.Errorf("%d connections to the second", n)
	}
}

// Of very many sources the gate is asked about some. One that comes into question
// only after others were refused is as good as they.
func TestVerdictOfVeryManySources(t *testing.T) {
	w := newWorld(t, destZone, "$ORIGIN two.test.\n@ MX 10 b\nb A 127.0.0.3\nb AAAA ::1")
	w.gate.mu.Lock()
	w.gate.sources = nil
	for n := range maxSources {
		w.gate.sources = append(w.gate.sources, preflight.Source{Name: fmt.Sprint("four", n), Bind: "127.0.0.1", EHLO: "mail.example.test"})
	}
	w.gate.sources = append(w.gate.sources, preflight.Source{Name: "six", Bind: "::1", EHLO: "six.example.test"})
	w.gate.mu.Unlock()
	w.mx("127.0.0.3", "RCPT 550 5.7.1 no PTR record found, once\nRCPT 450 4.2.0 later")
	w.mx("::1", "")
	w.put(queue.Message{}, hello, "a@two.test")
	is(t, w.run(1)["a@two.test"], "sent dot 250 2.0.0")
}

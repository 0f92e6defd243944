package deliver

import (
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// The ways in which receivers say that they want less of us, or think little of us.
var slowly = map[string]string{
	"Gmail":           "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
	"connections":     "421 4.7.0 mx.dest.test Error: too many connections from 127.0.0.1",
	"mail":            "450 4.7.1 Error: too much mail from 127.0.0.1",
	"poor reputation": "450 4.7.1 Deferred for the poor reputation of your address",
}

// old is a recipient that was put off for the same, for so long.
func old(class string, ours time.Duration) []queue.Recipient {
	return []queue.Recipient{{Address: "a@dest.test", Domain: "dest.test", Tries: 9, Ours: ours,
		Last: queue.Attempt{At: time.Now().Add(-time.Hour), Outcome: queue.Deferred, Ours: true, Slow: true, Class: class}}}
}

// A rate or a reputation of ours that lasts is never bounced: it is held for the
// operator when its lifetime is over.
func TestSlowIsHeldNotBounced(t *testing.T) {
	for name, said := range slowly {
		for _, step := range []string{"banner", "RCPT"} {
			w := gmail(t, step+" "+said, false)
			w.putTo(queue.Message{Lifetime: 24 * time.Hour}, hello, old("", 24*time.Hour))
			r := w.run(1)["a@dest.test"]
			if r.State != queue.Held || !r.Last.Ours || !r.Last.Slow {
				t.Errorf("%s at %s: %s, ours %t, slow %t: %s", name, step, r.State, r.Last.Ours, r.Last.Slow, r.Reason)
			}
		}
	}
}

// It is waited out at first. Once it has lasted, mail goes another way, if there is one.
func TestSlowGoesAnotherWayInTheEnd(t *testing.T) {
	for _, c := range []struct {
		class string
		ours  time.Duration
		smart bool
		want  string
	}{
		{"rate", time.Hour, true, "deferred rcpt 421 4.7.28 ours"},
		{"DNSBL-CLEAN", 9 * time.Hour, true, "deferred rcpt 421 4.7.28 ours"}, // another fault, until now
		{"rate", 9 * time.Hour, false, "deferred rcpt 421 4.7.28 ours"},
		{"rate", 9 * time.Hour, true, "sent dot 250 2.0.0"},
	} {
		w := gmail(t, "RCPT "+saysRate, c.smart)
		w.putTo(queue.Message{}, hello, old(c.class, c.ours))
		r := w.run(1)["a@dest.test"]
		is(t, r, c.want)
		if n := len(w.mxs["127.0.0.2"].Conns()) + len(w.mxs["127.0.0.3"].Conns()); n != 1 {
			t.Errorf("%+v: %d connections", c, n)
		}
	}
}

// What is parked behind another's refusal has lasted as long, and goes as well.
func TestSlowOfThoseBehind(t *testing.T) {
	w := gmail(t, "banner "+saysRate, true)
	w.put(queue.Message{}, hello, "b@dest.test")
	w.putTo(queue.Message{}, hello, old("rate", 9*time.Hour))
	got := w.run(2)
	is(t, got["a@dest.test"], "sent dot 250 2.0.0")
	is(t, got["b@dest.test"], "deferred greet 421 4.7.28 ours")
}

// What is too much of one sender domain slows down no other, and what is too much
// of a link in a message, or of one message alone, no other message.
func TestSlowOfOneSender(t *testing.T) {
	for _, c := range []struct{ said, first, same, other string }{
		{"421 4.7.28 unusual rate of mail originating from your DKIM domain [example.test 35]",
			"deferred dot 421 4.7.28 ours", "deferred dot 421 4.7.28 ours", "sent dot 250 2.0.0"},
		{"421 4.7.28 unusual rate of mail containing one of your URL domains",
			"deferred dot 421 4.7.28", "sent dot 250 2.0.0", "sent dot 250 2.0.0"},
		{"550 5.7.28 unusual rate of mail containing one of your URL domains",
			"refused dot 550 5.7.28", "sent dot 250 2.0.0", "sent dot 250 2.0.0"},
	} {
		w := gmail(t, "dot "+c.said+", once", false)
		w.mxs["127.0.0.3"].Close()
		w.put(queue.Message{Author: "example.test"}, hello, "a@dest.test")
		w.put(queue.Message{Author: "example.test"}, hello, "b@dest.test")
		w.put(queue.Message{Author: "other.test"}, hello, "c@dest.test")
		got := w.run(3)
		is(t, got["a@dest.test"], c.first)
		is(t, got["b@dest.test"], c.same)
		is(t, got["c@dest.test"], c.other)
	}
}

// A word that may be about us or about one message is about us until other mail of
// the same sender is taken in between: then that message is refused, and no other
// was ever stopped by it.
func TestDoubtEndsByOtherMail(t *testing.T) {
	const doubt = "dot 550 5.7.1 this message is likely suspicious due to the very low reputation of the sending domain."
	for name, c := range map[string]struct {
		between, want string // who else sends meanwhile
	}{
		"nobody":  {"", "deferred dot 550 5.7.1 ours"},
		"another": {"other.test", "deferred dot 550 5.7.1 ours"},
		"the one": {"example.test", "refused dot 550 5.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := gmail(t, doubt+", once", false)
			w.q.Retry = []time.Duration{time.Hour}
			w.mxs["127.0.0.3"].Close()
			id := w.put(queue.Message{Author: "example.test"}, hello, "a@dest.test")
			told := 1
			if c.between != "" {
				w.put(queue.Message{Author: c.between}, hello, "b@dest.test")
				told = 2
			}
			d := w.deliverer()
			got := w.runOn(d, told)
			is(t, got["a@dest.test"], "deferred dot 550 5.7.1 ours")
			if c.between != "" {
				is(t, got["b@dest.test"], "sent dot 250 2.0.0")
			}
			w.mxs["127.0.0.2"].Set(doubt)
			if n, err := w.store.Update(t.Context(), queue.Filter{ID: id}, queue.Change{State: queue.Waiting}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			r := w.runOn(d, 1)["a@dest.test"]
			is(t, r, c.want)
			if n := len(w.gate.heard); n != map[bool]int{true: 1, false: 2}[r.Last.Outcome == queue.Refused] {
				t.Errorf("the gate heard %d replies", n)
			}
			if r.Last.Outcome == queue.Refused && (r.State != queue.Failed || r.Last.Class != "content") {
				t.Errorf("%s, class %q", r.State, r.Last.Class)
			}
		})
	}
}

// What is remembered of mail that was taken has an end.
func TestTakenIsBounded(t *testing.T) {
	k := newTaken()
	a := queue.Attempt{Outcome: queue.Sent, Source: "wan4", Host: "mx.dest.test"}
	for n := range 2 * maxTaken {
		k.note(a, preflight.Mail{Author: string(rune('a'+n%26)) + time.Duration(n).String()})
	}
	if len(k.at) != maxTaken {
		t.Errorf("%d", len(k.at))
	}
	for who := range k.at {
		k.at[who] = time.Now().Add(-2 * takenLife)
	}
	if k.note(a, preflight.Mail{}); len(k.at) != 1 {
		t.Errorf("%d a day later", len(k.at))
	}
}

// What is said of another sender's domain, or of another name, is no fault of ours.
func TestOthersFaults(t *testing.T) {
	for said, want := range map[string]string{
		"550 5.7.26 The MAIL FROM domain [srs.other.test] has an SPF record with a hard fail policy (-all) but it fails to pass": "refused dot 550 5.7.26",
		"550 5.7.26 The MAIL FROM domain [example.test] has an SPF record with a hard fail policy (-all) but it fails to pass":   "deferred dot 550 5.7.26 ours",
	} {
		w := gmail(t, "dot "+said, false)
		w.put(queue.Message{Author: "example.test"}, hello, "a@dest.test")
		is(t, w.run(1)["a@dest.test"], want)
		if h := w.gate.heard; len(h) != 1 || h[0].EHLO != "mail.example.test" || len(h[0].Envelope) != 2 || h[0].Addr.String() == "" {
			t.Errorf("the gate heard %+v", h)
		}
	}
}

// Mail that a remote put off for what is ours waits for that to be mended, also
// where a smart host then put it off.
func TestOursAwaitsItsMending(t *testing.T) {
	for _, smart := range []bool{false, true} {
		w := gmail(t, "RCPT "+saysPTR, smart)
		if smart {
			w.mxs["127.0.0.9"].Set("RCPT 450 4.2.0 later")
		}
		w.put(queue.Message{}, hello, "a@dest.test")
		r := w.run(1)["a@dest.test"]
		if r.Last.Awaits != "wan4 "+wantNamed || r.Tries != 1 {
			t.Errorf("smart host %t: waits for %q after %d tries", smart, r.Last.Awaits, r.Tries)
		}
	}
	w := gmail(t, "RCPT 450 4.2.2 mailbox full", false)
	w.put(queue.Message{}, hello, "a@dest.test")
	if r := w.run(1)["a@dest.test"]; r.Last.Awaits != "" {
		t.Errorf("waits for %q", r.Last.Awaits)
	}
}

// That we should use TLS is said of no check; twice is as good as a refusal, too.
func TestTLSInsisted(t *testing.T) {
	w := gmail(t, "MAIL 421 4.7.29 Gmail requires all bulk email senders to use TLS/SSL", true)
	rs := old("tls", time.Minute)
	rs[0].Last.Slow = false
	w.putTo(queue.Message{}, hello, rs)
	is(t, w.run(1)["a@dest.test"], "sent dot 250 2.0.0")
}

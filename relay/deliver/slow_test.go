package deliver

import (
	"fmt"
	"testing"

	"smtprelay/queue"
)

const saysRateHard = "550 5.7.28 Gmail has detected an unusual rate of unsolicited mail"

// What is refused at the dot for all is not sent again for the next recipients.
func TestNoBodyAfterRefusal(t *testing.T) {
	for reply, want := range map[string]string{
		saysPTR:      "deferred dot 550 5.7.25 ours",
		saysRateHard: "deferred dot 550 5.7.28 ours",
		saysRate:     "deferred dot 421 4.7.28 ours",
	} {
		w := gmail(t, "offer LIMITS RCPTMAX=1\ndot "+reply, false)
		w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
		for _, r := range w.run(3) {
			is(t, r, want)
		}
		cs := closed(t, w.mxs["127.0.0.2"])
		sent := 0
		for _, c := range cs[0].Commands {
			if c == "DATA" {
				sent++
			}
		}
		if len(cs) != 1 || len(w.mxs["127.0.0.3"].Conns()) != 0 || sent != 1 {
			t.Errorf("%s: sent %d times over %d connections", reply, sent, len(cs))
		}
	}
}

// The refusal of one recipient may be of that one's making: the others have
// their turn.
func TestTurnAfterOnesRefusal(t *testing.T) {
	w := gmail(t, "offer LIMITS RCPTMAX=1\nRCPT <a@dest.test> "+saysPTR, false)
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test")
	got := w.run(2)
	is(t, got["a@dest.test"], "deferred rcpt 550 5.7.25 ours")
	is(t, got["b@dest.test"], "sent dot 250 2.0.0")
}

// "Slower" in the greeting is of the source, whichever address says so.
func TestSlowerInGreeting(t *testing.T) {
	for _, step := range []string{"banner", "EHLO"} {
		w := gmail(t, step+" "+saysRate, false)
		w.dns.Set("$ORIGIN dest.test.\n@ MX 10 aspmx.l.google.com.\naspmx.l.google.com. A 127.0.0.2\naspmx.l.google.com. A 127.0.0.3\n")
		for i := range 20 { // each takes the addresses in an order of its own
			w.put(queue.Message{}, hello, fmt.Sprintf("u%d@dest.test", i))
		}
		w.run(20)
		if n := len(w.mxs["127.0.0.2"].Conns()) + len(w.mxs["127.0.0.3"].Conns()); n != 1 {
			t.Errorf("%s: %d connections", step, n)
		}
	}
}

// One message refused for good at its dot does not stop the others.
func TestSlowerAtTheDotOfOne(t *testing.T) {
	w := gmail(t, "dot "+saysRateHard+", once", false)
	w.put(queue.Message{}, hello, "a@dest.test")
	w.put(queue.Message{}, hello, "b@dest.test")
	got := w.run(2)
	is(t, got["a@dest.test"], "deferred dot 550 5.7.28 ours")
	is(t, got["b@dest.test"], "sent dot 250 2.0.0")
}

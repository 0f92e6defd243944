package deliver

import (
	"fmt"
	"slices"
	"testing"

	"smtprelay/queue"
)

// A connection that ends after each put-off is renewed for those who had no turn,
// not for those who had theirs.
func TestPutOffOneByOne(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "offer LIMITS MAILMAX=1 RCPTMAX=1\nRCPT 450 4.2.0 later")
	w.put(queue.Message{}, hello, "a@dest.test", "b@dest.test", "c@dest.test")
	for _, r := range w.run(3) {
		is(t, r, "deferred rcpt 450 4.2.0")
	}
	if n := len(closed(t, mx)); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// Those whom one exchanger put off go to the next together with those who had no
// turn before the first had enough of us.
func TestRenewedInVain(t *testing.T) {
	for name, script := range map[string]string{
		"MAILMAX": "offer LIMITS MAILMAX=1 RCPTMAX=1\nRCPT 450 4.2.0 later",
		"dropped": "offer LIMITS RCPTMAX=1\nRCPT 450 4.2.0 later\ndrop RSET",
	} {
		w := newWorld(t, destZone, "$ORIGIN two.test.\n@ MX 10 mx1.dest.test.\n@ MX 20 b\nb A 127.0.0.3")
		first, second := w.mx("127.0.0.2", script), w.mx("127.0.0.3", "")
		var to []string
		for i := range 3 * maxRenewed {
			to = append(to, fmt.Sprintf("u%d@two.test", i))
		}
		w.put(queue.Message{}, hello, to...)
		for _, r := range w.run(len(to)) {
			is(t, r, "sent dot 250 2.0.0")
		}
		if n := len(first.Conns()); n != maxRenewed+1 {
			t.Errorf("%s: %d connections", name, n)
		}
		if ms := second.Messages(); len(ms) != 1 || len(ms[0].To) != len(to) {
			t.Errorf("%s: %d messages at the second exchanger", name, len(ms))
		}
	}
}

// As long as each connection settles someone, there is no end of them.
func TestRenewedWithSuccess(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "offer LIMITS MAILMAX=1 RCPTMAX=1")
	var to []string
	for i := range 3 * maxRenewed {
		to = append(to, fmt.Sprintf("u%d@dest.test", i))
	}
	w.put(queue.Message{}, hello, to...)
	for _, r := range w.run(len(to)) {
		is(t, r, "sent dot 250 2.0.0")
	}
	var got []string
	for _, m := range mx.Messages() {
		got = append(got, m.To...)
	}
	slices.Sort(got)
	if slices.Sort(to); !slices.Equal(got, to) {
		t.Errorf("got %v", got)
	}
}

package deliver

import (
	"testing"

	"smtprelay/queue"
)

// The preflight judges the one spelling of a name, so that is the one to be said.
func TestGreetsByTheNameThatWasJudged(t *testing.T) {
	for configured, said := range map[string]string{
		"Mail.Example.TEST.":  "mail.example.test",
		"mäil.example.test":   "xn--mil-qla.example.test",
		"[127.0.0.1]":         "[127.0.0.1]",
		"gateway":             "gateway",
		"mail_1.example.test": "mail_1.example.test",
	} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", "")
		w.gate.sources[0].EHLO = configured
		w.put(queue.Message{}, hello, "a@dest.test")
		is(t, w.run(1)["a@dest.test"], "sent dot 250 2.0.0")
		if got := mx.Messages()[0].EHLO; got != said {
			t.Errorf("%s: EHLO %s, want %s", configured, got, said)
		}
	}
}

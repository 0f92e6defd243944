package deliver

import (
	"testing"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// What goes to the smart host for a fault of ours is not bounced for what the
// smart host then has against us, and waits on us: only what is wrong with the
// mailbox or the message fails it.
func TestAfterOurs(t *testing.T) {
	for script, want := range map[string]string{
		"RCPT 450 4.2.2 over quota":                            "deferred rcpt 450 4.2.2 ours",
		"banner 554 5.7.1 no":                                  "deferred greet 554 5.7.1 ours",
		"MAIL 550 5.1.0 not one of your addresses":             "deferred mail 550 5.1.0 ours",
		"RCPT 554 5.7.1 <a@dest.test>: Relay access denied":    "deferred rcpt 554 5.7.1 ours",
		"RCPT 550 5.1.8 sender rejected":                       "deferred rcpt 550 5.1.8 ours",
		"RCPT 550 relay not permitted":                         "deferred rcpt 550 ours",
		"RCPT 550 5.1.1 User unknown in relay recipient table": "refused rcpt 550 5.1.1",
		"RCPT 550 <relay@sender.test> unknown":                 "refused rcpt 550",
		"dot 451 4.3.0 later":                                  "deferred dot 451 4.3.0 ours",
		"dot 550 5.7.1 spam":                                   "refused dot 550 5.7.1",
		"drop dot":                                             "deferred dot ours",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			w := gmail(t, "RCPT "+saysPTR, true)
			w.mxs["127.0.0.9"].Set(script)
			w.put(queue.Message{}, hello, "a@dest.test")
			r := w.run(1)["a@dest.test"]
			is(t, r, want)
			if r.Last.Ours && r.Last.Class != namesPTR {
				t.Errorf("class %q", r.Last.Class)
			}
		})
	}
}

// Without such a reply before, the smart host's refusal of a message is the sender's
// to know; that it does not take mail from us, or is not there, is ours.
func TestSmartHostRefuses(t *testing.T) {
	for script, want := range map[string]string{
		"RCPT 554 5.7.1 sender not allowed":                        "refused rcpt 554 5.7.1",
		"MAIL 550 5.1.8 unknown sender domain":                     "refused mail 550 5.1.8",
		"RCPT 550 5.1.1 User unknown in relay recipient table":     "refused rcpt 550 5.1.1",
		"dot 554 5.7.1 spam":                                       "refused dot 554 5.7.1",
		"RCPT 450 4.2.0 later":                                     "deferred rcpt 450 4.2.0",
		"RCPT 554 5.7.1 <a@dest.test>: Relay access denied":        "deferred rcpt 554 5.7.1 ours",
		"RCPT 550 5.7.1 Unable to relay.":                          "deferred rcpt 550 5.7.1 ours",
		"banner 554 5.7.1 no service for you":                      "deferred greet 554 5.7.1 ours",
		"banner 421 4.7.0 Error: too many connections from a.test": "deferred greet 421 4.7.0 ours",
		"drop banner": "deferred greet ours",
		"drop MAIL":   "deferred mail ours",
		"drop dot":    "deferred dot",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			w := gmail(t, "", true)
			w.mxs["127.0.0.9"].Set(script)
			w.gate.sources, w.gate.final = nil, preflight.Route{SmartHost: true}
			w.put(queue.Message{}, hello, "a@dest.test")
			is(t, w.run(1)["a@dest.test"], want)
		})
	}
}

// A smart host that is away does not make mail bounce.
func TestSmartHostAway(t *testing.T) {
	w := gmail(t, "", true)
	w.mxs["127.0.0.9"].Close()
	w.gate.sources, w.gate.final = nil, preflight.Route{SmartHost: true}
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred connect ours")
}

// Another exchanger's delay does not make what is ours forgotten.
func TestAfterOursAtAnotherExchanger(t *testing.T) {
	w := gmail(t, "RCPT "+saysPTR4, false)
	w.mxs["127.0.0.3"].Set("RCPT 450 4.2.1 busy")
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred rcpt 450 4.2.1 ours")
	if r.Last.Class != namesPTR {
		t.Errorf("class %q", r.Last.Class)
	}
}

// A delay over IPv4 has nothing to do with what is wrong with IPv6.
func TestAfterFamily(t *testing.T) {
	w := newWorld(t, gmailZone+"aspmx.l.google.com. AAAA ::1\n")
	w.gate.sources = []preflight.Source{
		{Name: "wan6", Bind: "::1", EHLO: "six.example.test"},
		{Name: "wan4", Bind: "127.0.0.1", EHLO: "four.example.test"},
	}
	w.mx("127.0.0.2", "RCPT 450 4.2.2 mailbox full")
	w.mx("127.0.0.3", "RCPT 450 4.2.2 mailbox full")
	w.mx("::1", "RCPT "+saysSix)
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred rcpt 450 4.2.2")
}

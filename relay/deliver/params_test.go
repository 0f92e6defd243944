package deliver

import (
	"fmt"
	"strings"
	"testing"

	"smtprelay/queue"
)

func TestParameters(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	w.putTo(queue.Message{
		Head: []byte("Received: x\r\n"),
		Envelope: queue.Envelope{
			From: "a+b@example.test", Body: "8BITMIME", Return: "HDRS", EnvelopeID: "a b+=",
		},
	}, hello, []queue.Recipient{{
		Address: `"odd one"@dest.test`, Domain: "dest.test", Notify: "FAILURE,DELAY", Original: "rfc822;odd+20one@dest.test",
	}, {Address: "b@dest.test", Domain: "dest.test", Notify: "NEVER", Original: "rfc822;b@dest.test INJECTED=1"}})
	w.run(2)
	want := []string{
		fmt.Sprintf("MAIL FROM:<a+b@example.test> SIZE=%d BODY=8BITMIME RET=HDRS ENVID=a+20b+2B+3D", 13+len(hello)),
		`RCPT TO:<"odd one"@dest.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;odd+20one@dest.test`,
		"RCPT TO:<b@dest.test> NOTIFY=NEVER",
	}
	if got := closed(t, mx)[0].Commands[1:4]; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Whose it is to tell of success is known from the last EHLO.
func TestKnowsDSN(t *testing.T) {
	for script, want := range map[string]bool{
		"": true, "hide DSN": false, "EHLO 502 what?": false, "tls x": true,
		`raw EHLO "250-mx\r\n250-DSN\r\n250 STARTTLS\r\n", once` + "\ntls x\nhide DSN": false,
	} {
		w := newWorld(t, destZone)
		w.mx("127.0.0.2", script)
		w.put(queue.Message{}, hello, "b@dest.test")
		r := w.run(1)["b@dest.test"]
		is(t, r, "sent dot 250 2.0.0")
		if r.Last.DSN != want {
			t.Errorf("%q: DSN %v", script, r.Last.DSN)
		}
	}
}

// What the peer does not offer is not said to it.
func TestNoParameters(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "hide SIZE\nhide 8BITMIME\nhide DSN\nhide SMTPUTF8")
	w.putTo(queue.Message{Envelope: queue.Envelope{Body: "8BITMIME", UTF8: true, Return: "FULL", EnvelopeID: "x"}},
		hello, []queue.Recipient{{Address: "b@dest.test", Domain: "dest.test", Notify: "NEVER"}})
	is(t, w.run(1)["b@dest.test"], "sent dot 250 2.0.0")
	want := "MAIL FROM:<alice@example.test>|RCPT TO:<b@dest.test>"
	if got := strings.Join(closed(t, mx)[0].Commands[1:3], "|"); got != want {
		t.Errorf("got %q", got)
	}
}

func TestNullSender(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	d, err := w.store.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, hello)
	if _, err := d.Commit(t.Context(), &queue.Message{}, []queue.Recipient{{Address: "b@dest.test", Domain: "dest.test"}}); err != nil {
		t.Fatal(err)
	}
	w.run(1)
	if c := closed(t, mx)[0].Commands[1]; !strings.HasPrefix(c, "MAIL FROM:<> ") {
		t.Errorf("got %q", c)
	}
	if m := w.gate.asked[0]; m.Envelope != "" {
		t.Errorf("asked about %+v", m)
	}
}

func TestTooBig(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "offer SIZE 30")
	w.put(queue.Message{}, hello, "b@dest.test")
	is(t, w.run(1)["b@dest.test"], "refused mail 5.3.4")
	if n := len(closed(t, mx)[0].Commands); n != 2 { // EHLO, QUIT
		t.Errorf("%d commands", n)
	}
}

func TestSMTPUTF8(t *testing.T) {
	const ascii = hello
	const raw = "Subject: gr\u00fc\u00dfe\r\n\r\nhello\r\n"
	for _, c := range []struct{ name, offer, from, head, body, to, want, mail, rcpt string }{
		{"offered", "", "alice@example.test", "", raw, "b@dest.test", "sent dot 250 2.0.0", " SMTPUTF8", "b@dest.test"},
		{"not needed", "hide SMTPUTF8", "alice@example.test", "", ascii, "b@dest.test", "sent dot 250 2.0.0", "", "b@dest.test"},
		{"body does not count", "hide SMTPUTF8", "alice@example.test", "", ascii + "gr\u00fc\u00dfe\r\n", "b@dest.test", "sent dot 250 2.0.0", "", "b@dest.test"},
		{"header", "hide SMTPUTF8", "alice@example.test", "", raw, "b@dest.test", "refused mail 5.6.7", "", ""},
		{"our part of the header", "hide SMTPUTF8", "alice@example.test", "X: \u00fc\r\n", ascii, "b@dest.test", "refused mail 5.6.7", "", ""},
		{"sender", "hide SMTPUTF8", "\u00e4@example.test", "", ascii, "b@dest.test", "refused mail 5.6.7", "", ""},
		{"recipient", "hide SMTPUTF8", "alice@example.test", "", ascii, "\u00fc@dest.test", "refused rcpt 5.6.7", "", ""},
		{"only its domain", "hide SMTPUTF8", "alice@example.test", "", ascii, "b@d\u00ebst.test", "sent dot 250 2.0.0", "", "b@xn--dst-jma.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, destZone, "$ORIGIN xn--dst-jma.test.\n@ MX 10 mx1.dest.test.")
			mx := w.mx("127.0.0.2", c.offer)
			domain := "dest.test"
			if strings.Contains(c.to, "d\u00ebst") {
				domain = "xn--dst-jma.test"
			}
			w.putTo(queue.Message{Head: []byte(c.head), Envelope: queue.Envelope{From: c.from, UTF8: true}}, c.body,
				[]queue.Recipient{{Address: c.to, Domain: domain}})
			is(t, w.run(1)[c.to], c.want)
			ms := mx.Messages()
			if strings.HasPrefix(c.want, "refused") {
				if len(ms) > 0 {
					t.Errorf("got %+v", ms)
				}
				return
			}
			if len(ms) != 1 || ms[0].To[0] != c.rcpt || strings.Contains(ms[0].Params, "SMTPUTF8") != (c.mail != "") {
				t.Errorf("got %+v", ms)
			}
			if got := string(ms[0].Data); got != c.head+c.body {
				t.Errorf("got %q", got)
			}
		})
	}
}

// An address that would be two commands fails, and nobody else with it.
func TestUnsafeAddress(t *testing.T) {
	for _, script := range []string{"", "nopipelining"} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", script)
		w.putTo(queue.Message{}, hello, []queue.Recipient{
			{Address: "a@dest.test", Domain: "dest.test"},
			{Address: "b>\r\nRCPT TO:<c@dest.test", Domain: "dest.test"},
		})
		got := w.run(2)
		is(t, got["a@dest.test"], "sent dot 250 2.0.0")
		is(t, got["b>\r\nRCPT TO:<c@dest.test"], "refused rcpt 5.1.3")
		if wire := string(closed(t, mx)[0].Wire); strings.Contains(wire, "c@dest.test") {
			t.Errorf("wire %q", wire)
		}
	}
}

func TestRequireTLSIsNotPretended(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "tls x")
	w.put(queue.Message{Envelope: queue.Envelope{RequireTLS: true}}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "refused mail 5.7.30")
	if n := len(mx.Messages()); n > 0 {
		t.Errorf("%d messages", n)
	}
}

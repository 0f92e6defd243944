package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// The prober goes the way of delivery: MX, addresses, the guard, the source's
// address and name, TLS where offered. It leaves no message.
func TestProber(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
	}{
		{"good", "", "220 mx.test ESMTP|mx.test"},
		{"it sees us", `raw EHLO "250-mx1.dest.test at your service, [192.0.2.25]\r\n250 SIZE 1\r\n"`, "220 mx.test ESMTP|mx1.dest.test at your service, [192.0.2.25]"},
		{"TLS", "tls mx1.dest.test", "220 mx.test ESMTP|mx.test mx1.dest.test"},
		{"broken TLS", "tls broken", "220 mx.test ESMTP|mx.test"},
		{"HELO only", "EHLO 502 5.5.1 what?", "220 mx.test ESMTP|mx.test"},
		{"refused", "banner 554 5.7.1 not you, 192.0.2.25", "554 5.7.1 not you, 192.0.2.25| (554 5.7.1 not you, 192.0.2.25)"},
		{"refused later", "EHLO 550 5.7.1 no\nHELO 550 5.7.1 no", "550 5.7.1 no| (550 5.7.1 no)"},
		{"mute", "hang banner", "0 | (timed out)"},
		{"dropped", "drop banner", "0 | (connection lost)"},
		{"no SMTP", `raw banner "HTTP/1.1 400 no\r\n"`, `0 | (not an SMTP reply: "HTTP/1.1 400 no")`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, destZone)
			mx := w.mx("127.0.0.2", c.script)
			w.o.Port = w.port
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			g := NewProber(w.o, w.dns.Client()).Greet(ctx, w.gate.sources[0], "dest.test")
			if got := shown(g); got != c.want && !strings.HasPrefix(c.name, "no SMTP") || g.Unsure || g.Absent || g.Host != "mx1.dest.test" {
				t.Errorf("got %q, %+v", got, g)
			}
			if c.name == "no SMTP" && g.Code != 0 {
				t.Errorf("taken for SMTP: %+v", g)
			}
			for _, conn := range mx.Conns() {
				if conn.Remote.Addr().String() != "127.0.0.1" || len(conn.EHLO) > 0 && conn.EHLO[0] != "mail.example.test" {
					t.Errorf("from %s as %q", conn.Remote, conn.EHLO)
				}
			}
			if len(mx.Messages()) > 0 {
				t.Error("a message was sent")
			}
		})
	}
}

func shown(g preflight.Greeting) string {
	code := fmt.Sprint(g.Code, " ")
	text, _, _ := strings.Cut(g.Hello, "\n")
	if len(g.Names) > 0 {
		text += " " + strings.Join(g.Names, ",")
	}
	if g.Err != "" {
		text += " (" + g.Err + ")"
	}
	return code + g.Banner + "|" + text
}

// What keeps us from asking says nothing of port 25, and what cannot be asked
// is not there.
func TestProberWithoutAnswer(t *testing.T) {
	w := newWorld(t, destZone, "$ORIGIN six.test.\n@ SOA ns.six.test. h.six.test. 1 1 1 1 1\n@ MX 10 mx1\nmx1 AAAA ::1\n", "$ORIGIN dead.test.\n@ SOA ns.dead.test. h.dead.test. 1 1 1 1 1\n")
	mx := w.mx("127.0.0.2", "")
	if err := w.dns.Behave("dead.test", "servfail"); err != nil {
		t.Fatal(err)
	}
	bound := w.gate.sources[0]
	for _, c := range []struct {
		name, domain   string
		s              preflight.Source
		closed         bool // nobody listens
		public         bool // the guard is up
		absent, unsure bool
	}{
		{"refused", "dest.test", bound, true, false, false, false},
		{"no such domain", "gone.dest.test", bound, false, false, true, false},
		{"DNS is silent", "dead.test", bound, false, false, false, true},
		{"the other family", "six.test", bound, false, false, true, false},
		{"no IPv6 from an address that was not named", "six.test", preflight.Source{Name: "any", EHLO: "mail.example.test"}, false, false, true, false},
		{"an address that is not ours", "dest.test", preflight.Source{Name: "x", Bind: "192.0.2.77", EHLO: "mail.example.test"}, false, false, false, true},
		{"an address that is none", "dest.test", preflight.Source{Name: "x", Bind: "eth0", EHLO: "mail.example.test"}, false, false, false, true},
		{"forbidden", "dest.test", bound, false, true, true, false},
	} {
		o := w.o
		o.Port, o.Private = w.port, !c.public
		if c.closed {
			o.Port = 1
		}
		g := NewProber(o, w.dns.Client()).Greet(t.Context(), c.s, c.domain)
		if g.Code != 0 || g.Err == "" || g.Absent != c.absent || g.Unsure != c.unsure {
			t.Errorf("%s: %+v", c.name, g)
		}
	}
	if n := len(mx.Conns()); n > 0 {
		t.Errorf("%d connections", n)
	}
}

// Every connection to an exchanger is told to the gate with what was said of us.
func TestGateHearsOfConnections(t *testing.T) {
	for _, c := range []struct{ name, script, said string }{
		{"taken", `raw EHLO "250 mx1 Hello [192.0.2.25]\r\n"`, "mx1 Hello [192.0.2.25]"},
		{"refused at once", "banner 554 5.7.1 not you, 192.0.2.25", "! 5.7.1 not you, 192.0.2.25"},
		{"refused at RCPT", "hide PIPELINING\nRCPT 550 5.7.1 not you, 192.0.2.25", "mx.test ! 5.7.1 not you, 192.0.2.25"},
	} {
		w := newWorld(t, destZone)
		w.mx("127.0.0.2", c.script)
		w.put(queue.Message{}, hello, "a@dest.test")
		w.run(1)
		var got []string
		for _, m := range w.gate.met {
			if m.Source != "wan4" || m.Host != "mx1.dest.test" || m.Addr.String() != "127.0.0.2" || m.TimedOut || m.EHLO != "mail.example.test" {
				t.Errorf("%s: %+v", c.name, m)
			}
			if m.Refused {
				got = append(got, "!")
			}
			line, _, _ := strings.Cut(m.Said, "\n")
			got = append(got, strings.TrimPrefix(line, "! "))
		}
		if s := strings.Join(got, " "); s != c.said {
			t.Errorf("%s: %q, want %q", c.name, s, c.said)
		}
	}
}

// A connect that times out is told as such; so it is known when port 25 is closed.
func TestGateHearsOfTimeouts(t *testing.T) {
	w := newWorld(t, "$ORIGIN dest.test.\n@ SOA ns.dest.test. h.dest.test. 1 1 1 1 1\n@ MX 10 mx1\nmx1 A 127.0.0.2\n")
	mx := w.mx("127.0.0.2", "")
	v := &voyage{Deliverer: New(w.o, w.gate, w.dns.Client()), ctx: t.Context()}
	h := hop{host: "mx1.dest.test", addr: mx.Addr(), source: "wan4"}
	v.met(h, nil, at("connect", context.DeadlineExceeded), dialogue{})
	v.met(h, nil, at("greet", context.DeadlineExceeded), dialogue{})
	h.source = smartName
	v.met(h, nil, at("connect", context.DeadlineExceeded), dialogue{})
	if len(w.gate.met) != 1 || !w.gate.met[0].TimedOut {
		t.Errorf("%+v", w.gate.met)
	}
}

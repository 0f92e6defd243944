package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"smtprelay/queue"
)

const sharedZone = "$ORIGIN dest.test.\n@ MX 10 mx1\nmx1 A 127.0.0.2\n" +
	"$ORIGIN one.test.\n@ MX 10 mx1.dest.test.\n$ORIGIN two.test.\n@ MX 10 mx1.dest.test.\n$ORIGIN three.test.\n@ MX 10 mx1.dest.test.\n"

// verbs that a client said over a connection.
func verbs(commands []string) string {
	var all []string
	for _, c := range commands {
		verb, _, _ := strings.Cut(c, " ")
		all = append(all, verb)
	}
	return strings.Join(all, " ")
}

// Mail for several domains of one exchanger goes over one connection, within what the
// exchanger says of it (RFC 9422), and within our own bounds.
func TestSharedConnection(t *testing.T) {
	for script, conns := range map[string]int{
		"":                              1,
		"offer LIMITS RCPTDOMAINMAX=1":  3,
		"offer LIMITS RCPTDOMAINMAX=2":  2,
		"offer LIMITS MAILMAX=2":        2,
		"offer LIMITS MAILMAX=1":        3,
		"offer LIMITS RCPTMAX=1":        1,
		"offer LIMITS MAILMAX=nonsense": 1,
	} {
		t.Run(script, func(t *testing.T) {
			w := newWorld(t, sharedZone)
			w.q.Connections = 1
			mx := w.mx("127.0.0.2", script)
			for _, d := range []string{"one", "two", "three"} {
				w.put(queue.Message{}, hello, "a@"+d+".test")
			}
			for _, r := range w.run(3) {
				is(t, r, "sent dot 250 2.0.0")
			}
			cs := mx.Conns()
			if len(cs) != conns {
				t.Errorf("%d connections, want %d", len(cs), conns)
			}
			for _, c := range cs {
				if c := verbs(c.Commands); !strings.HasSuffix(c, "DATA QUIT") || strings.Contains(c, "RSET") {
					t.Errorf("said %s", c)
				}
			}
		})
	}
}

// A connection has an end, however willing the peer is.
func TestConnectionIsRenewed(t *testing.T) {
	w := newWorld(t, destZone)
	w.q.Connections = 1
	mx := w.mx("127.0.0.2", "offer LIMITS MAILMAX=1000")
	for i := range maxMessages + 1 {
		w.put(queue.Message{}, hello, fmt.Sprintf("u%d@dest.test", i))
	}
	w.run(maxMessages + 1)
	if n := len(mx.Conns()); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// A connection that the peer has closed while it waited for work is not used.
func TestClosedWhileIdle(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	d := w.deliverer()
	defer d.Close()
	w.put(queue.Message{}, hello, "a@dest.test")
	w.runOn(d, 1)
	if err := mx.Close(); err != nil { // with all its connections
		t.Fatal(err)
	}
	again := w.mx("127.0.0.2", "")
	w.put(queue.Message{}, hello, "b@dest.test")
	is(t, w.runOn(d, 1)["b@dest.test"], "sent dot 250 2.0.0")
	if n := len(again.Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// No more connections wait than may; the others end at once, in good order.
func TestFewWait(t *testing.T) {
	w := newWorld(t, "$ORIGIN one.test.\n@ MX 10 mx\nmx A 127.0.0.2\n$ORIGIN two.test.\n@ MX 10 mx\nmx A 127.0.0.3\n")
	w.o.Idle = 1
	a, b := w.mx("127.0.0.2", ""), w.mx("127.0.0.3", "")
	w.put(queue.Message{}, hello, "x@one.test")
	d := w.deliverer()
	defer d.Close()
	w.runOn(d, 1)
	w.put(queue.Message{}, hello, "x@two.test")
	w.runOn(d, 1)
	if first, second := verbs(a.Conns()[0].Commands), verbs(b.Conns()[0].Commands); strings.HasSuffix(first, "QUIT") || !strings.HasSuffix(second, "QUIT") {
		t.Errorf("the first said %s, the second %s", first, second)
	}
}

// A session is used for what is alike only: host, name of ours, what it must prove.
func TestServes(t *testing.T) {
	h := hop{host: "mx1.dest.test", source: "wan4", ehlo: "mail.example.test", login: &login{user: "u", password: "p"}}
	s := &session{hop: h}
	same := h
	same.login = &login{user: "u", password: "p"}
	if !s.serves(same) {
		t.Error("not what it is itself")
	}
	for name, change := range map[string]func(*hop){
		"host": func(h *hop) { h.host = "mx2.dest.test" }, "source": func(h *hop) { h.source = "wan6" },
		"ehlo": func(h *hop) { h.ehlo = "other.example.test" }, "implicit": func(h *hop) { h.implicit = true },
		"login": func(h *hop) { h.login = &login{user: "u", password: "q"} }, "no login": func(h *hop) { h.login = nil },
		"level": func(h *hop) { h.need.Level++ }, "names": func(h *hop) { h.need.Names = []string{"mx1.dest.test"} },
	} {
		other := h
		if change(&other); s.serves(other) {
			t.Errorf("it serves another %s", name)
		}
	}
}

// A third of the destinations accept connections and say nothing: the others are
// served while those are waited for.
func TestServedBesideHanging(t *testing.T) {
	var zone strings.Builder
	const dead, live = 10, 20
	for i := range dead {
		fmt.Fprintf(&zone, "$ORIGIN dead%d.test.\n@ MX 10 mx\nmx A 127.0.1.%d\n", i, i+1)
	}
	for i := range live {
		fmt.Fprintf(&zone, "$ORIGIN live%d.test.\n@ MX 10 mx\nmx A 127.0.0.2\n", i)
	}
	w := newWorld(t, zone.String())
	w.o.Timeouts.Greet = time.Minute
	w.q.Workers, w.q.Grace = 16, time.Millisecond
	mx := w.mx("127.0.0.2", "")
	for i := range dead {
		w.mx(fmt.Sprintf("127.0.1.%d", i+1), "hang banner")
		for range 5 {
			w.put(queue.Message{}, hello, fmt.Sprintf("a@dead%d.test", i))
		}
	}
	for i := range live {
		for range 5 {
			w.put(queue.Message{}, hello, fmt.Sprintf("a@live%d.test", i))
		}
	}
	for to, r := range w.until(func(map[string]queue.Recipient) bool { return len(mx.Messages()) == 5*live }) {
		if !strings.Contains(to, "@live") {
			t.Errorf("%s is %s: %s", to, r.State, r.Reason)
		}
	}
}

// What the lanes of destinations are called, and what limits them.
func TestLane(t *testing.T) {
	w := newWorld(t, sharedZone, "$ORIGIN back.test.\n@ MX 10 mx1.dest.test.\n@ MX 20 mx2.dest.test.\n$ORIGIN dest.test.\nmx2 A 127.0.0.3\n")
	w.o.Port = 25
	w.o.Limits = []Limit{
		{Match: []string{"two.test", "*.other.test"}, Connections: 2},
		{Match: []string{"*.dest.test"}, PerMinute: 60},
		{Match: []string{"*"}, Connections: 9},
	}
	d := w.deliverer()
	for to, want := range map[string]queue.Lane{
		"one.test":     {Name: "mx1.dest.test 1", PerMinute: 60},
		"three.test":   {Name: "mx1.dest.test 1", PerMinute: 60},
		"two.test":     {Name: "mx1.dest.test 0", Connections: 2},
		"back.test":    {Name: "mx1.dest.test mx2.dest.test 1", PerMinute: 60},
		"a.other.test": {Name: "a.other.test 0", Connections: 2},
		"other.test":   {Name: "other.test 2", Connections: 9},
	} {
		if got := d.Lane(context.Background(), to); got != want {
			t.Errorf("%s: %+v, want %+v", to, got, want)
		}
	}
}

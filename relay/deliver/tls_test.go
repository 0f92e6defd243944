package deliver

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Any certificate is better than none, and clear text better than no mail: as
// long as nobody demands more (RFC 7435).
func TestOpportunisticTLS(t *testing.T) {
	for script, want := range map[string]struct {
		tls   string
		conns int
	}{
		"":                  {"", 1},
		"tls mx1.dest.test": {"TLS1.3", 1},
		"tls other.invalid": {"TLS1.3", 1},
		"tls broken":        {"", 2},
		"tls x\nraw EHLO \"250-mx\\r\\n250 STARTTLS\\r\\n\", once\ndrop EHLO, 2 times": {"", 2},
		"tls x\ndrop STARTTLS":                                     {"", 2},
		"tls x\nhang STARTTLS":                                     {"", 2},
		"tls x\nSTARTTLS 421 bye":                                  {"", 0},
		"tls x\nSTARTTLS 454 later":                                {"", 1},
		"tls x\nSTARTTLS 502 what":                                 {"", 1},
		"tls x\nhide STARTTLS":                                     {"", 1},
		"tls x\nraw EHLO \"250-mx\\r\\n250 starttls\\r\\n\", once": {"TLS1.3", 1},
	} {
		t.Run(script, func(t *testing.T) {
			w := newWorld(t, destZone)
			w.o.Timeouts = shortly
			mx := w.mx("127.0.0.2", script)
			w.put(queue.Message{}, hello, "a@dest.test")
			r := w.run(1)["a@dest.test"]
			if want.conns == 0 {
				is(t, r, "deferred starttls 421")
				return
			}
			is(t, r, "sent dot 250 2.0.0")
			ms := mx.Messages()
			if len(ms) != 1 || r.Last.TLS != want.tls || (ms[0].TLS == "") != (want.tls == "") {
				t.Fatalf("tls %q there, %q here, want %q", ms[0].TLS, r.Last.TLS, want.tls)
			}
			cs := closed(t, mx)
			if len(cs) != want.conns {
				t.Errorf("%d connections, want %d", len(cs), want.conns)
			}
			last := cs[len(cs)-1]
			for _, name := range last.EHLO {
				if name != "mail.example.test" {
					t.Errorf("EHLO %s", name)
				}
			}
			if want.tls != "" && len(last.EHLO) != 2 {
				t.Errorf("EHLO %d times", len(last.EHLO))
			}
		})
	}
}

// Octets that came in clear text must not be taken for what was said under TLS.
func TestInjectedBeforeTLS(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", `tls x`+"\n"+`raw STARTTLS "220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"`)
	w.put(queue.Message{}, hello, "a@dest.test")
	r := w.run(1)["a@dest.test"]
	is(t, r, "deferred starttls")
	if r.Last.Why != errInjected.Error() {
		t.Errorf("why %q", r.Last.Why)
	}
	if cs := closed(t, mx); len(cs) != 1 || strings.Contains(string(cs[0].Wire), "MAIL") {
		t.Errorf("got %+v", cs)
	}
}

// A peer that knows no EHLO is talked to as in 1982.
func TestHELO(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "EHLO 502 5.5.1 what?")
	w.put(queue.Message{Envelope: queue.Envelope{Body: "8BITMIME"}}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "sent dot 250 2.0.0")
	want := "EHLO mail.example.test|HELO mail.example.test|MAIL FROM:<alice@example.test>|RCPT TO:<a@dest.test>|DATA|QUIT"
	if got := strings.Join(closed(t, mx)[0].Commands, "|"); got != want {
		t.Errorf("got %s", got)
	}
}

func smartWorld(t *testing.T, script string) *world {
	w := newWorld(t, destZone)
	w.gate.sources = nil
	w.gate.final = preflight.Route{SmartHost: true, Why: "PTR-EXISTS of wan4"}
	w.o.SmartEHLO = "mail.example.test"
	mx := w.mx("127.0.0.9", script)
	w.o.SmartHosts = []preflight.SmartHost{{
		Name: "smart.test:587", Host: "smart.test", Port: mx.Addr().Port(), TLS: "required",
		User: "alice", Password: "hunter2", CA: mx.CA(),
	}}
	if err := w.dns.Add("smart.test. A 127.0.0.9"); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestSmartHost(t *testing.T) {
	const good = "tls smart.test\nauth alice hunter2\n"
	for _, c := range []struct {
		name, script string
		change       func(*preflight.SmartHost)
		want         string
	}{
		{"plain", good, nil, "sent dot 250 2.0.0"},
		{"login", good + "offer AUTH LOGIN", nil, "sent dot 250 2.0.0"},
		{"old AUTH keyword", good + "hide AUTH\noffer AUTH=LOGIN", nil, "sent dot 250 2.0.0"},
		{"implicit", good + "implicit", func(s *preflight.SmartHost) { s.Implicit = true }, "sent dot 250 2.0.0"},
		{"wrong password", good, func(s *preflight.SmartHost) { s.Password = "wrong" }, "deferred auth 535 5.7.8 ours"},
		{"no mechanism", good + "offer AUTH GSSAPI", nil, "deferred auth ours"},
		{"no AUTH", "tls smart.test", nil, "deferred auth ours"},
		{"AUTH put off", good + "AUTH 454 4.7.0 later", nil, "deferred auth 454 4.7.0 ours"},
		{"AUTH echoed", good + "AUTH 500 5.5.2 what is AUTH PLAIN AGFsaWNlAGh1bnRlcjI=", nil, "deferred auth 500 5.5.2 ours"},
		{"AUTH echoed out of turn", good + `raw AUTH "AUTH PLAIN AGFsaWNlAGh1bnRlcjI=\r\n"`, nil, "deferred auth ours"},
		{"no TLS", "auth alice hunter2", nil, "deferred starttls ours"},
		{"another name", "tls other.test\nauth alice hunter2", nil, "deferred starttls ours"},
		{"unknown authority", good, func(s *preflight.SmartHost) { s.CA = nil }, "deferred starttls ours"},
		{"CA file without certificate", good, func(s *preflight.SmartHost) { s.CA = []byte("x") }, "deferred resolve ours"},
		{"broken handshake", "tls broken\nauth alice hunter2", nil, "deferred starttls ours"},
		{"STARTTLS refused", good + "STARTTLS 454 4.7.0 later", nil, "deferred starttls 454 4.7.0 ours"},
		{"opportunistic", good, func(s *preflight.SmartHost) { s.TLS, s.CA = "opportunistic", nil }, "sent dot 250 2.0.0"},
		{"opportunistic, no TLS", "auth alice hunter2", func(s *preflight.SmartHost) { s.TLS = "opportunistic" }, "deferred starttls ours"},
		{"opportunistic, broken", "tls broken\nauth alice hunter2", func(s *preflight.SmartHost) { s.TLS = "opportunistic" }, "deferred starttls ours"},
		{"opportunistic, no login", "tls broken", func(s *preflight.SmartHost) { s.TLS, s.User = "opportunistic", "" }, "sent dot 250 2.0.0"},
		{"none", "auth alice hunter2", func(s *preflight.SmartHost) { s.TLS = "none" }, "sent dot 250 2.0.0"},
		{"none though offered", good, func(s *preflight.SmartHost) { s.TLS = "none" }, "sent dot 250 2.0.0"},
		{"no login", "tls smart.test", func(s *preflight.SmartHost) { s.User = "" }, "sent dot 250 2.0.0"},
		{"524", good + "MAIL 524 5.7.11 encryption needed", nil, "deferred mail 524 5.7.11 ours"},
		{"login wanted", good, func(s *preflight.SmartHost) { s.User = "" }, "deferred mail 530 5.7.0 ours"},
		{"refuses the recipient", good + "RCPT 550 5.1.1 unknown", nil, "refused rcpt 550 5.1.1"},
		{"unknown word", "auth alice hunter2", func(s *preflight.SmartHost) { s.TLS = "" }, "deferred starttls ours"},
		{"no such host", good, func(s *preflight.SmartHost) { s.Host = "gone.smart.test" }, "deferred resolve ours"},
		{"by address", "tls 127.0.0.9\nauth alice hunter2", func(s *preflight.SmartHost) { s.Host = "127.0.0.9" }, "sent dot 250 2.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := smartWorld(t, c.script)
			w.o.Private = false // a smart host may be on loopback all the same
			if c.change != nil {
				c.change(&w.o.SmartHosts[0])
			}
			w.put(queue.Message{}, hello, "a@dest.test")
			r := w.run(1)["a@dest.test"]
			is(t, r, c.want)
			if strings.Contains(c.want, " auth ") && r.Last.TLS != "TLS1.3" {
				t.Errorf("tls %q", r.Last.TLS)
			}
			if r.Last.Outcome == queue.Sent && r.Last.Source != "smarthost" {
				t.Errorf("source %q", r.Last.Source)
			}
			for _, secret := range []string{"hunter2", encode("hunter2"), encode("\x00alice\x00hunter2"), "wrong"} {
				if strings.Contains(w.log.String(), secret) {
					t.Errorf("the log has %q", secret)
				}
				if strings.Contains(r.Last.Reply.Text+r.Last.Why+r.Reason, secret) {
					t.Errorf("the queue has %q", secret)
				}
			}
			if c.want == "deferred starttls ours" || strings.Contains(c.name, "no TLS") {
				for _, x := range w.mxs["127.0.0.9"].Conns() {
					if strings.Contains(string(x.Wire), "AUTH") || strings.Contains(string(x.Wire), "MAIL") {
						t.Errorf("sent without TLS: %q", x.Wire)
					}
				}
			}
		})
	}
}

// LOGIN servers do not agree on their prompts, so the words do not matter.
func TestLoginPrompts(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		br := bufio.NewReader(theirs)
		for _, answer := range []string{"334 \r\n", "334 ?\r\n", "334 again?\r\n"} {
			br.ReadString('\n')
			theirs.Write([]byte(answer))
		}
	}()
	s := &session{hop: hop{login: &login{"u", "p"}}, raw: ours, t: Timeouts{}.withDefaults()}
	s.use(ours)
	if err := s.authLogin(); err != errAuthPrompts {
		t.Errorf("got %v", err)
	}
}

func TestSmartHostFailsOver(t *testing.T) {
	for _, script := range []string{
		"drop banner", "tls broken", "tls other.test", "banner 554 5.3.2 no", "tls smart.test\nauth alice other",
		"tls smart.test\nauth alice hunter2\nMAIL 451 4.3.0 later",
	} {
		w := smartWorld(t, script)
		port := w.port
		w.port = 0
		second := w.mx("127.0.0.10", "tls second.test\nauth alice hunter2")
		if err := w.dns.Add("second.test. A 127.0.0.10"); err != nil {
			t.Fatal(err)
		}
		w.port = port
		sh := w.o.SmartHosts[0]
		sh.Name, sh.Host, sh.Port, sh.CA = "second.test:587", "second.test", second.Addr().Port(), second.CA()
		w.o.SmartHosts = append(w.o.SmartHosts, sh)
		w.put(queue.Message{}, hello, "a@dest.test")
		r := w.run(1)["a@dest.test"]
		is(t, r, "sent dot 250 2.0.0")
		if r.Last.Host != "second.test" || second.Messages()[0].User != "alice" {
			t.Errorf("%s: by %s", script, r.Last.Host)
		}
	}
}

// A listener of ours is no smart host, whatever the file says.
func TestSmartHostIsUs(t *testing.T) {
	w := smartWorld(t, "")
	mx := w.mxs["127.0.0.9"]
	w.o.Listeners = append(w.o.Listeners, mx.Addr())
	w.put(queue.Message{}, hello, "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred connect ours")
	if n := len(mx.Conns()); n > 0 {
		t.Errorf("%d connections", n)
	}
}

func TestTrier(t *testing.T) {
	const good = "tls smart.test\nauth alice hunter2\n"
	for _, c := range []struct {
		name, script string
		change       func(*preflight.SmartHost)
		want         preflight.Trial
	}{
		{"good", good, nil, preflight.Trial{Connected: true, TLS: "TLS1.3", Verified: true, Authed: true}},
		{"wrong password", good, func(s *preflight.SmartHost) { s.Password = "x" },
			preflight.Trial{Connected: true, TLS: "TLS1.3", Verified: true, AuthErr: "535 5.7.8 authentication failed", Refused: true}},
		{"AUTH put off", good + "AUTH 454 4.7.0 later", nil,
			preflight.Trial{Connected: true, TLS: "TLS1.3", Verified: true, AuthErr: "454 4.7.0 later"}},
		{"no TLS", "", nil, preflight.Trial{Connected: true, TLSErr: "TLS is required and not offered"}},
		{"another name", "tls other.test", nil,
			preflight.Trial{Connected: true, TLSErr: "TLS handshake: certificate is not acceptable: it is not for smart.test"}},
		{"opportunistic", "tls other.test\nauth alice hunter2", func(s *preflight.SmartHost) { s.TLS = "opportunistic" },
			preflight.Trial{Connected: true, TLS: "TLS1.3", TLSErr: "certificate is not acceptable: it is not for smart.test", Authed: true}},
		{"opportunistic, no TLS", "", func(s *preflight.SmartHost) { s.TLS = "opportunistic" },
			preflight.Trial{Connected: true, AuthErr: "TLS is required and not offered"}},
		{"554", "banner 554 5.7.1 no", nil, preflight.Trial{Err: "554 5.7.1 no"}},
		{"dropped", "drop banner", nil, preflight.Trial{Err: "connection lost", Temporary: true}},
		{"no such host", "", func(s *preflight.SmartHost) { s.Host = "gone.smart.test" }, preflight.Trial{Err: "NXDOMAIN"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := smartWorld(t, c.script)
			sh := w.o.SmartHosts[0]
			if c.change != nil {
				c.change(&sh)
			}
			got := NewTrier(w.o, w.dns.Client()).Try(t.Context(), sh)
			got.Addr = c.want.Addr
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if n := len(w.mxs["127.0.0.9"].Messages()); n > 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

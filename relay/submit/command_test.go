package submit

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"smtprelay/queue"
)

func TestExtensionsOffered(t *testing.T) {
	cfg, pool := certificate(t)
	us, _ := ParseUsers("users", strings.NewReader("alice "+newVerifier("secret").String()))
	w := trusting()
	w.TLS, w.Users, w.Size = cfg, us, 1000
	h := start(t, w)
	c := h.dial(t)
	clear := c.do("EHLO c", "250")
	under := c.startTLS(pool).do("EHLO c", "250")
	for _, k := range []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN", "SIZE 1000", "LIMITS RCPTMAX=1000"} {
		if !strings.Contains(clear, k+"\r\n") || !strings.Contains(under, k+"\r\n") {
			t.Errorf("%s is not offered: %q, %q", k, clear, under)
		}
	}
	for _, k := range []string{"REQUIRETLS", "BINARYMIME", "DELIVERBY", "MT-PRIORITY", "RRVS"} {
		if strings.Contains(clear+under, k) {
			t.Errorf("%s is offered", k)
		}
	}
	if !strings.Contains(clear, "STARTTLS") || strings.Contains(clear, "AUTH") {
		t.Errorf("in the clear: %q", clear)
	}
	if strings.Contains(under, "STARTTLS") || !strings.Contains(under, "AUTH PLAIN LOGIN") {
		t.Errorf("under TLS: %q", under)
	}
}

func TestStateOfATransaction(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("MAIL FROM:<a@example.com>", "502 5.5.1")
	c.do("EHLO c", "250")
	c.do("RCPT TO:<b@example.net>", "502 5.5.1")
	c.do("DATA", "502 5.5.1")
	c.do("MAIL FROM:<a@example.com>", "250")
	c.do("DATA", "502 5.5.1")
	c.do("RCPT TO:<b@example.net>", "250")
	c.do("MAIL FROM:<evil@example.com>", "503 5.5.1")
	c.do("DATA", "354")
	c.send(head + ".\r\n")
	c.want("250")
	if p := h.box.all()[0]; p.m.Envelope.From != "a@example.com" || len(p.rs) != 1 {
		t.Errorf("%+v", p)
	}
	c.do("DATA", "502")
	c.envelope()
	c.do("EHLO again", "250")
	c.do("RCPT TO:<c@example.net>", "502 5.5.1")
	c.do("MAIL FROM:<a@example.com>", "250")
	c.do("RSET", "250")
	c.do("MAIL FROM:<b@example.com>", "250")
	c.do("RSET", "250")
	c.do("MAIL FROM:<a@example.com> REQUIRETLS", "504")
	c.do("MAIL FROM:<a@example.com> BODY=BINARYMIME", "504")
	c.do("MAIL FROM:<a@example.com> NONSENSE", "500")
	c.do("NOOP   ", "250") // trailing white space: RFC 5321 section 4.1.1
}

func TestPipelining(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	for range 3 {
		c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<bad\r\nRCPT TO:<c@example.net>\r\nDATA\r\n")
		for _, want := range []string{"250", "250", "501", "250", "354"} {
			c.want(want)
		}
		c.send(head + "x\r\n.\r\nNOOP\r\n")
		c.want("250 2.0.0 queued")
		c.want("250 2.0.0 I have")
	}
}

func TestParametersKept(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<jürgen@example.com> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=a+2Bb AUTH=a+0D+0ARCPT", "5")
	c.do("MAIL FROM:<jürgen@example.com> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=a+2Bb", "250")
	c.do("RCPT TO:<Bob@Example.NET> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+2Bx@example.net", "250")
	c.do("RCPT TO:<Bob@example.net>", "250") // the same: once
	c.do("RCPT TO:<ü@bücher.example> NOTIFY=NEVER ORCPT=utf-8;ü@example.net", "250")
	c.do("DATA", "354")
	c.send(head + "grün\r\n.\r\n")
	c.want("250")
	p := h.box.all()[0]
	e := queue.Envelope{From: "jürgen@example.com", Body: "8BITMIME", UTF8: true, Return: "HDRS", EnvelopeID: "a+b"}
	if p.m.Envelope != e {
		t.Errorf("%+v", p.m.Envelope)
	}
	want := []queue.Recipient{
		{Address: "Bob@example.net", Domain: "example.net", Notify: "SUCCESS,DELAY", Original: "rfc822;bob+2Bx@example.net"},
		{Address: "ü@xn--bcher-kva.example", Domain: "xn--bcher-kva.example", Notify: "NEVER", Original: `utf-8;\x{FC}@example.net`},
	}
	if fmt.Sprint(p.rs) != fmt.Sprint(want) {
		t.Errorf("%+v", p.rs)
	}
	if !strings.Contains(string(p.m.Head), "with UTF8SMTP id") {
		t.Errorf("%q", p.m.Head)
	}
	c.do("MAIL FROM:<a@example.com> ENVID="+strings.Repeat("x", 101), "501 5.5.4")
	c.do("MAIL FROM:<ü@example.com>", "553 5.6.7")
	c.do("MAIL FROM:<a@example.com>", "250")
	c.do("RCPT TO:<ü@example.com>", "553 5.6.7")
	c.do("RCPT TO:<a@example.com> ORCPT=rfc822;"+strings.Repeat("x", 501), "501 5.5.4")
}

func TestAddressesAreRefused(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@b@example.com>", "501 5.1.7")
	c.do("MAIL FROM:<a@[192.0.2.1]>", "553 5.1.7")
	c.do("MAIL FROM:<a..b@example.com>", "501 5.1.7")
	c.do("MAIL FROM:<>", "250")
	for to, want := range map[string]string{
		`<@relay.test:u@ext.example>`: "501 5.1.3", `<u@ext@relay.test>`: "501 5.1.3", `<u@[192.0.2.1]>`: "550 5.1.2",
		`<u@[IPv6:2001:db8::1]>`: "550 5.1.2", `<u@exa_mple.com>`: "501 5.1.3", `<u@ext.>`: "501 5.1.3", `<.u@example.com>`: "501 5.1.3",
		`<` + strings.Repeat("l", 65) + `@example.com>`: "501 5.1.3", `<u@-a.example>`: "501 5.1.3", `<"u@ext">`: "501", `<postmaster>`: "501",
		`<"v@evil.com> NOTIFY=NEVER "@example.org>`: "250", `<u%ext@relay.test>`: "250", `u@no-brackets.example`: "250",
	} {
		c.do("RCPT TO:"+to, want)
	}
	c.do("DATA", "354")
	c.send(head + ".\r\n")
	c.want("250")
	for _, r := range h.box.all()[0].rs {
		if a, err := parseAddress(r.Address, false); err != nil || a.String() != r.Address || a.domain != r.Domain {
			t.Errorf("%q: %+v, %v", r.Address, a, err)
		}
	}
}

func TestStrangersDoNotRelay(t *testing.T) {
	cfg, pool := certificate(t)
	us, _ := ParseUsers("users", strings.NewReader("alice "+newVerifier("secret").String()))
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		h := start(t, world{Options: Options{
			Listen:  []Listen{{Network: "tcp", Address: addr}},
			TLS:     cfg,
			Users:   us,
			Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		}})
		host, ip := "relay.test", "127.0.0.1"
		in := func(s string) string { return strings.NewReplacer("R", host, "I", ip, "O", "own.example").Replace(s) }
		type try struct{ from, to string }
		var tries []try
		for _, from := range []string{"<u@ext.example>", "<>", "<u>", "<u@localhost>", "<u@R>", "<u@[I]>", "<u@O>"} {
			tries = append(tries, try{from, "<u@ext.example>"})
		}
		for _, to := range []string{
			"<u%ext.example@R>", "<u%ext.example@[I]>", `<"u@ext.example">`, `<"u%ext.example">`, "<u@ext.example@R>", `<"u@ext.example"@R>`,
			"<u@ext.example@[I]>", "<@R:u@ext.example>", "<@[I]:u@ext.example>", "<ext.example!u>", "<ext.example!u@R>", "<ext.example!u@[I]>",
			"<u@ext.example%O>", "<u@EXT.EXAMPLE.>", "<u@[192.0.2.7]>", "<u@[IPv6:2001:db8::7]>", " u@ext.example",
		} {
			tries = append(tries, try{"<u@O>", to})
		}
		relay := func(c *client, x try) {
			t.Helper()
			c.send("RSET\r\nMAIL FROM:" + in(x.from) + "\r\nRCPT TO:" + in(x.to) + "\r\nRCPT TO:<second@ext.example>\r\nDATA\r\n")
			c.want("250")
			c.want("")
			for range 3 {
				if got := c.want("5"); strings.HasPrefix(got, "550") && !strings.Contains(got, "5.7.1 relaying is not allowed") {
					t.Errorf("%v: %q", x, got)
				}
			}
		}
		c := h.dial(t)
		c.do("EHLO c", "250")
		for i, x := range tries {
			if i%15 == 14 {
				c = h.dial(t)
				c.do("EHLO c", "250")
			}
			relay(c, x)
		}
		c.do("RSET", "250")
		got := c.do("MAIL FROM:<u@own.example>", "250") + c.do("RCPT TO:<u@ext.example>", "550 5.7.1")
		if !strings.Contains(got, "use STARTTLS, then log in with AUTH") {
			t.Errorf("%q", got)
		}
		s := h.dial(t)
		s.do("EHLO c", "250")
		s = s.startTLS(pool)
		relay(s, tries[0])
		s.do("RSET", "250")
		s.do("AUTH PLAIN "+b64("\x00alice\x00wrong"), "535 5.7.8")
		relay(s, tries[0])
		if n := len(h.box.all()); n != 0 {
			t.Errorf("%d relayed", n)
		}
	}
}

// What a client says of itself is neither echoed nor traced when it could
// mean something.
func TestHostileHello(t *testing.T) {
	h := start(t, trusting())
	for _, arg := range []string{"a\rb", "a\x1b[31m", "a\x00b", "a\x7f", "a\tb"} {
		for _, verb := range []string{"EHLO", "HELO", "NOOP", "QQ" + arg[1:2] + "X"} {
			c := h.dial(t)
			c.send(verb + " " + arg + "\r\nNOOP\r\n")
			got := c.want("500 5.5.2 control characters in a command\r\n")
			if rest := c.ended(); rest != "" || strings.ContainsAny(got[:len(got)-2], "\r\x1b\x00") {
				t.Errorf("%q: %q %q", arg, got, rest)
			}
		}
	}
	c := h.dial(t)
	c.do("EHLO b\xfccher", "501")
	c.do("EHLO (x;y)\"", "250") // odd, harmless, and not a name
	c.envelope()
	c.do("DATA", "354")
	c.send(head + ".\r\n")
	c.want("250")
	if got := string(h.box.all()[0].m.Head); !strings.HasPrefix(got, "Received: from unknown ([127.0.0.1])\r\n") {
		t.Errorf("%q", got)
	}
}

func TestCommandLimits(t *testing.T) {
	h := start(t, world{})
	c := h.dial(t)
	c.send("NOOP " + strings.Repeat("x", 5000) + "\r\nNOOP\r\n")
	c.want("500 5.5.2 command line too long")
	if rest := c.ended(); rest != "" {
		t.Errorf("then %q", rest)
	}
	c = h.dial(t)
	c.do("NOOP "+strings.Repeat("x", 4000), "250")
	for range maxCommands - 1 {
		c.do("NOOP", "250")
	}
	c.do("NOOP", "421 4.7.0")
	c.ended()
}

func TestRecipientLimit(t *testing.T) {
	w := trusting()
	w.Recipients = 3
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@example.com>", "250")
	for i := range 3 {
		c.do(fmt.Sprintf("RCPT TO:<u%d@example.net>", i), "250")
	}
	c.do("RCPT TO:<u4@example.net>", "452 4.5.3")
	c.do("DATA", "354")
	c.send(head + ".\r\n")
	c.want("250")
	if n := len(h.box.all()[0].rs); n != 3 {
		t.Errorf("%d recipients", n)
	}
}

func TestSenderPolicy(t *testing.T) {
	w := trusting()
	w.Senders = []string{"example.com", "example.org"}
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("MAIL FROM:<a@other.example>", "550 5.7.1")
	for from, want := range map[string]string{
		"a@example.com": "250", "A <a@EXAMPLE.org>, b@example.com": "250", "a@other.example": "550 5.7.1",
		"a@example.com, b@other.example": "550 5.7.1", "=?utf-8?q?a=40example.com?= <a@other.example>": "550 5.7.1",
		"friends: a@example.com, b@other.example;": "550 5.7.1", "a@example.com\r\nFrom: b@other.example": "554 5.6.0",
		"a@example.com\r\nSender: b@other.example": "550 5.7.1 Sender: this relay does not send for", "a@example.com\r\nSender: b@example.org": "250",
		"a@example.com\r\nResent-Sender: b@example.org\r\nResent-From: b@other.example": "550 5.7.1 Resent-From", "a@example.com\r\nSender: b": "554 5.6.0",
	} {
		c.do("MAIL FROM:<>", "250")
		c.do("RCPT TO:<b@example.net>", "250")
		c.do("DATA", "354")
		c.send("From: " + from + "\r\n\r\n.\r\n")
		c.want(want)
	}
}

func TestBareLFIsMended(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.send("HELO c\n")
	c.want("250")
	c.envelope()
	c.do("DATA", "354")
	c.send("From: a@example.com\nTo: b\n\none\ntwo\r\n.\r\n")
	c.want("250")
	p := h.box.all()[0]
	if p.body != "From: a@example.com\r\nTo: b\r\n\r\none\r\ntwo\r\n" {
		t.Errorf("%q", p.body)
	}
	if !strings.Contains(string(p.m.Head), "by relay.test with SMTP id ") {
		t.Errorf("%q", p.m.Head)
	}
	if !strings.Contains(h.log.String(), `reason="4 times LF without CR"`) {
		t.Error("not counted")
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	w := trusting()
	w.Idle = time.Second
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.send("NO") // a beginning is no command
	if got := c.ended(); !strings.HasPrefix(got, "421 4.4.2") {
		t.Errorf("%q", got)
	}
}

func TestConnectionLivesItsTime(t *testing.T) {
	w := trusting()
	w.Session = time.Second
	h := start(t, w)
	c := h.dial(t)
	c.do("EHLO c", "250")
	got := ""
	for got = "250"; strings.HasPrefix(got, "250"); {
		c.Write([]byte("NOOP\r\n"))
		got, _ = c.reply()
	}
	if !strings.HasPrefix(got, "421 4.4.2 relay.test ends connections after 1s, please connect again") {
		t.Errorf("%q", got)
	}
	idle := h.dial(t)
	if got := idle.ended(); !strings.HasPrefix(got, "421 4.4.2 relay.test ends connections") {
		t.Errorf("%q", got)
	}
}

func TestStrangerSendsOnlySoMuch(t *testing.T) {
	h := start(t, world{adjust: func(s *Server) { s.limits.stranger = 2000 }})
	c := h.dial(t)
	for range 90 {
		c.Write([]byte("NOOP " + strings.Repeat("x", 200) + "\r\n"))
	}
	if n := strings.Count(c.ended(), "250"); n > 40 { // what was read at once is still answered
		t.Errorf("%d commands", n)
	}
}

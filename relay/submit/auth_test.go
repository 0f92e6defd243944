package submit

import (
	"crypto/x509"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// cheap is a verifier that costs little, for tests that try many.
func cheap(password string) string {
	v := argon2id{memory: 8, time: 1, threads: 1, salt: []byte("saltsalt")}
	v.hash = v.derive(password, 16)
	return v.String()
}

// members is a server with the users of text, and a connection under TLS.
func members(t *testing.T, text string) (*house, *x509.CertPool, func() *client) {
	t.Helper()
	cfg, pool := certificate(t)
	us, err := ParseUsers("users", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, world{Options: Options{TLS: cfg, Users: us}})
	return h, pool, func() *client {
		t.Helper()
		c := h.dial(t)
		c.do("EHLO c", "250")
		return c.startTLS(pool)
	}
}

func TestLogIn(t *testing.T) {
	h, _, dial := members(t, "alice "+cheap("old")+" "+cheap("new")+"\nbøb "+cheap("gehe im"))
	for _, x := range [][]string{
		{"AUTH PLAIN " + b64("\x00alice\x00old"), "235"},
		{"AUTH PLAIN " + b64("alice\x00alice\x00new"), "235"},
		{"AUTH PLAIN", "334 \r\n", b64("\x00bøb\x00gehe im"), "235"},
		{"auth login", "334 " + b64("Username:") + "\r\n", b64("alice"), "334 " + b64("Password:"), b64("new"), "235"},
		{"AUTH LOGIN " + b64("alice"), "334 " + b64("Password:"), b64("old"), "235"},
	} {
		c := dial()
		for ; len(x) > 0; x = x[2:] {
			c.do(x[0], x[1])
		}
		c.do("AUTH PLAIN "+b64("\x00alice\x00old"), "503")
		c.envelope()
		c.do("DATA", "354")
		c.send(head + ".\r\n")
		c.want("250")
	}
	p := h.box.all()
	if len(p) != 5 || p[0].m.Submitter != "alice" || p[2].m.Submitter != "bøb" || !strings.Contains(string(p[0].m.Head), "with ESMTPSA id ") {
		t.Errorf("%+v", p)
	}
	if strings.Contains(string(p[0].m.Head), "alice\r") {
		t.Error("the login is in the header")
	}
}

func TestNoLogInInTheClear(t *testing.T) {
	h, pool, _ := members(t, "alice "+cheap("secret"))
	c := h.dial(t)
	c.do("EHLO c", "250")
	c.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "523 5.7.10")
	c.do("AUTH LOGIN", "523 5.7.10")
	c.do("MAIL FROM:<alice@example.com>", "250")
	c.do("RCPT TO:<bob@example.net>", "550 5.7.1")

	s := h.dial(t)
	s = s.startTLS(pool)
	s.do("MAIL FROM:<alice@example.com>", "250")
	s.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "503 5.5.1")
	s.do("RSET", "250")
	s.do("AUTH CRAM-MD5", "504")
	s.do("AUTH PLAIN", "334")
	s.do("*", "501")
	s.do("AUTH LOGIN", "334")
	s.do("!!!", "454")
	s.do("MAIL FROM:<alice@example.com>", "250")
	s.do("RCPT TO:<bob@example.net>", "550 5.7.1")
	s.do("RSET", "250")
	s.do("AUTH LOGIN", "334")
	s.do("STARTTLS", "334") // as an answer it is base64, and no command
	s.do("*", "501")
	s.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "235")
}

func TestWrongLogIn(t *testing.T) {
	h, _, dial := members(t, "alice "+cheap("secret"))
	var same string
	for _, ir := range []string{
		"\x00alice\x00wrong", "\x00nobody\x00secret", "\x00\x00", "root\x00alice\x00secret", "\x00alice\x00secret\x00", "\x00alice", "alice",
		"\x00alice\x00", "\x00Alice\x00secret", "\x00alice\x00secret ", "\x00a\nb user=x remote=192.0.2.9\x00p", "\x00" + strings.Repeat("u", 2000) + "\x00p",
	} {
		c := dial()
		got := c.do("AUTH PLAIN "+b64(ir), "535 5.7.8")
		if same == "" {
			same = got
		}
		if got != same {
			t.Errorf("%q: %q, others %q", ir, got, same)
		}
		c.do("AUTH LOGIN "+b64("alice\x00"), "334")
		c.do(b64("secret"), "535 5.7.8")
		c.do("AUTH LOGIN", "334")
		c.do(b64("alice"), "334")
		c.do(b64("wrong"), "535 5.7.8") // the third
		c.ended()
	}
	line := regexp.MustCompile(`^time=\S+ level=WARN msg="login refused" remote=127\.0\.0\.1 user=("(?:[^"\\]|\\.)*"|[^" ]*) reason="[a-zA-Z ]+"$`)
	n := 0
	for l := range strings.Lines(h.log.String()) {
		if strings.Contains(l, "login refused") {
			n++
			if !line.MatchString(strings.TrimSuffix(l, "\n")) {
				t.Errorf("line %q", l)
			}
		}
		if strings.Contains(l, "secret") {
			t.Errorf("a password in the log: %q", l)
		}
	}
	if n != 12*3 {
		t.Errorf("%d lines", n)
	}
}

// Failures outlive STARTTLS and RSET; the pause grows.
func TestFailuresArePunished(t *testing.T) {
	a := newAuthority(nil, nil)
	var pauses []time.Duration
	for n := 1; n < 8; n++ {
		pauses = append(pauses, a.pause(n))
	}
	if pauses[0] < time.Second || !slices.IsSorted(pauses) || pauses[6] > time.Minute {
		t.Errorf("%v", pauses)
	}
	h, _, dial := members(t, "alice "+cheap("secret"))
	h.auth.pause = func(n int) time.Duration { return time.Duration(n) * 100 * time.Millisecond }
	c := dial()
	began := time.Now()
	c.do("AUTH PLAIN "+b64("\x00alice\x00a"), "535")
	c.do("RSET", "250")
	c.do("AUTH PLAIN "+b64("\x00alice\x00b"), "535")
	c.do("EHLO c", "250")
	c.do("AUTH PLAIN "+b64("\x00alice\x00c"), "535")
	c.ended()
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// Who guesses on and on, by however many connections, is heard no more for a
// while; who has just logged in from there is not concerned, nor is anybody else.
func TestGuessesFromOneAddress(t *testing.T) {
	h, _, dial := members(t, "alice "+cheap("a")+"\nbob "+cheap("b"))
	dial().do("AUTH PLAIN "+b64("\x00alice\x00a"), "235")
	for left := maxTries; left > 0; {
		c := dial()
		for range min(left, maxFailures) {
			c.do("AUTH PLAIN "+b64("\x00bob\x00wrong"), "535")
			left--
		}
	}
	c := dial()
	c.do("AUTH PLAIN "+b64("\x00bob\x00b"), "454 4.7.0 too many failed logins from your address")
	c.ended()
	dial().do("AUTH PLAIN "+b64("\x00alice\x00a"), "235")
	h.auth.mu.Lock()
	h.auth.since = h.auth.since.Add(-forgiven - time.Second)
	h.auth.mu.Unlock()
	dial().do("AUTH PLAIN "+b64("\x00bob\x00b"), "235")
	for range maxTries + 1 {
		if u, err := h.auth.check(t.Context(), "192.0.2.1", "bob", "b"); u == nil || err != nil {
			t.Fatal(u, err)
		}
	}
	if !strings.Contains(h.log.String(), `user=bob reason="too many failures from this address"`) {
		t.Error("not logged")
	}
}

// tally is a verifier that counts how often it is asked.
type tally struct {
	password string
	asked    *int
}

func (v tally) fits(password string) bool {
	*v.asked++
	return password == v.password
}

// An unknown user costs what a known one does, whoever has how many verifiers,
// and a success is remembered.
func TestCheckCostsTheSame(t *testing.T) {
	asked := 0
	of := func(passwords ...string) *user {
		u := &user{name: passwords[0]}
		for _, p := range passwords {
			u.verifiers = append(u.verifiers, tally{p, &asked})
		}
		return u
	}
	us := &Users{byName: map[string]*user{"alice": of("old", "secret"), "bob": of("decoy")}, most: 2, decoy: tally{"decoy", &asked}}
	a := newAuthority(us, nil)
	for _, x := range []struct {
		name, password string
		good           bool
		cost           int
	}{
		{"alice", "wrong", false, 2}, {"bob", "wrong", false, 2}, {"nobody", "wrong", false, 2}, {"nobody", "decoy", false, 2}, {"alice", "decoy", false, 2},
		{"alice", "old", true, 2}, {"alice", "secret", true, 2}, {"alice", "secret", true, 0}, {"alice", "secret2", false, 2}, {"alic", "e\x00secret", false, 2},
		{"bob", "decoy", true, 2}, {"bob", "decoy", true, 0},
	} {
		asked = 0
		u, err := a.check(t.Context(), "", x.name, x.password)
		if (u != nil) != x.good || err != nil || asked != x.cost {
			t.Errorf("%s %s: %v, %v, cost %d; want %v, %d", x.name, x.password, u, err, asked, x.good, x.cost)
		}
	}
	us, err := ParseUsers("users", strings.NewReader("a "+cheap("x")+"\nb "+cheap("x")+" "+cheap("y")+"\nc "+cheap("x")+"\n"))
	if err != nil || us.most != 2 || us.decoy == nil {
		t.Errorf("%+v, %v", us, err)
	}
}

func TestUserLimits(t *testing.T) {
	h, _, dial := members(t, "alice "+cheap("a")+" messages=3/h recipients=4/h from=example.com,bücher.example\nbob "+cheap("b"))
	c := dial()
	c.do("AUTH PLAIN "+b64("\x00alice\x00a"), "235")
	c.do("MAIL FROM:<x@other.example>", "550 5.7.1")
	c.do("MAIL FROM:<x@XN--BCHER-KVA.example>", "250")
	c.do("RSET", "250") // gives back what it took
	send := func(from, want string) {
		t.Helper()
		c.envelope()
		c.do("DATA", "354")
		c.send("From: " + from + "\r\n\r\n.\r\n")
		c.want(want)
	}
	send("x@other.example", "550 5.7.1")
	send("x@example.com", "250")
	c.do("MAIL FROM:<alice@example.com>", "250")
	for range 3 {
		c.do("RCPT TO:<u@example.net>", "250") // the same one: counts once
	}
	c.do("RCPT TO:<v@example.net>", "250")
	c.do("RCPT TO:<w@example.net>", "250")
	c.do("RCPT TO:<x@example.net>", "450 4.7.1")
	c.do("RSET", "250")
	send("x@example.com", "250")
	send("x@example.com", "250")
	got := c.do("MAIL FROM:<alice@example.com>", "450 4.7.1")
	if !strings.Contains(got, "alice has reached the limit of 3/h messages") {
		t.Errorf("%q", got)
	}
	d := dial()
	d.do("AUTH PLAIN "+b64("\x00bob\x00b"), "235")
	d.do("MAIL FROM:<x@other.example>", "250")
	if n := len(h.box.all()); n != 3 {
		t.Errorf("%d messages", n)
	}
}

func TestQuota(t *testing.T) {
	q, err := parseQuota("10/m")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1000, 0)
	take := func(n int, want bool) int64 {
		t.Helper()
		slot, ok := q.take(n, at)
		if ok != want {
			t.Errorf("%d at %v: %v", n, at, ok)
		}
		return slot
	}
	take(6, true)
	at = at.Add(30 * time.Second)
	slot := take(4, true)
	take(1, false)
	at = at.Add(29 * time.Second)
	take(1, false)
	at = at.Add(time.Second) // the six are a minute old
	take(6, true)
	take(1, false)
	q.give(4, slot)
	take(4, true)
	at = at.Add(-time.Hour) // a clock that jumps back gives nothing away
	take(1, false)
	at = at.Add(1000 * time.Hour)
	take(10, true)
	q.give(4, slot) // long over
	take(1, false)
	for _, bad := range []string{"", "10", "10/", "0/h", "-1/h", "10/y", "x/h", "1.5/h", "10/h/h"} {
		if _, err := parseQuota(bad); err == nil {
			t.Errorf("%q", bad)
		}
	}
}

package mxtest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"smtprelay/relay/deliver/mxtest"
)

// talk sends lines and returns the replies' first lines.
func talk(t *testing.T, mx *mxtest.Server, lines ...string) []string {
	t.Helper()
	c, err := net.Dial("tcp", mx.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	br := bufio.NewReader(c)
	var got []string
	read := func() bool {
		for first := true; ; first = false {
			l, err := br.ReadString('\n')
			if err != nil {
				got = append(got, "closed")
				return false
			}
			if first {
				got = append(got, strings.TrimSpace(l)[:3])
			}
			if l[3] == ' ' {
				return true
			}
		}
	}
	if !read() {
		return got
	}
	for _, l := range lines {
		fmt.Fprintf(c, "%s\r\n", l)
		if !read() {
			break
		}
	}
	return got
}

func TestScript(t *testing.T) {
	mail := []string{"EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA", "..x\r\n.", "QUIT"}
	for script, want := range map[string]string{
		"":                                 "220 250 250 250 354 250 221",
		"# nothing\n\n":                    "220 250 250 250 354 250 221",
		"banner 554 no":                    "554 250 250 250 354 250 221",
		"MAIL 451 4.7.1 greylisted, once":  "220 250 451 503 503 500 500",
		"RCPT <c@d.test> 550 no":           "220 250 250 550 554 500 500",
		"RCPT <C@D.test> 550 no, after 1":  "220 250 250 250 354 250 221",
		"RCPT <x@d.test> 550 no, always":   "220 250 250 250 354 250 221",
		"drop DATA":                        "220 250 250 250 closed",
		"drop banner":                      "closed",
		"dot 452 4.3.1 full, 2 times":      "220 250 250 250 354 452 221",
		`raw DATA "354 x\r\n"`:             "220 250 250 250 354 250 221",
		"auth user password":               "220 250 530 503 503 500 500",
		"nopipelining\nhide SIZE\noffer X": "220 250 250 250 354 250 221",
		"EHLO 421 bye":                     "220 421 closed",
		"drop dot":                         "220 250 250 250 354 closed",
	} {
		mx, err := mxtest.Start("127.0.0.1:0", script)
		if err != nil {
			t.Fatalf("%q: %v", script, err)
		}
		got := talk(t, mx, mail...)
		if i := len(strings.Fields(want)); len(got) > i {
			got = got[:i]
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: got %s, want %s", script, s, want)
		}
		if ms := mx.Messages(); strings.Contains(want, "354 250") {
			if len(ms) != 1 || string(ms[0].Data) != ".x\r\n" || ms[0].EHLO != "x" {
				t.Errorf("%q: got %+v", script, ms)
			}
		} else if len(ms) != 0 {
			t.Errorf("%q: got %+v", script, ms)
		}
		mx.Close()
	}
}

// AUTH is a step like the others.
func TestScriptAuth(t *testing.T) {
	for script, want := range map[string]string{
		"": "220 250 235", "AUTH 454 4.7.0 later": "220 250 454", "drop AUTH": "220 250 closed",
		`raw AUTH "535 5.7.8 no\r\n"`: "220 250 535", "AUTH 421 bye, once": "220 250 421",
	} {
		mx, err := mxtest.Start("127.0.0.1:0", "auth u p\n"+script)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(talk(t, mx, "EHLO x", "AUTH PLAIN AHUAcA=="), " "); got != want {
			t.Errorf("%q: got %s, want %s", script, got, want)
		}
		mx.Close()
	}
}

func TestScriptErrors(t *testing.T) {
	for _, script := range []string{"MIAL 550 no", "RCPT no", "tls", "auth user", "raw DATA x", "RCPT <a 550 no", "drop", "nonsense"} {
		if mx, err := mxtest.Start("127.0.0.1:0", "\n"+script); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", script, err)
			if mx != nil {
				mx.Close()
			}
		}
	}
}

func TestWaitAndSet(t *testing.T) {
	mx, err := mxtest.Start("127.0.0.1:0", "MAIL 451 later")
	if err != nil {
		t.Fatal(err)
	}
	defer mx.Close()
	if err := mx.Set("what"); err == nil {
		t.Error("a wrong script was set")
	}
	if err := mx.Set(""); err != nil {
		t.Fatal(err)
	}
	talk(t, mx, "HELO x", "MAIL FROM:<>", "RCPT TO:<c@d.test>", "DATA", ".")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := mx.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := mx.WaitClosed(ctx, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := mx.Wait(ctx, 2); err == nil {
		t.Error("waited for a message that never came")
	}
	if w := string(mx.Conns()[0].Wire); !strings.HasPrefix(w, "HELO x\r\nMAIL FROM:<>\r\n") {
		t.Errorf("wire %q", w)
	}
}

// Only CRLF ends a line of the message, and only ".": the server must not hide
// what a lenient one would fall for.
func TestStrictEnd(t *testing.T) {
	mx, err := mxtest.Start("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer mx.Close()
	talk(t, mx, "EHLO x", "MAIL FROM:<>", "RCPT TO:<c@d.test>", "DATA", "a\n.\nb\n.\r\nc\r.\r\n.")
	if ms := mx.Messages(); len(ms) != 1 || string(ms[0].Data) != "a\n.\nb\n.\r\nc\r.\r\n" {
		t.Errorf("got %+v", ms)
	}
}

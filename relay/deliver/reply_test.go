package deliver

import (
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"testing"

	"smtprelay/queue"
)

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		in, want string // "250 a|b"; "protocol"; "cut off"
	}{
		{"250 ok\r\n", "250 ok"}, {"250\r\n", "250 "}, {"250 \r\n", "250 "}, {"250 ok\n", "250 ok"},
		{"250-a\r\n250 b\r\n", "250 a|b"}, {"250-a\r\n250\r\n", "250 a|"}, {"571 5.7.1 no\r\n", "571 5.7.1 no"},
		{"250-a\r\n251 b\r\n", "protocol"}, {"25 ok\r\n", "protocol"}, {"250ok\r\n", "protocol"}, {"\r\n", "protocol"},
		{"000 x\r\n", "protocol"}, {"199 x\r\n", "protocol"}, {"600 x\r\n", "protocol"}, {"999 x\r\n", "protocol"},
		{"+OK\r\n", "protocol"}, {"2\x00\x00 x\r\n", "protocol"}, {"-50 x\r\n", "protocol"}, {"250\tx\r\n", "protocol"},
		{"", "cut off"}, {"250 ok", "cut off"}, {"250-a\r\n", "cut off"}, {"250", "cut off"},
		{"250 " + strings.Repeat("x", 994) + "\r\n", "250 " + strings.Repeat("x", 994)},
		{"250 " + strings.Repeat("x", 995) + "\r\n", "protocol"},
		{strings.Repeat("250-x\r\n", 99) + "250 x\r\n", "250 " + strings.Repeat("x|", 99) + "x"},
		{strings.Repeat("250-x\r\n", 100) + "250 x\r\n", "protocol"},
		{strings.Repeat("250-"+strings.Repeat("x", 900)+"\r\n", 80) + "250 x\r\n", "protocol"},
	} {
		r, err := newReplies(strings.NewReader(c.in)).next()
		got := fmt.Sprint(r.code, " ", strings.ReplaceAll(r.text, "\n", "|"))
		switch _, protocol := errors.AsType[textproto.ProtocolError](err); {
		case protocol:
			got = "protocol"
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			got = "cut off"
		}
		if got != c.want {
			t.Errorf("%.60q: got %.60q %v, want %.60q", c.in, got, err, c.want)
		}
	}
}

func FuzzReplies(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "250-a\r\n550 b\r\n", "\x00", "999 x\r\n", "421 4.3.2 bye\r\n250 x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		src := strings.NewReader(in)
		r, err := newReplies(src).next()
		if read := len(in) - src.Len(); read > maxReply+2*maxReplyLine {
			t.Fatalf("%d octets read", read)
		}
		if err != nil {
			if strings.ContainsFunc(why(err), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("why %q", why(err))
			}
			return
		}
		if r.code < 200 || r.code > 599 || strings.Count(r.text, "\n") >= maxReplyLines {
			t.Fatalf("%+v", r)
		}
		safe(t, apart(r))
	})
}

// safe fails the test unless q may stand in a record, a notice and a page.
func safe(t *testing.T, q queue.Reply) {
	t.Helper()
	if len(q.Text) > keepReply {
		t.Fatalf("%d octets", len(q.Text))
	}
	for line := range strings.SplitSeq(q.Text, "\n") {
		if len(line) > keepLine || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q", line)
		}
	}
}

func TestApart(t *testing.T) {
	for _, c := range []struct {
		in   reply
		want queue.Reply
	}{
		{reply{550, "5.1.1 no such user"}, queue.Reply{Code: 550, Status: "5.1.1", Text: "no such user"}},
		{reply{550, "5.1.1"}, queue.Reply{Code: 550, Status: "5.1.1"}},
		{reply{550, "5.1.1 a\n5.1.1 b"}, queue.Reply{Code: 550, Status: "5.1.1", Text: "a\nb"}},
		{reply{550, "5.1.1 a\n5.7.1 b"}, queue.Reply{Code: 550, Status: "5.1.1", Text: "a\n5.7.1 b"}},
		{reply{550, "4.1.1 a"}, queue.Reply{Code: 550, Text: "4.1.1 a"}},
		{reply{550, "5.1.1000 a"}, queue.Reply{Code: 550, Text: "5.1.1000 a"}},
		{reply{550, "#5.1.1 a"}, queue.Reply{Code: 550, Text: "#5.1.1 a"}},
		{reply{550, "a\tb\x00\x1b[31m\xc3\xa9\r"}, queue.Reply{Code: 550, Text: "a b??[31m???"}},
		{reply{550, ""}, queue.Reply{Code: 550}},
		{reply{550, `say "no"`}, queue.Reply{Code: 550, Text: `say "no"`}},
	} {
		if got := apart(c.in); got != c.want {
			t.Errorf("%q: got %+v", c.in.text, got)
		}
	}
	safe(t, apart(reply{550, strings.Repeat(strings.Repeat("x", 900)+"\n", 90)}))
}

func TestKeywords(t *testing.T) {
	ext := keywords("mx.test\nSize 100\nstarttls\nAUTH PLAIN\nAUTH=LOGIN\n8bitmime\n\n  ")
	s := &session{ext: ext}
	if !s.has("STARTTLS") || !s.has("8BITMIME") || ext["SIZE"] != "100" || s.has("MX.TEST") {
		t.Errorf("got %v", ext)
	}
	if a := strings.Fields(ext["AUTH"]); len(a) != 2 {
		t.Errorf("AUTH %v", a)
	}
}

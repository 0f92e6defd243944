package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"smtprelay/queue"
)

// stuff puts a body through the dotWriter, in pieces of n octets.
func stuff(body string, n int) (string, error) {
	var b bytes.Buffer
	d := &dotWriter{w: &b}
	for rest := body; rest != ""; {
		p := rest[:min(n, len(rest))]
		rest = rest[len(p):]
		if _, err := d.Write([]byte(p)); err != nil {
			return "", err
		}
	}
	if err := d.finish(); err != nil {
		return "", err
	}
	return b.String() + ".\r\n", nil
}

// unstuff is the receiver's side, as strict as RFC 5321 section 4.5.2; false
// when the message ends before the wire does.
func unstuff(wire string) (string, bool) {
	var b strings.Builder
	for {
		line, rest, ok := strings.Cut(wire, "\r\n")
		if !ok {
			return "", false
		}
		if line == "." {
			return b.String(), rest == ""
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		wire = rest
	}
}

func TestDotStuffing(t *testing.T) {
	edge := strings.Repeat("x", 32<<10)
	for _, body := range []string{
		"", "\r\n", ".", "..", ".\r\n", "..\r\n", ".\r\n.\r\n", "a", "a\r\n", "a\r\n.", "a\r\n.\r\n", "a\r\n..b\r\n.c",
		".a\r\n\r\n.\r\n\r\n", edge[:32<<10-2] + "\r\n.\r\n", edge[:32<<10-1] + "\r\n.\r\n", edge + "\r\n.\r\nb",
		edge[:16<<10-3] + "\r\n.", "caf\xe9 \x00\r\n",
	} {
		for _, n := range []int{1, 2, 3, 7, 1 << 20} {
			wire, err := stuff(body, n)
			if err != nil {
				t.Fatalf("%.20q: %v", body, err)
			}
			want := body
			if body != "" && !strings.HasSuffix(body, "\r\n") {
				want += "\r\n"
			}
			if got, ok := unstuff(wire); !ok || got != want {
				t.Errorf("%.20q in pieces of %d: wire %.40q reads %.40q", body, n, wire, got)
			}
		}
	}
}

func TestBareEndsRefused(t *testing.T) {
	for _, body := range []string{
		"\n", "\r", "a\nb", "a\rb", "a\r", "a\n.\nb", "a\r\n.\nb\r\n", "a\n.\r\nb", "a\r.\rb", "a\r\r\nb", "\r\n\n", "\n\r\n", "a\r\n\r",
	} {
		for _, n := range []int{1, 2, 1 << 20} {
			if wire, err := stuff(body, n); !errors.Is(err, errBareEnd) {
				t.Errorf("%q in pieces of %d: %q %v", body, n, wire, err)
			}
		}
	}
}

func FuzzDotWriter(f *testing.F) {
	for _, s := range []string{"", ".", "..\r\n.", "a\r\n.\r\n", "a\nb", "a\r\r\nb", "\r", ".\r\n\r\n."} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, body string, n int) {
		wire, err := stuff(body, max(1, n))
		bare := strings.ContainsAny(strings.ReplaceAll(body, "\r\n", ""), "\r\n")
		if (err != nil) != bare {
			t.Fatalf("%q: %v", body, err)
		}
		if err != nil {
			return
		}
		if body != "" && !strings.HasSuffix(body, "\r\n") {
			body += "\r\n"
		}
		if got, ok := unstuff(wire); !ok || got != body {
			t.Fatalf("%q reads %q", wire, got)
		}
	})
}

// damaged is a store whose bodies break off with err after n octets.
type damaged struct {
	queue.Work
	n   int64
	err error
}

func (d damaged) Body(ctx context.Context, id queue.ID) (io.ReadSeekCloser, error) {
	rc, err := d.Work.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	return brokenBody{rc, io.MultiReader(io.LimitReader(rc, d.n), iotest.ErrReader(d.err))}, nil
}

type brokenBody struct {
	io.ReadSeekCloser
	r io.Reader
}

func (b brokenBody) Read(p []byte) (int, error) { return b.r.Read(p) }

// A message that cannot be read to its end never ends on the wire either, and
// nothing else is said on that connection.
func TestDamagedBody(t *testing.T) {
	body := hello + strings.Repeat("0123456789abcdef\r\n", 10000)
	for name, change := range map[string]func(w *world){
		"damaged at the start":  func(w *world) { w.work = damaged{w.store, 0, queue.ErrDamaged} },
		"damaged in the middle": func(w *world) { w.work = damaged{w.store, 100000, queue.ErrDamaged} },
		"damaged at the end":    func(w *world) { w.work = damaged{w.store, int64(len(body)), queue.ErrDamaged} },
		"the disk fails":        func(w *world) { w.work = damaged{w.store, 100000, syscall.EIO} },
		"lease lost":            func(w *world) { w.work = unmarked{w.store} },
	} {
		for _, script := range []string{"", "nopipelining", "tls mx1.dest.test"} {
			t.Run(name+" "+script, func(t *testing.T) {
				w := newWorld(t, destZone)
				change(w)
				mx := w.mx("127.0.0.2", script)
				w.put(queue.Message{}, body, "a@dest.test")
				is(t, w.run(1)["a@dest.test"], "deferred data ours")
				wire := string(closed(t, mx)[0].Wire)
				_, sent, _ := strings.Cut(wire, "DATA\r\n")
				if strings.Contains(sent, "\r\n.\r\n") || strings.Contains(sent, "QUIT") || strings.HasPrefix(sent, ".\r\n") {
					t.Errorf("%q", sent[max(0, len(sent)-100):])
				}
				if n := len(mx.Messages()); n > 0 {
					t.Errorf("%d messages were taken", n)
				}
			})
		}
	}
}

// unmarked is a store that takes no mark before the final dot.
type unmarked struct{ queue.Work }

func (unmarked) Sending(context.Context, queue.Lease, queue.ID, ...int) error {
	return queue.ErrLeaseLost
}

// A stored body with a bare CR stays here.
func TestBareCRIsNotSent(t *testing.T) {
	w := newWorld(t, destZone)
	mx := w.mx("127.0.0.2", "")
	w.put(queue.Message{}, hello+"a\r.\r\nb\r\n", "a@dest.test")
	is(t, w.run(1)["a@dest.test"], "deferred data ours")
	if wire := string(closed(t, mx)[0].Wire); strings.Contains(strings.ReplaceAll(wire, "\r\n", ""), "\r") {
		t.Errorf("%q", wire)
	}
}

func TestBodiesArriveAsTheyAre(t *testing.T) {
	for _, script := range []string{"", "nopipelining", "tls x"} {
		w := newWorld(t, destZone)
		mx := w.mx("127.0.0.2", script)
		bodies := []string{hello, ".\r\n", "..\r\n.\r\n", "", "no end", strings.Repeat("x", 70000) + "\r\n.\r\n"}
		for i, b := range bodies {
			w.put(queue.Message{Head: []byte("Received: x\r\n")}, b, string(rune('a'+i))+"@dest.test")
		}
		w.run(len(bodies))
		for _, m := range mx.Messages() {
			want := "Received: x\r\n" + bodies[m.To[0][0]-'a']
			if !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			if string(m.Data) != want {
				t.Errorf("%s: got %.60q", m.To, m.Data)
			}
		}
	}
}

// panicking is a store whose bodies blow up after n octets, as often as times says.
type panicking struct {
	queue.Work
	n     int64
	times *atomic.Int32
}

func (p panicking) Body(ctx context.Context, id queue.ID) (io.ReadSeekCloser, error) {
	rc, err := p.Work.Body(ctx, id)
	if err != nil || p.times.Add(-1) < 0 {
		return rc, err
	}
	return brokenBody{rc, io.MultiReader(io.LimitReader(rc, p.n), bomb{})}, nil
}

type bomb struct{}

func (bomb) Read([]byte) (int, error) { panic("bomb") }

// A panic costs one connection, on which nothing more is said, and one message a
// delay.
func TestPanicInBody(t *testing.T) {
	w := newWorld(t, destZone)
	times := &atomic.Int32{}
	times.Store(1)
	w.work = panicking{w.store, 100000, times}
	mx := w.mx("127.0.0.2", "")
	body := hello + strings.Repeat("0123456789abcdef\r\n", 10000)
	w.put(queue.Message{}, body, "a@dest.test")
	w.put(queue.Message{}, body, "b@dest.test")
	got := w.run(2)
	if r := got["a@dest.test"]; r.State != queue.Waiting || !r.Last.Ours {
		t.Errorf("got %+v", r)
	}
	is(t, got["b@dest.test"], "sent dot 250 2.0.0")
	if ms := mx.Messages(); len(ms) != 1 || ms[0].To[0] != "b@dest.test" || string(ms[0].Data) != body {
		t.Errorf("%d messages", len(ms))
	}
	_, sent, _ := strings.Cut(string(closed(t, mx)[0].Wire), "DATA\r\n")
	if strings.Contains(sent, "QUIT") || strings.Contains(sent, "\r\n.\r\n") {
		t.Errorf("%q", sent[max(0, len(sent)-100):])
	}
}

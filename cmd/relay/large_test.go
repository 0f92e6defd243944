//go:build torture

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	largeWhole = flag.Int("large-whole", 40, "TestLargeMessages: how many of 500 messages of 50 MiB are sent to their end; the others end after 4 MiB")
	backlog    = flag.Int("backlog", 100_000, "TestBacklog: how many messages wait")
)

// TestLargeMessages: 500 clients send messages of 50 MiB at once to a relay that
// may have 256 MiB of memory. All are in the midst of it at the same time, with 4
// MiB each sent. Then most break off, for want of disk here, and the others go
// on to the end, all at once, while what has come is delivered.
func TestLargeMessages(t *testing.T) {
	const clients, early, size = 500, 4 << 20, 50 << 20
	g := newGroup(t, "memory")
	g.memory(t, 256<<20)
	k, book := newKillLab(t, ""), newLedger()
	sink := k.hashing(t)
	under(t, g.join())
	c := k.start(t)
	defer c.kill()

	text := largeBody(size - 1<<10) // and a header
	in := make([]*submission, clients)
	var wg sync.WaitGroup
	for i := range in {
		wg.Go(func() {
			s, err := k.begin(book, fmt.Sprintf("large-%d", i))
			if err == nil {
				_, err = io.Copy(s.w, io.NewSectionReader(text, 0, early))
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			in[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%d have sent %d MiB each: %s", clients, early>>20, g.state(t, c))
	want := text.hash()
	for i, s := range in {
		if i >= *largeWhole {
			s.c.Close()
			continue
		}
		wg.Go(func() {
			_, err := io.Copy(s.w, io.NewSectionReader(text, early, text.size-early))
			if err == nil {
				err = s.end(want)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d have sent it all: %s", *largeWhole, g.state(t, c))
	sink.wait(t, len(book.acked))
	t.Logf("and it was delivered: %s", g.state(t, c))
	for name, a := range book.acked {
		if got := sink.got[name]; got != a.hash {
			t.Errorf("%s arrived as %q, expected %s", name, got, a.hash)
		}
	}
	g.alive(t, c)
}

// TestBacklog: many small messages wait, and 500 clients come, in 256 MiB; and the
// start with a tenth as many in 64.
func TestBacklog(t *testing.T) {
	for _, x := range []struct{ memory, waiting, clients int }{{256 << 20, *backlog, 500}, {64 << 20, *backlog / 10, 0}} {
		t.Run(fmt.Sprintf("%d messages in %d MiB", x.waiting, x.memory>>20), func(t *testing.T) {
			k, book := newKillLab(t, ""), newLedger()
			k.fill(t, x.waiting)
			g := newGroup(t, "memory")
			g.memory(t, x.memory)
			under(t, g.join())
			c := k.start(t)
			defer c.kill()
			t.Logf("started: %s", g.state(t, c))
			if err := k.send(book, "one", "a small message\r\n"); err != nil {
				t.Error(err)
			}
			if x.clients > 0 {
				k.hurry = time.Minute
				t.Logf("%v; %s", k.press(t, c, book, "m", x.clients, 20*time.Second), g.state(t, c))
			}
			last := newLedger()
			if err := k.send(last, "last", "the last\r\n"); err != nil {
				t.Fatal(err)
			}
			k.drain(t, last, 0)
			k.drain(t, book, 0)
			f := k.check(book)
			t.Logf("%v; %s", f, g.state(t, c))
			for _, w := range f.wrong {
				t.Error(w)
			}
			g.alive(t, c)
			c.kill()
			c = k.start(t)
			t.Logf("started anew after a kill: %s", g.state(t, c))
			g.alive(t, c)
			c.kill()
		})
	}
}

func (g cgroup) state(t *testing.T, c *child) string {
	return fmt.Sprintf("RSS %d MiB, at most %d; the group at most %d, %d killed", c.rss(t, "VmRSS")>>20, c.rss(t, "VmHWM")>>20, g.peak(t)>>20, g.killed(t))
}

func (g cgroup) alive(t *testing.T, c *child) {
	t.Helper()
	if n := g.killed(t); n > 0 {
		t.Errorf("the kernel killed %d times for want of memory", n)
	}
	select {
	case <-c.done:
		text, _ := c.text()
		t.Errorf("the relay has ended:\n%s", text[max(0, len(text)-2000):])
	default:
	}
}

// body is a text of some size, that nobody has in memory.
type body struct {
	line string
	size int64
}

// largeBody has whole lines.
func largeBody(size int64) body {
	line := strings.Repeat("0123456789", 7) + "\r\n"
	return body{line, size / int64(len(line)) * int64(len(line))}
}

func (b body) hash() string {
	sum := sha256.New()
	_, _ = io.Copy(sum, io.NewSectionReader(b, 0, b.size)) // neither fails
	return hex.EncodeToString(sum.Sum(nil))
}

func (b body) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < b.size {
		m := copy(p[n:], b.line[off%int64(len(b.line)):])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// hashingSink is an exchanger that keeps the hash of each body, and nothing else.
type hashingSink struct {
	mu      sync.Mutex
	got     map[string]string // message name -> hash
	arrived chan struct{}     // one for each
}

// hashing puts one in the place of the usual one.
func (k *killLab) hashing(t *testing.T) *hashingSink {
	t.Helper()
	k.sink.Close()
	l, err := net.Listen("tcp", k.net+".2:2525")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &hashingSink{got: map[string]string{}, arrived: make(chan struct{}, 1<<20)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *hashingSink) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	fmt.Fprint(c, "220 mx1.dest.test ESMTP\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			if s.take(r) != nil {
				return
			}
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		case "QUIT":
			fmt.Fprint(c, "221 2.0.0 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		}
	}
}

var subjectLine = regexp.MustCompile(`^Subject: (.*)\r\n$`)

// take reads a message. A line without dots in front is all that comes here.
func (s *hashingSink) take(r *bufio.Reader) error {
	name, sum, inBody := "", sha256.New(), false
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case string(line) == ".\r\n":
			s.mu.Lock()
			s.got[name] = hex.EncodeToString(sum.Sum(nil))
			s.mu.Unlock()
			s.arrived <- struct{}{}
			return nil
		case inBody:
			sum.Write(line)
		case string(line) == "\r\n":
			inBody = true
		default:
			if m := subjectLine.FindSubmatch(line); m != nil {
				name = string(m[1])
			}
		}
	}
}

// wait for so many messages.
func (s *hashingSink) wait(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for i := range n {
		select {
		case <-s.arrived:
		case <-ctx.Done():
			t.Fatalf("%d of %d messages have arrived", i, n)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFewFiles: the relay may open no more than 64, or 256, files, and there are
// many more clients than that, each in the midst of a message that is a file.
// Those there is no room for hear so; what is in the queue is delivered all the
// same, and who is in gets a message through. Once the clients have gone anybody
// does, at once.
func TestFewFiles(t *testing.T) {
	for _, most := range []int{64, 256} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			k, book := newKillLab(t, ""), newLedger()
			k.manyDomains(t, 24)
			k.hurry = patience
			under(t, fmt.Sprintf("ulimit -n %d", most))
			if err := k.sink.Set("hold dot"); err != nil {
				t.Fatal(err)
			}
			c := k.start(t)
			defer c.kill()
			large := strings.Repeat("a line of a large message\r\n", 8000) // more than 200 KiB
			for i := range 40 {
				if err := k.send(book, fmt.Sprintf("before-%d", i), large); err != nil {
					t.Fatal(err)
				}
			}
			k.held(t)
			in, out := k.crowd(t, book, 300, large)
			t.Logf("%d clients are in, %d were told to come again; the relay has %d files open", len(in), out, c.files(t))
			if len(in) < 4 || out == 0 {
				t.Error("expected some of both")
			}
			if err := in[0].end(hash(large)); err != nil {
				t.Errorf("a client that is in: %v", err)
			}
			k.sink.Release()
			k.drain(t, book, 0)
			for _, s := range in {
				s.c.Close()
			}
			gone := time.Now()
			for k.send(book, "after", large) != nil {
				if time.Since(gone) > 2*time.Second {
					t.Fatal("no client gets in, although the others have gone")
				}
				time.Sleep(10 * time.Millisecond) // they have gone when the relay has noticed
			}
			t.Logf("a client got a message through %v after the others had gone", time.Since(gone).Round(time.Millisecond))
			f := k.settled(t, c, book)
			if f.acked != 42 || len(f.wrong) > 0 {
				t.Errorf("%v: %q", f, f.wrong)
			}
			text, _ := c.text()
			for line := range strings.Lines(text) {
				if strings.Contains(line, "few files may be open") && !strings.Contains(line, fmt.Sprintf("limit of %d open files", most)) {
					t.Errorf("the log should say what the limit is: %s", line)
				}
				if strings.Contains(line, "too many open files") {
					t.Errorf("a file was wanting: %s", line)
				}
			}
			if !strings.Contains(text, "few files may be open") {
				t.Error("the log does not say that there are few")
			}
		})
	}
}

// manyDomains has mail be sent to so many domains, all with the exchanger.
func (k *killLab) manyDomains(t *testing.T, n int) {
	t.Helper()
	k.to = func(message string) string {
		h := fnv.New32a()
		_, _ = io.WriteString(h, message)
		return fmt.Sprintf("bob@d%d.dest.test", h.Sum32()%uint32(n))
	}
	for i := range n {
		if err := k.dns.Add(fmt.Sprintf("d%d.dest.test. 60 IN MX 10 mx1.dest.test.", i)); err != nil {
			t.Fatal(err)
		}
	}
}

// held waits until a delivery hangs at the exchanger.
func (k *killLab) held(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := k.sink.WaitHeld(ctx, 1); err != nil {
		t.Fatal(err)
	}
}

// crowd is so many clients that each send a message but for its end, at once,
// and how many of them were turned away.
func (k *killLab) crowd(t *testing.T, book *ledger, n int, body string) (in []*submission, out int) {
	t.Helper()
	for i := range n {
		s, err := k.begin(book, fmt.Sprintf("crowd-%d", i))
		var said *textproto.Error
		if errors.As(err, &said) && said.Code == 421 {
			out++
			continue
		}
		if err != nil {
			t.Fatalf("client %d is neither in nor told to come again: %v", i, err)
		}
		t.Cleanup(func() { s.c.Close() })
		if _, err := io.WriteString(s.w, body); err != nil {
			t.Errorf("a client that is in: %v", err)
			continue
		}
		in = append(in, s)
	}
	return in, out
}

// files says how many the relay has open.
func (c *child) files(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		t.Error(err)
	}
	return len(es)
}

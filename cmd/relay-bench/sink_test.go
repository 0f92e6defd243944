package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadReachesSink(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%v", kept), func(t *testing.T) {
			s := startSink(t)
			m, book := newMail(small), newLedger(200, everyone)
			s.taking(taker(m, book, false))
			l := load{to: s.ln.Addr().String(), clients: 7, kept: kept, mail: m, rcpt: workload{}.rcpt, book: book}
			if err := l.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-book.all
			f := ratings(book)
			if err := book.sound(); err != nil || f.Missing != 0 || f.Sent != 200 || f.Through <= 0 || f.P99 < f.P50 {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

// What is not taken ends a run: no figure hides it.
func TestLoadFailsWhenRefused(t *testing.T) {
	s := startSink(t)
	m, book := newMail(small), newLedger(5, everyone)
	s.taking(taker(newMail(large), book, false))
	l := load{to: s.ln.Addr().String(), clients: 1, mail: m, rcpt: workload{}.rcpt, book: book}
	if err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "554") {
		t.Errorf("run: %v, want the 554 of the sink", err)
	}
	if book.sound() == nil {
		t.Error("the ledger is sound, though the sink got what was not sent")
	}
}

func startSink(t *testing.T) *sink {
	t.Helper()
	s, err := newSink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

// The sink answers commands that come together, and a body in the same piece.
func TestSinkPipelines(t *testing.T) {
	s := startSink(t)
	got := make(chan string, 2)
	s.taking(func(data []byte) error { got <- string(data); return nil })
	c, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one := "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nA: b\r\n\r\ntext\r\n.\r\n"
	io.WriteString(c, "EHLO x\r\n"+one+one+"BOGUS\r\nDATA\r\nQUIT\r\n")
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for l := range strings.Lines(string(all)) {
		codes = append(codes, l[:3])
	}
	if want := "220 250 250 250 250 250 250 354 250 250 250 354 250 500 503 221"; strings.Join(codes, " ") != want {
		t.Errorf("replies %v, want %s", codes, want)
	}
	for range 2 {
		if text := <-got; text != "A: b\r\n\r\ntext\r\n" {
			t.Errorf("it took %q", text)
		}
	}
}

func TestSinkConducts(t *testing.T) {
	l := &lab{net: bench}
	for i := range domains {
		if got := l.of(l.exchanger(i, false)); got != i {
			t.Fatalf("the exchanger of domain %d is known as that of %d", i, got)
		}
	}
	bad := 0
	for i := range domains {
		if fate(i) != takes {
			bad++
		}
		if (fate(i) == vanishes) != lost.Contains(l.exchanger(i, true)) {
			t.Errorf("domain %d is to vanish: %v, and is at %s", i, fate(i) == vanishes, l.exchanger(i, true))
		}
	}
	if bad < domains*32/100 || bad > domains*34/100 {
		t.Errorf("%d of %d domains are bad, want a third", bad, domains)
	}

	s := startSink(t)
	s.behave(func(netip.Addr) conduct { return defers })
	c, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nQUIT\r\n")
	if all, _ := io.ReadAll(c); !strings.Contains(string(all), "\r\n451 ") {
		t.Errorf("it answers %q, want a 451 to RCPT", all)
	}

	asked := make(chan bool, 1)
	s.behave(func(netip.Addr) conduct { asked <- true; return silence })
	if c, err = net.Dial("tcp", s.ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	<-asked
	s.behave(nil) // counts for the next connection
	d, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := bufio.NewReader(d).ReadString('\n'); err != nil || !strings.HasPrefix(text, "220") {
		t.Errorf("it greets with %q, %v", text, err)
	}
	go s.close()
	if all, _ := io.ReadAll(c); len(all) > 0 {
		t.Errorf("it said %q, want silence", all)
	}
}

func TestJournalKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := newJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	for i := range 100 {
		g.Go(func() {
			if err := j.keep(fmt.Appendf(nil, "%03d\n", i)); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if n := j.flushes(); n < 1 || n > 100 {
		t.Errorf("%d flushes of 100 messages", n)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if strings.Count(string(text), fmt.Sprintf("%03d\n", i)) != 1 {
			t.Errorf("message %d is not in the journal, once", i)
		}
	}
}

// A run that is called off ends, whatever its clients wait for.
func TestLoadIsCalledOff(t *testing.T) {
	s := startSink(t)
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan struct{})
	t.Cleanup(func() { close(never) }) // before the sink is closed
	s.taking(func([]byte) error { cancel(); <-never; return nil })
	l := load{to: s.ln.Addr().String(), clients: 9, mail: newMail(small), rcpt: workload{}.rcpt, book: newLedger(100, everyone)}
	if err := l.run(ctx); err == nil {
		t.Error("it says that all was taken")
	}
}

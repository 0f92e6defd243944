package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func everyone(int) bool { return true }

// A message comes back with what a relay puts on top, and is known again.
func TestMailIsKnownAgain(t *testing.T) {
	m := newMail(small)
	for _, id := range []int{0, 1, 9999, 123456} {
		sent := m.append(nil, id, sender, "reader@d0.dest.test")
		if len(sent) < small-2*line || len(sent) > small {
			t.Errorf("message %d has %d octets, want about %d", id, len(sent), small)
		}
		got, signed, err := m.read(append([]byte("Received: from x\r\n\tby y\r\n"), sent...))
		if err != nil || got != id || signed {
			t.Errorf("read message %d: %d, signed %v, %v", id, got, signed, err)
		}
		if _, signed, err := m.read(append([]byte("DKIM-Signature: v=1\r\n"), sent...)); err != nil || !signed {
			t.Errorf("read signed message %d: signed %v, %v", id, signed, err)
		}
		sent[len(sent)-3]++
		if _, _, err := m.read(sent); err == nil {
			t.Errorf("message %d was changed, and read does not say so", id)
		}
	}
	if bytes.Equal(m.body(1), m.body(2)) {
		t.Error("two messages have the same body")
	}
	for _, broken := range []string{"", "no end", "A: b\r\n\r\nno number", "A: b\r\n" + idField + "x\r\n\r\n"} {
		if _, _, err := m.read([]byte(broken)); err == nil {
			t.Errorf("read(%q): no error", broken)
		}
	}
}

func TestLedgerTellsLostAndDoubled(t *testing.T) {
	l := newLedger(3, func(id int) bool { return id != 1 })
	l.arrive(0)
	select {
	case <-l.all:
		t.Error("all arrived after the first of two")
	default:
	}
	l.arrive(2)
	<-l.all
	if err := l.sound(); err != nil {
		t.Errorf("sound: %v", err)
	}
	for id, want := range map[int]string{0: "twice", 1: "refused", 3: "only 3"} {
		l := newLedger(3, func(id int) bool { return id != 1 })
		l.arrive(0)
		l.arrive(id)
		if err := l.sound(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("message %d: %v, want %q", id, err, want)
		}
	}
}

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

func TestStatistics(t *testing.T) {
	var ms []time.Duration
	for i := range 200 {
		ms = append(ms, time.Duration(i+1))
	}
	if p50, p99, none := percentile(ms, 50), percentile(ms, 99), percentile[int](nil, 50); p50 != 100 || p99 != 198 || none != 0 {
		t.Errorf("percentiles %v, %v, %v", p50, p99, none)
	}
	if s := spreadOf([]float64{4, 1, 3, 2}); s != (spread{2.5, 1, 4}) {
		t.Errorf("spread of four: %+v", s)
	}
	if s := spreadOf([]float64{3, 1, 2}); s != (spread{2, 1, 3}) {
		t.Errorf("spread of three: %+v", s)
	}
	if s := spreadOf(nil); s != (spread{}) {
		t.Errorf("spread of none: %+v", s)
	}
}

func TestBusyProcessors(t *testing.T) {
	got, err := busy("cpu  100 1 20 9999 50 0 3 6 0 0\ncpu0 1 2 3 4 5 6 7 8\n")
	if want := 1300 * time.Millisecond; err != nil || got != want {
		t.Errorf("busy %v, %v, want %v", got, err, want)
	}
	if _, err := busy("intr 5"); err == nil {
		t.Error("no error of a file that is another")
	}
}

func TestCommandLine(t *testing.T) {
	c, err := parse([]string{"-workloads", "W1,W7", "-scale", "0.01"})
	if err != nil {
		t.Fatal(err)
	}
	ws, err := chosen(c)
	if err != nil || len(ws) != 2 || ws[0].messages != 100 || ws[1].waiting != 1000 || c.whole() {
		t.Errorf("%+v, %v", ws, err)
	}
	for _, args := range [][]string{{"-workloads", "W9"}, {"-only", "exim"}, {"-scale", "2"}, {"-rounds", "0"}, {"nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// The report tells ratios within rounds, and gives no figure of a run that lost mail.
func TestReport(t *testing.T) {
	w1, w6 := workloads[0], workloads[5]
	b := &tournament{choices: choices{rounds: 2}, results: []result{
		{w1, durableName, []figures{{Through: 4000, Accept: 4000}, {Through: 3000, Accept: 3000}}},
		{w1, "Postfix", []figures{{Through: 500, CPU: 3 * time.Millisecond}, {Through: 250, CPU: 3 * time.Millisecond}}},
		{w1, "relay", []figures{{Through: 3000, CPU: 200 * time.Microsecond, Memory: 50 << 20}, {Through: 2000, CPU: 400 * time.Microsecond, Memory: 50 << 20, Syncs: 0.5}}},
		{w6, "relay", []figures{{Through: 1000}, {Missing: 7, Sent: 6667}}},
	}}
	text := b.report("A machine.")
	for _, want := range []string{
		"A machine. Rounds: 2.",
		"| end to end on W1, of Postfix | ≥ 6 | 7.00 (6.00–8.00) | met |",
		"| processor time a message on W1, of Postfix | ≤ 0.1 | 0.10 (0.07–0.13) | met |",
		"| end to end on W1, of the durable ceiling | ≥ 0.6 | 0.71 (0.67–0.75) | met |",
		"| relay | 0 | 2500 (2000–3000) | 7.00 | 0.71 | 0.30 | 50 | 0.00 / 0.00 | 0.25 |",
		"| relay | | not finished in 3m0s: 7 of 6667 missing |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no line %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "W8") {
		t.Errorf("the report speaks of what was not measured:\n%s", text)
	}
}

func TestPageKeepsWhatPeopleWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("by hand\n"+pageBegin+"\nold\n"+pageEnd+"\nalso by hand\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePage(path, "new"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "by hand\n" + pageBegin + "\n\nnew\n" + pageEnd + "\nalso by hand\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte("no place\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if writePage(path, "new") == nil {
		t.Error("no error of a page without a place for the report")
	}
}

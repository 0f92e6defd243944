package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight/dns/dnstest"
	"smtprelay/relay/admin"
	"smtprelay/relay/deliver/mxtest"
)

// ledger is what the submitting side knows: it outlives every kill.
type ledger struct {
	mu    sync.Mutex
	acked map[string]arrival // message name -> what should come
	due   map[string]bool    // acknowledged, and not known to have arrived
	tried map[string]bool

	cut  bool            // the power has failed: nobody hears what the relay says from now on
	late map[string]bool // acknowledged all the same

	early      bool // acked is noted when the last octet is sent, not when the 250 has come
	unanswered int  // how many noted early had no 250
}

func newLedger() *ledger {
	return &ledger{acked: map[string]arrival{}, due: map[string]bool{}, tried: map[string]bool{}, late: map[string]bool{}}
}

func (b *ledger) note(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

func (b *ledger) ack(name, hash, id string) {
	b.acked[name], b.due[name] = arrival{hash, id}, true
}

// killLab is a relay that dies, the world it lives in, and the ledger of the
// receiving side.
type killLab struct {
	dir, net string
	state    string // where the relay keeps its own
	senders  int
	to       func(message string) string // whom a message is for
	hurry    time.Duration               // how long a client waits at most; 0: as long as it takes
	dns      *dnstest.Server
	sink     *mxtest.Server
	got      map[string][]arrival // message name -> what came
	named    map[string]int       // queue ID -> how often the log said that it may come twice
	alarms   []string             // lines of the log that no crash should cause
}

// arrival is one copy: of its text, and the queue ID it has.
type arrival struct{ hash, id string }

// newKillLab makes one whose relay keeps its state in the directory work; "":
// one of the test's.
func newKillLab(t *testing.T, work string) *killLab {
	k := &killLab{
		dir: t.TempDir(), net: fmt.Sprintf("127.%d.250", 20+os.Getpid()%200), senders: *senders,
		got: map[string][]arrival{}, named: map[string]int{}, to: func(string) string { return "bob@dest.test" },
	}
	if work == "" {
		work = k.dir
	}
	k.state = work
	vars := map[string]string{"NET": k.net, "REV": fmt.Sprintf("250.%d.127.in-addr.arpa", 20+os.Getpid()%200), "WORK": work, "SOCK": k.dir}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("testdata/common", name))
		if err != nil {
			t.Fatal(err)
		}
		return os.Expand(string(data), func(key string) string {
			if v, ok := vars[key]; ok {
				return v
			}
			return "$" + key
		})
	}
	d, err := dnstest.StartAt(k.net+".53:5300", read("shop.zone"), read("rev.zone"), read("isp.zone"), read("dest.zone"))
	if err != nil {
		t.Fatal(err)
	}
	k.dns = d
	t.Cleanup(func() { d.Close() })
	if k.sink, err = mxtest.Start(k.net+".2:2525", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.sink.Close() })
	settings := strings.Replace(read("relay.toml"), "[delivery]", "[queue]\nretry = [\"1s\"]\n\n[delivery]", 1)
	if err := os.WriteFile(k.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *killLab) config() string { return filepath.Join(k.dir, "relay.toml") }

func (k *killLab) start(t *testing.T) *child {
	t.Helper()
	c, err := startRelay(k.config(), k.dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// load submits message after message until ctx ends. Every tenth body is large
// enough to be a file of its own.
func (k *killLab) load(ctx context.Context, book *ledger, who string) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("%s-%d", who, i)
		lines := 1 + i%20
		if i%10 == 9 {
			lines = 3000
		}
		if k.send(book, name, strings.Repeat("a line of the message "+name+"\r\n", lines)) != nil {
			time.Sleep(time.Millisecond) // the relay is dead: no need to ask at full speed
		}
	}
}

// send submits one message. What counts as acknowledged is the 250 after the
// final dot, whatever becomes of the connection then.
func (k *killLab) send(book *ledger, name, body string) error {
	s, err := k.begin(book, name)
	if err != nil {
		return err
	}
	defer s.c.Close()
	if _, err := io.WriteString(s.w, body); err != nil {
		return err
	}
	return s.end(hash(body))
}

// submission is a message on its way to the relay.
type submission struct {
	book *ledger
	name string
	c    *smtp.Client
	w    io.WriteCloser // its body
}

// begin submits one up to its header.
func (k *killLab) begin(book *ledger, name string) (*submission, error) {
	conn, err := net.Dial("tcp", k.net+".25:2587")
	if err != nil {
		return nil, err
	}
	if k.hurry > 0 {
		_ = conn.SetDeadline(time.Now().Add(k.hurry))
	}
	c, err := smtp.NewClient(conn, "relay")
	if err != nil {
		return nil, err
	}
	s := &submission{book, name, c, nil}
	if err := s.open(k.to(name)); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *submission) open(to string) error {
	if err := errors.Join(s.c.Mail("alice@shop.test"), s.c.Rcpt(to)); err != nil {
		return err
	}
	if err := s.c.Text.PrintfLine("DATA"); err != nil {
		return err
	}
	if _, _, err := s.c.Text.ReadResponse(354); err != nil {
		return err
	}
	s.book.note(func() { s.book.tried[s.name] = true })
	s.w = s.c.Text.DotWriter()
	_, err := io.WriteString(s.w, "From: alice@shop.test\r\nTo: "+to+"\r\nSubject: "+s.name+"\r\n\r\n")
	return err
}

// end sends the final dot and books the reply; hash is the body's.
func (s *submission) end(hash string) error {
	if err := s.w.Close(); err != nil {
		return err
	}
	book := s.book
	if book.early {
		book.note(func() { book.ack(s.name, hash, "") })
	}
	_, reply, err := s.c.Text.ReadResponse(250)
	book.note(func() {
		switch {
		case err == nil && book.cut:
			book.late[s.name] = true
		case err == nil:
			book.ack(s.name, hash, reply[strings.LastIndexByte(reply, ' ')+1:])
		case book.early:
			book.unanswered++
		}
	})
	if err != nil {
		return err
	}
	return s.c.Quit()
}

func hash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

var (
	subject = regexp.MustCompile(`(?m)^Subject: (.*)\r$`)
	queueID = regexp.MustCompile(` id ([0-9A-Z]{12})\b`) // in our Received
	alarm   = regexp.MustCompile(`(?m)^.*"msg":"(?:message quarantined|queue file damaged)".*$`)
	doubted = regexp.MustCompile(`"msg":"maybe duplicate","id":"([0-9A-Z]+)"`)
)

// log is where the lines of all relays that lived are kept.
func (k *killLab) log() string { return filepath.Join(k.dir, "relay.log") }

// story is what the log has about a message.
func (k *killLab) story(id string) string {
	text, _ := os.ReadFile(k.log())
	var lines []string
	for line := range strings.Lines(string(text)) {
		if id != "" && strings.Contains(line, id) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// collect books what came since the last time.
func (k *killLab) collect() {
	first := func(re *regexp.Regexp, s string) string {
		if m := re.FindStringSubmatch(s); m != nil {
			return m[1]
		}
		return ""
	}
	for _, m := range k.sink.Take() {
		head, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		name := first(subject, head+"\r\n")
		k.got[name] = append(k.got[name], arrival{hash(body), first(queueID, head)})
	}
}

// hear reads from the log what may come twice, and what should not be in it.
func (k *killLab) hear(c *child) {
	text, _ := c.text()
	if f, err := os.OpenFile(k.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		_, _ = f.WriteString(text)
		_ = f.Close()
	}
	k.alarms = append(k.alarms, alarm.FindAllString(text, -1)...)
	for _, m := range doubted.FindAllStringSubmatch(text, -1) {
		k.named[m[1]]++
	}
}

// drain waits until at most so many of the acknowledged have not arrived, or
// there is nothing left that could.
func (k *killLab) drain(t *testing.T, book *ledger, atMost int) {
	for late := time.Now().Add(time.Minute); time.Now().Before(late); {
		empty := k.empty(t)
		k.collect()
		due := 0
		book.note(func() {
			for name := range book.due {
				if len(k.got[name]) > 0 {
					delete(book.due, name)
				}
			}
			due = len(book.due)
		})
		if due <= atMost || empty {
			return // check will say what is missing
		}
		k.more(t)
	}
	t.Fatal("mail is left that does not arrive")
}

// more waits for another message, a moment.
func (k *killLab) more(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = k.sink.Wait(ctx, 1)
}

// empty says whether the relay has no mail.
func (k *killLab) empty(t *testing.T) bool {
	t.Helper()
	for range admin.NewClient(filepath.Join(k.dir, "admin.sock")).List(t.Context(), admin.Filter{Limit: 1}) {
		return false // a message, or an error
	}
	return true
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight/dns/dnstest"
	"smtprelay/relay/deliver/mxtest"
)

var killRounds = flag.Int("kill-rounds", 20, "how often TestKill kills the relay")

// ledger is what the submitting side knows: it outlives every kill.
type ledger struct {
	mu    sync.Mutex
	acked map[string]string // message name -> hash of its text
	tried map[string]bool

	early      bool // acked is noted when the last octet is sent, not when the 250 has come
	unanswered int  // how many noted early had no 250
}

func (b *ledger) note(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// TestKill kills the relay with SIGKILL again and again under load. Nothing
// that was acknowledged may be lost or changed, nothing partial may arrive, and
// a copy may arrive twice only where a kill fell between the receiver's reply
// and our record of it.
func TestKill(t *testing.T) {
	k, book := newKillLab(t), newLedger()
	for round := range *killRounds {
		k.round(t, book, round)
	}
	c := k.start(t)
	defer func() { c.cmd.Process.Kill(); <-c.done }()
	k.settle(t, book)
	wrong, twice := k.check(book)
	for _, w := range wrong {
		t.Error(w)
	}
	t.Logf("%d rounds: %d acknowledged, %d copies too many", *killRounds, len(book.acked), twice)
	if len(book.acked) < *killRounds {
		t.Errorf("only %d messages were acknowledged: the load was too small to show anything", len(book.acked))
	}
	// One connection delivers to this destination, so at most one message can
	// be between the receiver's reply and our record when a kill falls.
	if twice > *killRounds {
		t.Errorf("%d copies too many in %d kills: more than one a kill", twice, *killRounds)
	}
}

// A relay that said 250 before the message is safe would be found out. To the
// ledger it looks as if each were said as soon as the last octet is sent.
func TestKillFindsAnEarlyReply(t *testing.T) {
	k, book := newKillLab(t), newLedger()
	book.early = true
	for round := range 20 {
		k.round(t, book, round)
		if book.unanswered >= 20 {
			break
		}
	}
	c := k.start(t)
	defer func() { c.cmd.Process.Kill(); <-c.done }()
	end := newLedger()
	if err := k.send(end, "end", "the end\r\n"); err != nil {
		t.Fatal(err)
	}
	k.settle(t, end) // the oldest go first, so all others have arrived too
	if wrong, _ := k.check(book); !slices.ContainsFunc(wrong, func(w string) bool { return strings.HasSuffix(w, "is lost") }) {
		t.Errorf("%d replies were early, and nobody noticed: %q", book.unanswered, wrong)
	}
}

func newLedger() *ledger {
	return &ledger{acked: map[string]string{}, tried: map[string]bool{}}
}

// round is one life of the relay, under load, until it is killed.
func (k *killLab) round(t *testing.T, book *ledger, round int) {
	c := k.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for s := range 4 {
		wg.Go(func() { k.load(ctx, book, fmt.Sprintf("r%d-s%d", round, s)) })
	}
	// The moment of the kill is random; there is no event to wait for.
	select {
	case <-time.After(50*time.Millisecond + time.Duration(rand.IntN(600))*time.Millisecond):
	case <-c.done:
		text, _ := c.text()
		t.Errorf("round %d: the relay ended by itself:\n%s", round, text)
	}
	c.cmd.Process.Kill()
	<-c.done
	cancel()
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

type killLab struct {
	dir, net string
	sink     *mxtest.Server
}

func newKillLab(t *testing.T) *killLab {
	k := &killLab{dir: t.TempDir(), net: fmt.Sprintf("127.%d.250", 20+os.Getpid()%200)}
	vars := map[string]string{"NET": k.net, "REV": fmt.Sprintf("250.%d.127.in-addr.arpa", 20+os.Getpid()%200), "WORK": k.dir, "SOCK": k.dir}
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
	t.Cleanup(func() { d.Close() })
	if k.sink, err = mxtest.Start(k.net+".2:2525", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.sink.Close() })
	settings := strings.Replace(read("relay.toml"), "[delivery]", "[queue]\nretry = [\"1s\"]\n\n[delivery]", 1)
	if err := os.WriteFile(filepath.Join(k.dir, "relay.toml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *killLab) start(t *testing.T) *child {
	t.Helper()
	c, err := startRelay(filepath.Join(k.dir, "relay.toml"), k.dir)
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
		_ = k.send(book, name, strings.Repeat("a line of the message "+name+"\r\n", lines))
	}
}

// send submits one message. What counts as acknowledged is the 250 after the
// final dot, whatever becomes of the connection then.
func (k *killLab) send(book *ledger, name, body string) error {
	c, err := smtp.Dial(k.net + ".25:2587")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail("alice@shop.test"), c.Rcpt("bob@dest.test")); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	book.note(func() { book.tried[name] = true })
	if _, err := io.WriteString(w, "From: alice@shop.test\r\nTo: bob@dest.test\r\nSubject: "+name+"\r\n\r\n"+body); err != nil {
		return err
	}
	if book.early {
		book.note(func() { book.acked[name] = hash(body) })
	}
	err = w.Close()
	book.note(func() {
		switch {
		case err == nil:
			book.acked[name] = hash(body)
		case book.early:
			book.unanswered++
		}
	})
	if err != nil {
		return err
	}
	return c.Quit()
}

func hash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// arrived is the receiving side's ledger: name -> hashes of the bodies that came.
func (k *killLab) arrived() map[string][]string {
	out := map[string][]string{}
	for _, m := range k.sink.Messages() {
		head, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		_, rest, _ := strings.Cut(head, "Subject: ")
		name, _, _ := strings.Cut(rest, "\r\n")
		out[name] = append(out[name], hash(body))
	}
	return out
}

// settle waits until all that was acknowledged has arrived, or nothing more does.
func (k *killLab) settle(t *testing.T, book *ledger) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		n, got := len(k.sink.Messages()), k.arrived()
		missing := 0
		for name := range book.acked {
			if len(got[name]) == 0 {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if err := k.sink.Wait(ctx, n+1); err != nil {
			return // check will say what is missing
		}
	}
}

// check holds the ledgers of both sides against each other. It says what is
// wrong, and how many copies came that need not have come.
func (k *killLab) check(book *ledger) (wrong []string, twice int) {
	got := k.arrived()
	for name, want := range book.acked {
		if len(got[name]) == 0 {
			wrong = append(wrong, name+" was acknowledged and is lost")
		}
		for _, h := range got[name] {
			if h != want {
				wrong = append(wrong, name+" arrived changed")
			}
		}
	}
	for name, copies := range got {
		if !book.tried[name] {
			wrong = append(wrong, name+" arrived and was never sent")
		}
		twice += len(copies) - 1
	}
	return wrong, twice
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
}

// TestKill kills the relay with SIGKILL again and again under load. Nothing
// that was acknowledged may be lost or changed, nothing partial may arrive, and
// a copy may arrive twice only where a kill fell between the receiver's reply
// and our record of it.
func TestKill(t *testing.T) {
	k := newKillLab(t)
	book := &ledger{acked: map[string]string{}, tried: map[string]bool{}}
	for round := range *killRounds {
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
			t.Fatalf("round %d: the relay ended by itself:\n%s", round, text)
		}
		c.cmd.Process.Kill()
		<-c.done
		cancel()
		wg.Wait()
	}
	c := k.start(t)
	defer func() { c.cmd.Process.Kill(); <-c.done }()
	k.settle(t, book)
	k.check(t, book)
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
		body := strings.Repeat("a line of the message "+name+"\r\n", lines)
		text := "From: alice@shop.test\r\nTo: bob@dest.test\r\nSubject: " + name + "\r\n\r\n" + body
		book.mu.Lock()
		book.tried[name] = true
		book.mu.Unlock()
		if submitMail(k.net+".25:2587", "alice@shop.test", []string{"bob@dest.test"}, []byte(text), nil) == nil {
			book.mu.Lock()
			book.acked[name] = hash(body)
			book.mu.Unlock()
		}
	}
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

func (k *killLab) check(t *testing.T, book *ledger) {
	got, twice := k.arrived(), 0
	for name, want := range book.acked {
		if len(got[name]) == 0 {
			t.Errorf("%s was acknowledged and is lost", name)
		}
		for _, h := range got[name] {
			if h != want {
				t.Errorf("%s arrived changed", name)
			}
		}
	}
	for name, copies := range got {
		if !book.tried[name] {
			t.Errorf("%q arrived and was never sent", name)
		}
		twice += len(copies) - 1
	}
	t.Logf("%d rounds: %d acknowledged, %d arrived, %d copies too many", *killRounds, len(book.acked), len(got), twice)
	if len(book.acked) < *killRounds {
		t.Errorf("only %d messages were acknowledged: the load was too small to show anything", len(book.acked))
	}
	// One connection delivers to this destination, so at most one message can
	// be between the receiver's reply and our record when a kill falls.
	if twice > *killRounds {
		t.Errorf("%d copies too many in %d kills: more than one a kill", twice, *killRounds)
	}
}

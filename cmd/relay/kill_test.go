package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	killRounds = flag.Int("kill-rounds", 20, "how often TestKill kills the relay")
	senders    = flag.Int("senders", 4, "how many clients submit at once while it, or the power, is killed")
)

// inFlight is how many connections deliver to one destination at once (queue.connections):
// so many messages at most are between the receiver's reply and our record of it
// when a kill falls.
const inFlight = 20

// TestKill kills the relay with SIGKILL again and again under load, at times
// while it still starts. Nothing that was acknowledged may be lost or changed,
// nothing partial may arrive, and a copy may arrive twice only where a kill fell
// between the receiver's reply and our record of it, which the log tells then.
func TestKill(t *testing.T) {
	k, book := newKillLab(t, ""), newLedger()
	for round := range *killRounds {
		k.round(t, book, round)
	}
	f := k.end(t, book)
	t.Logf("%d rounds: %v", *killRounds, f)
	for _, w := range f.wrong {
		t.Error(w)
	}
	if f.unnamed > 0 {
		t.Errorf("%d copies too many are not named in the log: %q", f.unnamed, f.example)
	}
	if f.acked < *killRounds {
		t.Errorf("only %d messages were acknowledged: the load was too small to show anything", f.acked)
	}
	if f.twice > *killRounds*inFlight {
		t.Errorf("%d copies too many in %d kills: more than one for each connection", f.twice, *killRounds)
	}
}

// A relay that said 250 before the message is safe would be found out. To the
// ledger it looks as if each were said as soon as the last octet is sent.
func TestKillFindsAnEarlyReply(t *testing.T) {
	k, book := newKillLab(t, ""), newLedger()
	book.early = true
	for round := range 20 {
		k.round(t, book, round)
		if book.unanswered >= 20 {
			break
		}
	}
	if f := k.end(t, book); !f.lost() {
		t.Errorf("%d replies were early, and nobody noticed: %q", book.unanswered, f.wrong)
	}
}

// round is one life of the relay, under load, until it is killed; of five, one
// is killed while it starts.
func (k *killLab) round(t *testing.T, book *ledger, round int) {
	if round%5 == 4 {
		k.infant(t)
		return
	}
	c, stop := k.live(t, book, round)
	// The moment of the kill is random; there is no event to wait for.
	select {
	case <-time.After(50*time.Millisecond + time.Duration(rand.IntN(600))*time.Millisecond):
	case <-c.done:
		text, _ := c.text()
		t.Errorf("round %d: the relay ended by itself:\n%s", round, text)
	}
	c.kill()
	stop()
	k.hear(c)
	if t.Failed() {
		t.FailNow()
	}
}

// infant is a relay that is killed before it is ready, or just then.
func (k *killLab) infant(t *testing.T) {
	t.Helper()
	c, err := launchRelay(k.config(), k.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.ready.Close()
	select {
	case <-time.After(time.Duration(rand.IntN(250)) * time.Millisecond):
	case <-c.done:
		text, _ := c.text()
		t.Fatalf("the relay ended by itself:\n%s", text)
	}
	c.kill()
	k.hear(c)
}

// live starts the relay and a load on it that goes on until stop.
func (k *killLab) live(t *testing.T, book *ledger, round int) (c *child, stop func()) {
	c = k.start(t)
	k.drain(t, book, 500)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for s := range k.senders {
		wg.Go(func() { k.load(ctx, book, fmt.Sprintf("r%d-s%d", round, s)) })
	}
	return c, func() { cancel(); wg.Wait() }
}

// end lets the relay deliver what is left, and holds the ledgers of both sides
// against each other.
func (k *killLab) end(t *testing.T, book *ledger) findings {
	c := k.start(t)
	defer c.kill()
	return k.settled(t, c, book)
}

// settled lets this relay deliver what is left, and holds the ledgers against each
// other.
func (k *killLab) settled(t *testing.T, c *child, book *ledger) findings {
	t.Helper()
	// The oldest go first, so when this one has come, all others have.
	last := newLedger()
	if err := k.send(last, "last", "the last\r\n"); err != nil {
		t.Fatal(err)
	}
	k.drain(t, last, 0)
	k.drain(t, book, 0)
	k.hear(c)
	return k.check(book)
}

// findings are what the ledgers say in the end.
type findings struct {
	acked   int
	wrong   []string
	twice   int    // copies that need not have come
	unnamed int    // of these, how many the log did not foretell
	example string // one of them
	late    int    // acknowledged after the power had failed
	never   int    // of these, how many are lost
}

func (f findings) String() string {
	s := fmt.Sprintf("%d acknowledged, %d wrong, %d copies too many, %d of them not named in the log", f.acked, len(f.wrong), f.twice, f.unnamed)
	if f.late > 0 {
		s += fmt.Sprintf("; %d acknowledged when the power had gone, %d of them lost", f.late, f.never)
	}
	return s
}

func (f findings) lost() bool {
	return slices.ContainsFunc(f.wrong, func(w string) bool { return strings.HasPrefix(w, "lost: ") })
}

func (k *killLab) check(book *ledger) findings {
	f := findings{acked: len(book.acked), wrong: slices.Clone(k.alarms), late: len(book.late)}
	for name := range book.late {
		if len(k.got[name]) == 0 {
			f.never++
		}
	}
	for name, want := range book.acked {
		if len(k.got[name]) == 0 {
			f.wrong = append(f.wrong, fmt.Sprintf("lost: %s was acknowledged as %s\n%s", name, want.id, k.story(want.id)))
		}
		for _, c := range k.got[name] {
			if c.hash != want.hash {
				f.wrong = append(f.wrong, name+" arrived changed")
			}
		}
	}
	for name, copies := range k.got {
		if !book.tried[name] && name != "last" {
			f.wrong = append(f.wrong, name+" arrived and was never sent")
		}
		for _, c := range copies {
			if c != copies[0] {
				f.wrong = append(f.wrong, fmt.Sprintf("%s arrived as %s and as %s", name, copies[0].id, c.id))
			}
		}
		f.twice += len(copies) - 1
		if n := len(copies) - 1 - k.named[copies[0].id]; n > 0 {
			f.unnamed += n
			f.example = fmt.Sprintf("%s (%s) arrived %d times", name, copies[0].id, len(copies))
		}
	}
	return f
}

//go:build torture

package main

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlowDisk: the disk suddenly makes 20 writes a second, and 500 clients go
// on. Each hears a 250 or a 4xx long before it would give up, the relay needs no
// more memory than before, deliveries go on, nothing that was acknowledged is
// lost, and once the disk is well again all is as before.
func TestSlowDisk(t *testing.T) {
	g := newGroup(t, "io")
	v := newVolumeOf(t, 4<<30, "ext4")
	v.mount(t)
	k, book := newKillLab(t, v.dir), newLedger()
	k.hurry = time.Minute
	under(t, g.join())
	c := k.start(t)
	defer c.kill()

	fast := k.press(t, c, book, "fast", 500, 5*time.Second)
	t.Logf("as it is: %v", fast)
	g.writes(t, v.device(t), 20)
	slow := k.press(t, c, book, "slow", 500, 40*time.Second)
	t.Logf("at 20 writes a second: %v", slow)
	g.writes(t, v.device(t), 0)
	again := k.press(t, c, book, "again", 500, 5*time.Second)
	t.Logf("as it was: %v", again)

	switch {
	case fast.broken > 0 || slow.broken > 0 || again.broken > 0:
		t.Error("clients heard nothing until they gave up")
	case fast.refused > 0:
		t.Error("clients were told to come again although the disk is fast")
	case slow.acked == 0:
		t.Error("no mail was taken any more")
	case slow.delivered == 0:
		t.Error("no mail was delivered any more")
	case slow.longest > k.hurry/2:
		t.Error("clients had to wait too long")
	case slow.memory > fast.memory+32<<20:
		t.Error("the relay needs much more memory when the disk is slow")
	case again.refused > 0 || again.acked < fast.acked/4:
		t.Error("it has not recovered")
	}
	f := k.settled(t, c, book)
	c.kill()
	v.unmount(t)
	t.Log(f)
	for _, w := range f.wrong {
		t.Error(w)
	}
}

// device is the loop device.
func (v *volume) device(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(v.dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Dev
}

// pressure is what clients met with.
type pressure struct {
	acked, refused, broken int
	delivered              int           // meanwhile
	longest                time.Duration // that one waited
	memory                 int           // the most that the relay had
	first                  string        // reply of those refused
}

func (p pressure) String() string {
	s := fmt.Sprintf("%d acknowledged, %d refused, %d without an answer, %d delivered, the longest waited %v, %d MiB", p.acked, p.refused, p.broken, p.delivered, p.longest.Round(time.Millisecond), p.memory>>20)
	if p.first != "" {
		s += fmt.Sprintf("; such as %q", p.first)
	}
	return s
}

// press has so many clients submit one message after another, half of them messages
// that are files.
func (k *killLab) press(t *testing.T, c *child, book *ledger, name string, clients int, long time.Duration) (p pressure) {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	k.collect()
	before := len(k.got)
	var wg sync.WaitGroup
	var mu sync.Mutex
	large := strings.Repeat("a line of a large message\r\n", 8000)
	for i := range clients {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := "a small message\r\n"
				if i%2 == 0 {
					body = large
				}
				from := time.Now()
				err := k.send(book, fmt.Sprintf("%s-%d-%d", name, i, n), body)
				took := time.Since(from)
				var said *textproto.Error
				mu.Lock()
				p.longest = max(p.longest, took)
				switch {
				case err == nil:
					p.acked++
				case errors.As(err, &said) && said.Code/100 == 4:
					if p.refused++; p.first == "" {
						p.first = said.Error()
					}
				default:
					if p.broken++; p.broken == 1 {
						t.Logf("client %d: %v", i, err)
					}
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(time.Second) // a client that tries again later
				}
			}
		})
	}
	for ctx.Err() == nil {
		p.memory = max(p.memory, c.rss(t, "VmRSS"))
		time.Sleep(100 * time.Millisecond)
	}
	k.collect()
	p.delivered = len(k.got) - before
	wg.Wait()
	return p
}

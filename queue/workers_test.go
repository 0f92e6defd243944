package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// crew is lanes whose workers a test leads by the hand.
type crew struct {
	*lanes
	t       *testing.T
	r       *rand.Rand
	working []*Trip // one for each worker
	in, out int     // trips that entered, and that ended or were given back
}

// word is a random one of a host.
func (c *crew) word() *Attempt {
	return &[]Attempt{
		{Outcome: Sent, Host: "h"},
		{Outcome: Deferred, Host: "h", Stage: "connect"},
		{Outcome: Deferred, Host: "h", Stage: "connect"},
		{Outcome: Refused, Host: "h", Stage: "rcpt", Reply: Reply{Code: 550}},
		{Outcome: Deferred, Host: "h", Stage: "rcpt", Reply: Reply{Code: 450, Status: "4.7.1"}},
	}[c.r.IntN(5)]
}

func (c *crew) enterOne() {
	t := &Trip{lease: &lease{Lease: Lease{Destination: fmt.Sprint("d", c.r.IntN(50))}}}
	if c.enter(t, Lane{Name: fmt.Sprint("l", c.r.IntN(8)), Connections: 1 + c.r.IntN(4)}) {
		c.in++
	}
}

// workOne has one worker do something.
func (c *crew) workOne() {
	if len(c.working) == 0 {
		return
	}
	i := c.r.IntN(len(c.working))
	switch t := c.working[i]; c.r.IntN(5) {
	case 0:
		c.grant(t, c.r.IntN(2) == 0)
	case 1:
		c.learn(t.lane, c.word())
	case 2:
		c.look(t)
	case 3:
		c.ahead(t, true)
	case 4:
		c.working = slices.Delete(c.working, i, i+1)
		if c.leave(t) {
			c.out++
		}
	}
}

// check that nobody is forgotten: who could have a worker has one, and all are counted.
func (c *crew) check() {
	c.t.Helper()
	now := time.Now()
	var busy, held tally
	for name, l := range c.all {
		s := l.standing()
		busy[s] += l.busy
		held[s] += len(l.waiting)
		workers := 0
		for _, t := range l.trips {
			workers += t.workers
		}
		switch {
		case workers != l.busy:
			c.t.Fatalf("%s: %d workers at its trips, %d counted", name, workers, l.busy)
		case len(l.waiting) > 0 && l.wants(now) && !slices.Contains(c.rings[s], l):
			c.t.Fatalf("%s wants a worker and nobody knows", name)
		case l.wanting != slices.Contains(slices.Concat(c.rings[:]...), l):
			c.t.Fatalf("%s is in a ring: %v", name, !l.wanting)
		case l.wanting && l.wants(now) && c.busy.room(s, c.o.Workers):
			c.t.Fatalf("%s could have a worker", name)
		}
	}
	if busy != c.busy || held != c.held || c.busy.upTo(good) > c.o.Workers || len(c.working) != c.busy.upTo(good) {
		c.t.Fatalf("busy %v, counted %v; held %v, counted %v; %d work", busy, c.busy, held, c.held, len(c.working))
	}
}

// In whatever order things happen, no destination that waits for a worker is forgotten.
func TestNobodyIsForgotten(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			c := &crew{t: t, r: rand.New(rand.NewPCG(seed, 0))}
			c.lanes = newLanes(Options{Workers: 1 + c.r.IntN(12)}.withDefaults(),
				func(t *Trip) { c.working = append(c.working, t) },
				func(*Trip) { c.out++ })
			for range 2000 {
				switch n := c.r.IntN(10); {
				case n < 3:
					c.enterOne()
				case n == 3:
					time.Sleep(time.Duration(c.r.IntN(5000)) * time.Millisecond)
				default:
					c.workOne()
				}
				c.check()
			}
			for len(c.working) > 0 {
				c.workOne()
				c.check()
			}
			if c.in != c.out {
				t.Errorf("%d trips entered, %d ended", c.in, c.out)
			}
		})
	}
}

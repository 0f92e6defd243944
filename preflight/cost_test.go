package preflight

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A run for one source and five sender domains asks each question once, tells
// how many that were, and is done in 3 s where an answer takes 30 ms.
func TestCostOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calm{delay: 30 * time.Millisecond, keep: true}
		p := manySenders(5)
		began := time.Now()
		fs, asked := Run(t.Context(), &p, c.outside())
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("took %s", d)
		}
		if r := Judge(&p, fs, began); r.Overall != Pass {
			t.Errorf("%s: %v", r.Overall, r.Sources[0].Because)
		}
		slices.Sort(c.seen)
		once := slices.Compact(slices.Clone(c.seen))
		if len(once) != len(c.seen) || asked != len(once) || asked < 5*3 {
			t.Errorf("%d questions, %d different ones, %d told of", len(c.seen), len(once), asked)
		}

		g := NewGate(p, c.outside(), nil, nil)
		if r := g.Start(t.Context()); r.Questions != asked || r.Took > 3*time.Second {
			t.Errorf("the gate's summary: %d questions in %s", r.Questions, r.Took)
		}
	})
}

// A resolver that says nothing holds a run up for 30 s at most.
func TestCostOfADeadResolver(t *testing.T) {
	for _, answers := range []int{0, 1, 10} { // dead from the first, or after some answers
		synctest.Test(t, func(t *testing.T) {
			c := &calm{delay: time.Millisecond}
			d := &dying{calm: c, left: answers}
			p := manySenders(5)
			began := time.Now()
			o := c.outside()
			o.DNS, o.Asker = d, d
			fs, _ := Run(t.Context(), &p, o)
			if took := time.Since(began); took > runTime {
				t.Errorf("after %d answers: took %s", answers, took)
			}
			for _, f := range fs {
				if f.Status == Fail {
					t.Errorf("after %d answers: %s fails", answers, f.Check.ID)
				}
			}
			synctest.Wait()
		})
	}
}

// A look for a few domains asks nothing of source and host again.
func TestALookAtSendersAsksForThemAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calm{keep: true}
		p := manySenders(2)
		g := NewGate(p, c.outside(), nil, nil)
		g.Start(t.Context())
		c.mu.Lock()
		c.seen = nil
		c.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		g.look(ctx, errand{who: p.Senders[:1], out: g.out})
		for _, q := range c.seen {
			if q != ". 2" && q != " 2" && !slices.ContainsFunc([]string{"shop00000.example", "_dmarc.example", "mx.example.net"}, func(name string) bool {
				return len(q) >= len(name) && slices.Contains(suffixes(q), name)
			}) {
				t.Errorf("asked for %s", q)
			}
		}
		if len(c.seen) == 0 {
			t.Error("asked nothing")
		}
	})
}

// suffixes of a question's name: itself and all that it lies under.
func suffixes(q string) (all []string) {
	name := q
	for i, r := range q {
		if r == ' ' {
			name = q[:i]
			break
		}
	}
	all = append(all, name)
	for i, r := range name {
		if r == '.' {
			all = append(all, name[i+1:])
		}
	}
	return all
}

package preflight

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What waits comes one by one, and no second has more of it than is allowed, however
// late each may be; what does not wait leaves it one half.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		var times []time.Time
		ask := func(n int) {
			done := make(chan bool)
			for range n {
				go func() { b.wait(t.Context()); done <- true }()
			}
			for range n {
				<-done
				times = append(times, time.Now())
			}
		}
		began := time.Now()
		ask(inWindow)
		if d := time.Since(began); d > 0 {
			t.Errorf("a small look takes %s", d)
		}
		ask(400)
		if w := worstSecond(times); w > inWindow {
			t.Errorf("%d in one second", w)
		}
		if d, want := time.Since(began), 400*window/inWindow; d < want || d > want+2*window {
			t.Errorf("%s for 400 more, want %s", d, want)
		}
		time.Sleep(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		flood.Go(func() { // that nobody holds up
			for ctx.Err() == nil {
				b.spend()
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(2 * window)
		times, began = nil, time.Now()
		ask(200)
		if d := time.Since(began); d > 2*200*window/inWindow+window {
			t.Errorf("%s for 200 beside a flood", d)
		}
	})
}

// What is given up takes nobody's turn.
func TestBudgetGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		for range inWindow {
			b.wait(t.Context())
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for range 1000 {
			b.wait(over)
		}
		began := time.Now()
		b.wait(t.Context())
		if d := time.Since(began); d > window {
			t.Errorf("waited %s", d)
		}
	})
}

// BenchmarkBudgetAtTheServer has a watcher that is always late, before a real DNS
// server that fails for one zone, and counts there: tries over again included, no
// second may have more than is allowed.
func BenchmarkBudgetAtTheServer(b *testing.B) {
	p, out, s := costly(b)
	p.Policy.RecheckMin, p.Policy.RecheckMax = time.Millisecond, time.Millisecond
	if err := s.Behave("shop3.test", "servfail"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g := NewGate(*p, out, nil, nil)
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		g.Start(ctx)
		from := len(s.Asked())
		if err := g.Watch(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
		var times []time.Time
		for _, q := range s.Asked()[from:] {
			times = append(times, q.At)
		}
		worst := worstSecond(times)
		b.ReportMetric(float64(worst), "worst-second")
		b.ReportMetric(float64(len(times))/10, "questions/s")
		if worst > perSecond {
			b.Fatalf("%d questions in one second, %d at most", worst, perSecond)
		}
	}
}

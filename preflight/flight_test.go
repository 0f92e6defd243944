package preflight

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

var passerBy = Mail{Author: "stranger.example", Envelope: "stranger.example"}

func (g *Gate) seen(m Mail) *sight {
	who, _ := g.sender(m)
	n, _ := g.sights.get(who.key())
	return n
}

// Mail of a sender whose time has passed does not wait for the look at it, of
// which there is one, however many ask; and a look that learns nothing changes
// nothing.
func TestWhatIsKnownStandsMeanwhile(t *testing.T) {
	manyWorld(t, 1, nil, func(t *testing.T, g *Gate, c *calm) {
		route := func(want bool) {
			t.Helper()
			began := time.Now()
			if r := g.Route(t.Context(), passerBy, "example.com", nil); (r.Source != nil) != want || time.Since(began) > 0 {
				t.Errorf("%+v after %s", r, time.Since(began))
			}
		}
		if g.Route(t.Context(), passerBy, "example.com", nil).Source == nil {
			t.Fatal("the first look says no")
		}
		time.Sleep(time.Until(g.seen(passerBy).next))
		c.slow(time.Second)
		var asked atomic.Int64
		c.fault("SERVFAIL", func(name string, q dns.Type) bool {
			if name == "stranger.example" && q == dns.TypeTXT {
				asked.Add(1)
			}
			return name == "stranger.example"
		})
		for range 10 {
			route(true)
		}
		time.Sleep(time.Minute)
		if n := asked.Load(); n < 1 || n > 2 { // the resolver, and once more if another look was due
			t.Errorf("%d looks for ten mails", n)
		}
		route(true)

		// What it comes to is heard of.
		c.fault("NXDOMAIN", func(name string, q dns.Type) bool { return name == "stranger.example" })
		for end := time.Now().Add(time.Hour); g.seen(passerBy).judged(g.judgement(), 0).verdict.Status != Fail; {
			changed := g.Changed()
			g.Route(t.Context(), passerBy, "example.com", nil)
			select {
			case <-changed:
			case <-time.After(time.Minute):
			}
			if time.Now().After(end) {
				t.Fatal("it never fails")
			}
		}
		route(false)
	})
}

// What is older than any verdict may get is not gone by.
func TestAnOldSightIsNotGoneBy(t *testing.T) {
	manyWorld(t, 1, nil, func(t *testing.T, g *Gate, c *calm) {
		g.Route(t.Context(), passerBy, "example.com", nil)
		time.Sleep(g.plan.Policy.RecheckMax + time.Second)
		c.deny(func(name string, q dns.Type) bool { return name == "stranger.example" })
		looked := g.seen(passerBy).began
		g.Route(t.Context(), passerBy, "example.com", nil)
		if !g.seen(passerBy).began.After(looked) {
			t.Error("mail did not wait for the look")
		}
	})
}

// Nobody is refused for good for what stood before, once it has been mended.
func TestARefusalIsFresh(t *testing.T) {
	p := manySenders(1)
	listed := p.Senders[0].Domain
	for name, m := range map[string]Mail{
		"passer-by":  passerBy,
		"configured": {Author: listed, Envelope: listed},
	} {
		t.Run(name, func(t *testing.T) { refusedUntilMended(t, m) })
	}
}

func refusedUntilMended(t *testing.T, m Mail) {
	synctest.Test(t, func(t *testing.T) {
		c := &calm{delay: 10 * time.Millisecond}
		p := manySenders(1)
		p.Policy.OnSenderFail, p.Policy.Settle = ActReject, 0
		c.deny(func(name string, q dns.Type) bool { return name == m.Envelope })
		g := NewGate(p, c.outside(), nil, nil)
		g.Start(t.Context())
		defer g.sights.ground()
		if r := g.Judge(t.Context(), m); r.Do != ActReject {
			t.Fatalf("%+v", r)
		}
		asked := c.questions()
		for range 10 { // who tries again at once is not worth a look
			g.Judge(t.Context(), m)
		}
		if n := c.questions(); n != asked {
			t.Errorf("%d questions for nothing", n-asked)
		}
		c.deny(func(string, dns.Type) bool { return false })
		time.Sleep(freshAfter)
		if r := g.Judge(t.Context(), m); r.Do != ActSend {
			t.Errorf("mended: %+v", r)
		}
	})
}

// A look that was under way when all became due does not count as one after it.
func TestHurryDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calm{}
		p := manySenders(1)
		g := NewGate(p, c.outside(), nil, nil)
		g.Start(t.Context())
		c.slow(time.Second)
		var looking sync.WaitGroup
		looking.Go(func() { g.look(t.Context(), errand{who: p.Senders, out: g.out}) })
		time.Sleep(1500 * time.Millisecond)
		g.sights.hurry()
		looking.Wait()
		if len(g.sights.due(time.Now(), 1)) != 1 {
			t.Error("it is not due")
		}
		g.look(t.Context(), errand{who: p.Senders, out: g.out})
		if len(g.sights.due(time.Now(), 1)) != 0 {
			t.Error("it is still due")
		}
	})
}

// Of two looks at one sender that overlap the later one counts, whichever ends last.
func TestTheLaterLookCounts(t *testing.T) {
	s := newSights(&Gate{})
	at := time.Now()
	for _, n := range []*sight{{key: "a", began: at.Add(time.Second)}, {key: "a", began: at, silent: 1}} {
		s.put(n)
	}
	if n, _ := s.get("a"); n.silent != 0 {
		t.Error("the earlier one took its place")
	}
}

// However many strangers send while no resolver answers, it is asked by its schedule.
func TestStrangersInSilence(t *testing.T) {
	manyWorld(t, 1, nil, func(t *testing.T, g *Gate, c *calm) {
		c.fault("SERVFAIL", func(string, dns.Type) bool { return true })
		looks := func() int { g.mu.RLock(); defer g.mu.RUnlock(); return g.looks }
		for n := range 600 {
			g.Route(t.Context(), mailOf(1000+n), "example.com", nil)
			time.Sleep(time.Second)
		}
		if n := looks(); n > 12 { // at 0, 5, 20, 50, 110, 230, 530 s
			t.Errorf("%d looks at the host in ten minutes", n)
		}
	})
}

// When Watch ends nothing looks any more, and nothing is written.
func TestNoLookOutlivesWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
		c := &calm{}
		g := NewGate(manySenders(1), c.outside(), m, nil)
		g.Start(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Watch(ctx) }()
		c.slow(time.Second)
		hasty, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		g.Route(hasty, passerBy, "example.com", nil)
		cancel()
		<-done
		asked := c.questions()
		g.Route(hasty, Mail{Author: "other.example", Envelope: "other.example"}, "example.com", nil)
		time.Sleep(time.Minute)
		if c.questions() != asked {
			t.Error("it goes on asking")
		}
	})
}

package preflight

import (
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// Whoever asks for a look waits for host, sources and a few sender domains; the
// others follow within the budget, although none was due.
func TestLookNowWithManySenders(t *testing.T) {
	const n = 200
	manyWorld(t, n, nil, func(t *testing.T, g *Gate, c *calm) {
		time.Sleep(10 * time.Minute) // all are known
		c.mu.Lock()
		c.keep, c.seen = true, nil
		c.mu.Unlock()
		began := time.Now()
		if _, err := g.LookNow(t.Context()); err != nil || time.Since(began) > 5*time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		looked := func() (all int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			names := map[string]bool{}
			for _, q := range c.seen {
				if name, ok := strings.CutSuffix(q, ".example 16"); ok && strings.HasPrefix(name, "shop") {
					names[name] = true
				}
			}
			return len(names)
		}
		if k := looked(); k != startAtOnce {
			t.Errorf("%d domains looked at before the answer", k)
		}
		time.Sleep(2 * time.Second)
		c.forget()
		time.Sleep(4 * time.Minute) // none is due by itself for a quarter of an hour
		if k := looked(); k != n {
			t.Errorf("%d domains looked at", k)
		}
		if w := c.worst(); w > perSecond {
			t.Errorf("%d questions in one second", w)
		}
	})
}

// What remotes name of one sender domain has that one looked at, and no other;
// what contradicts a pass is told of even where a report tells little.
func TestHeardOfOneOfMany(t *testing.T) {
	manyWorld(t, 150, nil, func(t *testing.T, g *Gate, c *calm) {
		time.Sleep(10 * time.Minute)
		c.mu.Lock()
		c.keep, c.seen = true, nil
		c.mu.Unlock()
		for range manyTimes {
			g.Heard(Reply{Host: "mx.mimecast.com", Stage: "mail", Code: 550, Text: "SPF Sender Invalid - envelope rejected", Source: "wan4", Mail: mailOf(120)})
			time.Sleep(time.Second)
		}
		time.Sleep(evidenceRest)
		c.mu.Lock()
		for _, q := range c.seen {
			if strings.HasPrefix(q, "shop") && !strings.HasPrefix(q, "shop00120.") {
				t.Errorf("asked for %s", q)
			}
		}
		c.mu.Unlock()
		v := g.Report().Senders[120]
		if v.Status != Pass || g.Route(t.Context(), mailOf(120), "example.com", nil).Source == nil {
			t.Errorf("a reply made a verdict: %s", v.Status)
		}
		said := 0
		for _, f := range v.Findings {
			said += len(f.ContradictedBy)
		}
		if said == 0 {
			t.Errorf("the report does not tell: %+v", v.Findings)
		}
	})
}

// A key signs from the first mail of its domain, though its turn has not come.
func TestKeyOfOneOfMany(t *testing.T) {
	manyWorld(t, 400, nil, func(t *testing.T, g *Gate, c *calm) {
		m := mailOf(399)
		if g.Judge(t.Context(), m).Do != ActSend || !g.Live(m.Author, "k1") {
			t.Error("mail leaves unsigned")
		}
	})
}

// An address that is learnt anew has all senders looked at again: what was found
// of them is about another one.
func TestLearntAddressConcernsSenders(t *testing.T) {
	memory := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	synctest.Test(t, func(t *testing.T) {
		c := &calm{}
		var asked atomic.Int64
		c.fault("", func(name string, q dns.Type) bool {
			if name == "shop00000.example" && q == dns.TypeTXT {
				asked.Add(1)
			}
			return false
		})
		p := manySenders(1)
		p.Special = Special{}
		p.Sources[0].Bind = "10.0.0.5"
		g := NewGate(p, c.outside(), memory, nil)
		saw := func(addr string) {
			for _, operator := range []string{"one.example", "two.example"} {
				g.out.Observed.add(Observation{Source: p.Sources[0].key(), Method: byProbe, Operator: operator, Addr: netip.MustParseAddr(addr), At: time.Now()})
			}
		}
		saw("9.9.9.9")
		g.Start(t.Context())
		plan := func() string { return g.Report().Plan.Sources[0].Public }
		if plan() != "9.9.9.9" {
			t.Fatalf("learnt %q", plan())
		}
		saw("9.9.9.10")
		was := asked.Load()
		g.look(t.Context(), errand{base: true, out: g.out})
		if who := g.sights.due(time.Now(), 1); plan() != "9.9.9.10" || len(who) != 1 || asked.Load() != was {
			t.Errorf("learnt %q, due %v", plan(), who)
		}
		g.look(t.Context(), errand{who: p.Senders, out: g.out})
		if who := g.sights.due(time.Now(), 1); len(who) > 0 || asked.Load() == was {
			t.Errorf("still due: %v", who)
		}
		// A restart knows the address.
		g.save(t.Context(), true)
		g = NewGate(p, c.outside(), memory, nil)
		g.remember(t.Context())
		if got := g.learnt.Sources[0].Public; got != "9.9.9.10" {
			t.Errorf("remembered %q", got)
		}
	})
}

package preflight

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// calm answers every question a sender domain in order gives rise to, without a
// network: what is measured is ours.
type calm struct {
	delay time.Duration
	spoil func(name string, t dns.Type) (rcode string) // "": as it should be; else NXDOMAIN or SERVFAIL

	keep bool

	mu    sync.Mutex
	asked int
	seen  []string    // with keep: each question
	times []time.Time // of all
}

func (c *calm) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	c.mu.Lock()
	c.asked++
	c.times = append(c.times, time.Now())
	rcode := ""
	if c.spoil != nil {
		rcode = c.spoil(name, t)
	}
	if c.keep {
		c.seen = append(c.seen, fmt.Sprintf("%s %d", name, t))
	}
	delay := c.delay
	c.mu.Unlock()
	if delay > 0 && !pause(ctx, delay) {
		return &dns.Answer{Question: name, Name: name, Type: t, Detail: "timeout"}, &dns.Error{Name: name, Type: t}
	}
	a := &dns.Answer{Question: name, Name: name, Type: t, Rcode: "NOERROR", Outcome: dns.NoData, Server: "test", TTL: 15 * time.Minute, NegTTL: 15 * time.Minute}
	give := func(r dns.RR) {
		r.Type, r.Name, a.Outcome, a.NegTTL = t, name, dns.Present, 0
		a.Records = append(a.Records, r)
	}
	switch {
	case rcode == "NXDOMAIN":
		a.Outcome, a.Rcode = dns.NoName, rcode
	case rcode != "":
		a.Outcome, a.Rcode, a.TTL, a.NegTTL = dns.Temp, rcode, 0, 0
		return a, &dns.Error{Name: name, Type: t}
	case t == dns.TypeA && (strings.HasSuffix(name, ".com") || strings.HasSuffix(name, ".arpa")):
		a.Outcome, a.Rcode = dns.NoName, "NXDOMAIN" // made up, to see whether that is admitted
	case t == dns.TypeNS || t == dns.TypeSOA:
		give(dns.RR{Host: "ns.example.net"})
	case t == dns.TypePTR:
		give(dns.RR{Host: "mail.example.net"})
	case t == dns.TypeMX:
		give(dns.RR{Pref: 10, Host: "mx.example.net"})
	case t == dns.TypeA && strings.HasPrefix(name, "mail"):
		give(dns.RR{Addr: netip.MustParseAddr("192.0.2.25")})
	case t == dns.TypeA:
		give(dns.RR{Addr: netip.MustParseAddr("192.0.2.10")})
	case t == dns.TypeTXT && strings.Contains(name, "_domainkey."):
		give(dns.RR{Text: soundKey})
	case t == dns.TypeTXT && strings.HasPrefix(name, "_dmarc."):
		give(dns.RR{Text: "v=DMARC1; p=none; rua=mailto:d@" + strings.TrimPrefix(name, "_dmarc.")})
	case t == dns.TypeTXT:
		give(dns.RR{Text: "v=spf1 ip4:192.0.2.25 -all"})
	}
	return a, nil
}

const soundKey = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxph91aKQ+z5bM6W5oq2wCy464KQEqyQEKKp+ZrQePI5HXGw+k2J0KeBc1Eis+rPrDkFR1dSfCZZfEyH7Fjh3YXVtsJDZRLTLLVRo+ZBhQB4X85b2wWV/cOvBdLLKSBKXDGGn6YuFfB+BwPRTB3OuuEf9FInAuCxkhYj/5wWRdV/MWq5jY3/38mYredr8qVy1gCdwWC6vfTb0obc3XUsk+4F7/dlH8soX7BEonpvVj4tOcTqLCkrbqoPsdyziJ3Ia9o19j/nV/GDPYH+EBkDbzmFvxDKBmRG5pzjyxxu2diQ0aRiKR7lkAozqqc/+phN20hKnKlwAFDrJjyQ2wS8HDwIDAQAB"

// outside is a world in which the resolver is all there is.
func (c *calm) outside() Outside {
	right := func() Clock { return Clock{Now: built(), Synced: true, Known: true} } // fake time is long ago
	return Outside{DNS: c, Bind: func(netip.Addr) error { return nil }, Clock: right}
}

// deny what this says, from now on.
func (c *calm) deny(which func(name string, t dns.Type) bool) {
	c.fault("NXDOMAIN", which)
}

func (c *calm) fault(rcode string, which func(name string, t dns.Type) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoil = func(name string, t dns.Type) string {
		if which(name, t) {
			return rcode
		}
		return ""
	}
}

func (c *calm) questions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// slow has answers take so long from now on.
func (c *calm) slow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// forget what was asked.
func (c *calm) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.times = 0, nil
}

// worst is the most that was asked in any second, wherever that begins.
func (c *calm) worst() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return worstSecond(c.times)
}

// worstSecond of questions in order of time.
func worstSecond(times []time.Time) (n int) {
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= time.Second {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

func manySenders(n int) Plan {
	p := Plan{
		Sources: []Source{{Name: "wan4", Bind: "192.0.2.25", EHLO: "mail.example.net"}},
		Special: Special{Prefixes: []SpecialPrefix{}, Names: []string{}},
		Policy:  Policy{}.Defaults(false),
	}
	for i := range n {
		p.Senders = append(p.Senders, Sender{Domain: fmt.Sprintf("shop%05d.example", i), Keys: []Key{{
			Selector: "k1", Record: soundKey,
		}}})
	}
	return p
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What the watcher promises for 10,000 sender domains: in no second more than
// perSecond questions, and no more than this kept in memory.
const watchMemory = 64 << 20

// BenchmarkWatch10000 lets the watcher run for an hour of fake time over 10,000
// sender domains, fails where it breaks a promise, and reports what it asked, keeps
// and logs. Of those in order every tenth lacks a DMARC record; of those in trouble
// each lacks that, its DKIM record and its SPF record.
func BenchmarkWatch10000(b *testing.B) {
	b.Run("in-order", func(b *testing.B) {
		watch10000(b, func(name string, _ dns.Type) bool {
			return strings.HasPrefix(name, "_dmarc.") && strings.HasSuffix(name, "0.example")
		})
	})
	b.Run("in-trouble", func(b *testing.B) {
		watch10000(b, func(name string, t dns.Type) bool { return t == dns.TypeTXT && strings.HasSuffix(name, ".example") })
	})
}

func watch10000(b *testing.B, lacks func(string, dns.Type) bool) {
	for b.Loop() {
		var most uint64
		var worst, asked, unknown int
		var said lineCount
		path := filepath.Join(b.TempDir(), "preflight.json")
		const span = time.Hour
		synctest.Test(&testing.T{}, func(*testing.T) {
			before := heap()
			c := &calm{delay: 10 * time.Millisecond}
			c.deny(lacks)
			g := NewGate(manySenders(10_000), c.outside(), FileMemory(path), slog.New(slog.NewTextHandler(&said, nil)))
			ctx, cancel := context.WithCancel(context.Background())
			g.Start(ctx)
			c.forget()
			done := make(chan error, 1)
			go func() { done <- g.Watch(ctx) }()
			for range 4 {
				time.Sleep(span / 4)
				synctest.Wait()
				worst, asked = max(worst, c.worst()), asked+c.questions()
				c.forget() // what is kept of them is not the gate's
				most = max(most, heap()-before)
			}
			unknown = g.count(Unknown)
			cancel()
			<-done
		})
		b.ReportMetric(float64(asked)/span.Seconds(), "questions/s")
		b.ReportMetric(float64(worst), "worst-second")
		b.ReportMetric(float64(most), "heap-bytes")
		b.ReportMetric(float64(said.Load()), "log-lines")
		b.ReportMetric(float64(unknown), "unknown")
		if st, err := os.Stat(path); err == nil {
			b.ReportMetric(float64(st.Size()), "file-bytes")
		}
		if worst > perSecond {
			b.Fatalf("%d questions in one second, %d at most", worst, perSecond)
		}
		if most > watchMemory {
			b.Fatalf("%d octets kept, %d at most", most, watchMemory)
		}
		if unknown > 0 {
			b.Fatalf("%d domains were never looked at", unknown)
		}
	}
}

// lineCount counts what is written to it.
type lineCount struct{ atomic.Int64 }

func (l *lineCount) Write(p []byte) (int, error) {
	l.Add(1)
	return len(p), nil
}

// The same with few enough domains to be looked at in every test.
func TestWatchKeepsItsBudget(t *testing.T) {
	const n = 200
	for name, lacks := range map[string]func(string, dns.Type) bool{
		"in order":   func(string, dns.Type) bool { return false },
		"in trouble": func(name string, q dns.Type) bool { return q == dns.TypeTXT && strings.HasSuffix(name, ".example") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := heap()
				c := &calm{delay: 10 * time.Millisecond}
				c.deny(lacks)
				g := NewGate(manySenders(n), c.outside(), nil, nil)
				g.Start(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				c.forget()
				go func() { done <- g.Watch(ctx) }()
				time.Sleep(4 * time.Minute)
				synctest.Wait()
				if w := c.worst(); w > perSecond {
					t.Errorf("%d questions in one second", w)
				}
				if k := g.count(Unknown); k > 0 {
					t.Errorf("%d of %d not looked at after %d questions", k, n, c.questions())
				}
				c.forget()
				if kept := int64(heap()) - int64(before); kept > n*watchMemory/10_000+2<<20 {
					t.Errorf("%d octets kept", kept)
				}
				cancel()
				<-done
			})
		})
	}
}

// manyWorld is a gate over so many senders in fake time, and what it asked.
func manyWorld(t *testing.T, n int, m Memory, test func(t *testing.T, g *Gate, c *calm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &calm{delay: 10 * time.Millisecond}
		g := NewGate(manySenders(n), c.outside(), m, nil)
		g.Start(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Watch(ctx) }()
		test(t, g, c)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (g *Gate) count(s Status) (n int) {
	for _, v := range g.Report().Senders {
		if v.Status == s {
			n++
		}
	}
	return n
}

// free waits until mail does not have to wait any more: a failure is looked at
// every few minutes, and what receivers may hold of it takes a quarter of an hour.
func free(t *testing.T, g *Gate, awaited string) {
	t.Helper()
	late := time.After(30 * time.Minute)
	for {
		changed := g.Changed()
		if !g.Waits(awaited) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s still waits", awaited)
		}
	}
}

func mailOf(n int) Mail {
	d := fmt.Sprintf("shop%05d.example", n)
	return Mail{Author: d, Envelope: d}
}

// With very many domains the start waits for a few, the watcher for its budget,
// and nobody for a domain whose mail is there.
func TestManySenders(t *testing.T) {
	const n = 400
	manyWorld(t, n, nil, func(t *testing.T, g *Gate, c *calm) {
		began := time.Now()
		if known := g.count(Pass); known != startAtOnce {
			t.Errorf("%d known after the start", known)
		}
		if r := g.Route(t.Context(), mailOf(n-1), "example.com", nil); r.Source == nil || time.Since(began) > time.Second {
			t.Errorf("%+v after %s: mail of one that nobody looked at yet", r, time.Since(began))
		}
		time.Sleep(5 * time.Minute)
		if known := g.count(Pass); known != n {
			t.Errorf("%d known five minutes later", known)
		}
		for _, v := range g.Report().Senders {
			if len(v.Findings) > 3 {
				t.Fatalf("%d findings of %s in a report of %d domains", len(v.Findings), v.Name, n)
			}
		}
		asked := c.questions()
		g.Route(t.Context(), mailOf(7), "example.com", nil)
		if c.questions() != asked {
			t.Error("asked for a domain that is known")
		}
	})
}

// Mail that waits comes first, and is set free when its record is there.
func TestWaitingMailComesFirst(t *testing.T) {
	const n = 200
	manyWorld(t, n, nil, func(t *testing.T, g *Gate, c *calm) {
		time.Sleep(20 * time.Minute)
		var wrong atomic.Bool
		wrong.Store(true)
		c.deny(func(name string, q dns.Type) bool {
			return wrong.Load() && q == dns.TypeTXT && strings.HasPrefix(name, "shop0") && strings.HasSuffix(name, "7.example")
		})
		time.Sleep(2 * time.Hour) // twenty domains fail by now
		if bad := g.count(Fail); bad != n/10 {
			t.Fatalf("%d fail", bad)
		}
		r := g.Route(t.Context(), mailOf(107), "example.com", nil)
		if r.Awaits == "" || !g.Waits(r.Awaits) {
			t.Fatalf("%+v", r)
		}
		who, _ := g.sender(mailOf(107))
		s, _ := g.sights.get(who.key())
		time.Sleep(time.Until(s.next) - time.Second) // and others are overdue
		if who := g.sights.due(s.next, 1); len(who) != 1 || who[0].Domain != mailOf(107).Author {
			t.Errorf("first is %v", who)
		}
		wrong.Store(false)
		free(t, g, r.Awaits)
	})
}

// A sender that no configuration names is followed while its mail waits, and not
// any longer.
func TestWaitingStrangersAreFollowed(t *testing.T) {
	manyWorld(t, 1, nil, func(t *testing.T, g *Gate, c *calm) {
		var wrong atomic.Bool
		wrong.Store(true)
		asked := 0
		c.deny(func(name string, q dns.Type) bool {
			if name == "stranger.example" && q == dns.TypeTXT {
				asked++
				return wrong.Load()
			}
			return false
		})
		m := Mail{Author: "stranger.example", Envelope: "stranger.example"}
		r := g.Route(t.Context(), m, "example.com", nil)
		if r.Awaits == "" {
			t.Fatalf("%+v", r)
		}
		wrong.Store(false)
		free(t, g, r.Awaits)
		time.Sleep(2 * time.Hour)
		c.mu.Lock()
		n := asked
		c.mu.Unlock()
		time.Sleep(24 * time.Hour)
		c.mu.Lock()
		defer c.mu.Unlock()
		if asked != n {
			t.Errorf("%d more questions for a stranger whose mail is gone", asked-n)
		}
	})
}

// A restart knows what was known, of those too that it did not come to yet.
func TestManySendersAfterARestart(t *testing.T) {
	const n = 300
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	for round := range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := &calm{}
			if round == 0 {
				c.deny(func(name string, q dns.Type) bool { return name == "shop00250.example" && q == dns.TypeTXT })
			}
			g := NewGate(manySenders(n), c.outside(), m, nil)
			g.Start(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- g.Watch(ctx) }()
			if round == 0 {
				time.Sleep(10 * time.Minute)
			}
			if good, bad := g.count(Pass), g.count(Fail); good != n-1 || bad != 1 {
				t.Errorf("start %d: %d pass, %d fail", round, good, bad)
			}
			if round > 0 && !g.Report().Senders[n-1].Stale {
				t.Error("who was not looked at yet is not stale")
			}
			cancel()
			<-done
		})
	}
	if st, err := os.Stat(string(m.(fileMemory))); err != nil || st.Size() > n*1500 {
		t.Errorf("the history takes %d octets, %v", st.Size(), err)
	}
}

// dying answers so many questions and then none.
type dying struct {
	*calm
	left int
}

func (d *dying) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	d.mu.Lock()
	d.left--
	dead := d.left < 0
	d.mu.Unlock()
	if !dead {
		return d.calm.Query(ctx, name, t)
	}
	<-ctx.Done()
	return &dns.Answer{Question: name, Name: name, Type: t, Detail: "timeout"}, &dns.Error{Name: name, Type: t}
}

func (d *dying) Ask(ctx context.Context, _ netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	return d.Query(ctx, name, t)
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns/dnstest"
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

// costly is one source and five sender domains before real servers, of which one
// denies what the zone's own has: a second opinion is asked for.
func costly(t testing.TB) (*Plan, Outside, *dnstest.Server) {
	zones := []string{baseline, reverse, ". SOA a.example. b.example. 1 2 3 4 1\n"}
	p := manySenders(5)
	for i := range p.Senders {
		p.Senders[i].Domain = fmt.Sprintf("shop%d.test", i)
		zone := strings.NewReplacer("example.net.", p.Senders[i].Domain+".", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", soundKey[:200]+"\" \""+soundKey[200:]).Replace(baseline)
		if i == 0 {
			zone = strings.Replace(zone, "_dmarc TXT", "; none: TXT", 1)
		}
		zones = append(zones, zone)
	}
	s, err := dnstest.Start(zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := s.Client()
	return &p, Outside{DNS: c, Asker: c, AuthorityPort: s.Addr().Port(), Bind: func(netip.Addr) error { return nil },
		Landmarks: Landmarks{Parents: []string{"shop1.test"}}}, s
}

// Real servers count as the summary does: each question once to the resolver, and
// once to a name server.
func TestCostAtTheServer(t *testing.T) {
	p, out, s := costly(t)
	fs, told := Run(t.Context(), p, out)
	if r := Judge(p, fs, time.Now()); r.Overall != Degraded || !slices.Contains(r.Senders[0].Because, "DMARC-PRESENT") {
		t.Errorf("%s: %v %v", r.Overall, r.Sources[0].Because, r.Senders[0].Because)
	}
	seen, second := map[dnstest.Question]int{}, 0
	for _, q := range s.Asked() {
		q.At = time.Time{}
		if seen[q]++; seen[q] > 1 {
			t.Errorf("%q was asked %d times (of the resolver: %t)", q.Text, seen[q], q.Recursive)
		}
		if !q.Recursive {
			second++
		}
	}
	if n := len(s.Asked()); n != told || second == 0 {
		t.Errorf("%d questions came, %d of them to name servers; the summary tells of %d", n, second, told)
	}
}

// BenchmarkRun is the same run where every answer takes 30 ms, and where none comes.
// It fails where one takes longer than 3 s, or the other than 30 s.
func BenchmarkRun(b *testing.B) {
	for name, c := range map[string]struct {
		behave string
		delay  time.Duration
		limit  time.Duration
	}{"30ms": {"", 30 * time.Millisecond, 3 * time.Second}, "dead": {"drop", 0, runTime}} {
		b.Run(name, func(b *testing.B) {
			p, out, s := costly(b)
			s.Delay(c.delay)
			if err := s.Behave(".", c.behave); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				began := time.Now()
				_, told := Run(b.Context(), p, out)
				if took := time.Since(began); took > c.limit {
					b.Fatalf("it took %s, %s at most", took, c.limit)
				}
				b.ReportMetric(float64(told), "questions")
			}
			b.ReportMetric(float64(len(s.Asked()))/float64(b.N), "at-the-server")
		})
	}
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

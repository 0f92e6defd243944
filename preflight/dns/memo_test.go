package dns_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// slow answers each question after a second.
type slow struct {
	mu    sync.Mutex
	asked int
	ended int // by their context
}

func (s *slow) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	a := &dns.Answer{Question: name, Type: t, Name: name, Outcome: dns.Present}
	select {
	case <-time.After(time.Second):
		return a, nil
	case <-ctx.Done():
		s.mu.Lock()
		s.ended++
		s.mu.Unlock()
		a.Outcome = dns.Temp
		return a, &dns.Error{Name: name, Type: t, Detail: "given up"}
	}
}

func TestMemoAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		m := dns.NewMemo(s)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				name := []string{"a.test", "A.test.", "a.test.", `\097.test`}[i%4]
				if a, err := m.Query(t.Context(), name, dns.TypeA); err != nil || a.Outcome != dns.Present {
					t.Error(err)
				}
			})
		}
		all.Wait()
		m.Query(t.Context(), "a.test", dns.TypeA)
		m.Query(t.Context(), "a.test", dns.TypeMX)
		m.Query(t.Context(), "b.test", dns.TypeA)
		if s.asked != 3 || m.Questions() != 3 {
			t.Errorf("asked %d times, counted %d, want 3", s.asked, m.Questions())
		}
	})
}

func TestMemoWaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		m := dns.NewMemo(s)
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			a, err := m.Query(hasty, "a.test", dns.TypeA)
			if !errors.Is(err, dns.ErrTemporary) || a.Detail != "timeout" {
				t.Errorf("the hasty one: %v", err)
			}
		})
		all.Go(func() {
			if _, err := m.Query(t.Context(), "a.test", dns.TypeA); err != nil {
				t.Errorf("the patient one: %v", err)
			}
		})
		all.Wait()
		if s.asked != 1 || s.ended != 0 {
			t.Errorf("asked %d times, %d given up", s.asked, s.ended)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Query(gone, "b.test", dns.TypeA); !errors.Is(err, dns.ErrTemporary) {
			t.Error(err)
		}
		synctest.Wait()
		if s.ended != 1 {
			t.Error("a question nobody waits for goes on")
		}
		if _, err := m.Query(t.Context(), "b.test", dns.TypeA); err != nil {
			t.Errorf("asked again after all had left: %v", err)
		}
	})
}

// answers says the same to every question, and counts them.
type answers struct {
	dns.Answer
	asked int
	panic bool
}

func (s *answers) Query(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	s.asked++
	if s.panic {
		panic("bad answer")
	}
	a := s.Answer
	a.Question, a.Name, a.Type = name, name, t
	if a.Outcome == dns.Present {
		return &a, nil
	}
	return &a, &dns.Error{Name: name, Type: t, Outcome: a.Outcome}
}

// A cache keeps an answer as long as its TTL says, and a denial for a minute at most.
// Of what is neither nobody hears who did not wait for it.
func TestCacheKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		answer dns.Answer
		kept   time.Duration
	}{
		"an address":    {dns.Answer{Outcome: dns.Present, TTL: 5 * time.Minute}, 5 * time.Minute},
		"for days":      {dns.Answer{Outcome: dns.Present, TTL: 100 * time.Hour}, time.Hour},
		"not to cache":  {dns.Answer{Outcome: dns.Present}, 0},
		"no such type":  {dns.Answer{Outcome: dns.NoData, NegTTL: time.Hour}, dns.MaxDenial},
		"no such name":  {dns.Answer{Outcome: dns.NoName, NegTTL: 10 * time.Second}, 10 * time.Second},
		"a denial at 0": {dns.Answer{Outcome: dns.NoName, TTL: time.Hour}, 0},
		"silence":       {dns.Answer{Outcome: dns.Temp, TTL: time.Hour, NegTTL: time.Hour}, 0},
		"a loop":        {dns.Answer{Outcome: dns.Broken, TTL: time.Hour, NegTTL: time.Hour}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &answers{Answer: c.answer}
				m := dns.NewCache(s, 1<<20)
				ask := func() int {
					a, err := m.Query(t.Context(), "A.test.", dns.TypeMX)
					if a.Outcome != c.answer.Outcome || (err == nil) != (a.Outcome == dns.Present) {
						t.Errorf("%v %v", a.Outcome, err)
					}
					return s.asked
				}
				if ask(); c.kept > 0 {
					time.Sleep(c.kept - time.Nanosecond)
					if n := ask(); n != 1 {
						t.Errorf("asked %d times before its time", n)
					}
					time.Sleep(time.Nanosecond)
				}
				if n := ask(); n != 2 {
					t.Errorf("asked %d times, want 2", n)
				}
			})
		})
	}
}

func TestCacheIsBounded(t *testing.T) {
	const room = 10_000 // octets: some twenty small answers
	s := &answers{Answer: dns.Answer{Outcome: dns.Present, TTL: time.Hour}}
	m := dns.NewCache(s, room)
	for round := range 2 {
		for i := range 100 {
			m.Query(t.Context(), fmt.Sprintf("a%d.test", i), dns.TypeA)
		}
		if round == 1 && s.asked < 160 {
			t.Errorf("of 200 questions %d were asked: more was kept than there is room for", s.asked)
		}
	}
	n := s.asked
	if m.Query(t.Context(), "a99.test", dns.TypeA); s.asked != n {
		t.Error("the latest is not kept")
	}
	s.Records = make([]dns.RR, 1000)
	for range 2 {
		m.Query(t.Context(), "large.test", dns.TypeA)
	}
	if s.asked != n+2 {
		t.Error("an answer is kept that is larger than the room for all")
	}
}

func TestCacheOutlivesAPanic(t *testing.T) {
	s := &answers{Answer: dns.Answer{Outcome: dns.Present, TTL: time.Hour}, panic: true}
	m := dns.NewCache(s, 1<<20)
	if a, err := m.Query(t.Context(), "a.test", dns.TypeA); !errors.Is(err, dns.ErrTemporary) || a.Outcome != dns.Temp {
		t.Errorf("%+v %v", a, err)
	}
	s.panic = false
	if _, err := m.Query(t.Context(), "a.test", dns.TypeA); err != nil {
		t.Error(err)
	}
}

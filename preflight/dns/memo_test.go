package dns_test

import (
	"context"
	"errors"
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

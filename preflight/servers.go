package preflight

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// servers asks single servers, each question once a run. One that has been silent
// is not asked again: a closed port 53 costs its timeout once.
type servers struct {
	asker dns.Asker
	slots chan struct{}

	mu sync.Mutex
	by map[netip.AddrPort]*server
}

const (
	silence = 2 * time.Second // a server must have had so long to be taken for dead
	hearing = 3 * time.Second // and has no longer
)

type server struct {
	memo   *dns.Memo
	silent bool
}

func (s *servers) Ask(ctx context.Context, at netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	s.mu.Lock()
	one := s.by[at]
	if one == nil {
		one = &server{}
		line := resolverFunc(func(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
			return s.put(ctx, one, at, name, t)
		})
		one.memo = dns.NewMemo(&turnstile{r: line, slots: s.slots})
		s.by[at] = one
	}
	silent := one.silent
	s.mu.Unlock()
	if silent {
		a := &dns.Answer{Question: name, Name: name, Type: t, Outcome: dns.Temp, Detail: "silent"}
		return a, &dns.Error{Name: name, Type: t, Outcome: dns.Temp, Detail: a.Detail}
	}
	return one.memo.Query(ctx, name, t)
}

// put the question, once there is room for it: the time that it waited for its turn
// is not the server's, and neither is it when all who asked have left.
func (s *servers) put(ctx context.Context, one *server, at netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	limited, cancel := context.WithTimeout(ctx, hearing)
	defer cancel()
	began := time.Now()
	a, err := s.asker.Ask(limited, at, name, t)
	if ctx.Err() == nil && a.Rcode == "" && a.Outcome == dns.Temp && time.Since(began) >= silence {
		s.mu.Lock()
		one.silent = true
		s.mu.Unlock()
	}
	return a, err
}

// questions tells how many were put to them.
func (s *servers) questions() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.by {
		n += one.memo.Questions()
	}
	return n
}

// resolverFunc is a function that is a dns.Resolver.
type resolverFunc func(ctx context.Context, name string, t dns.Type) (*dns.Answer, error)

func (f resolverFunc) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	return f(ctx, name, t)
}

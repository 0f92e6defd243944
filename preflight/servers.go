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

// silence is how long a server must have had for its answer to be taken for dead.
const silence = 2 * time.Second

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
			return s.asker.Ask(ctx, at, name, t)
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
	began := time.Now()
	a, err := one.memo.Query(ctx, name, t)
	if a.Rcode == "" && a.Outcome == dns.Temp && time.Since(began) >= silence {
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

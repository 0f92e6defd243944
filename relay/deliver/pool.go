package deliver

import (
	"context"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"
)

// idleFor is how long an open connection waits for mail of another destination.
const idleFor = 3 * time.Second

// pool keeps sessions that have no work, for a moment: mail for another domain of
// the same exchanger, or the next message for this one, needs no new connection.
type pool struct {
	most   int // of them, in all
	mu     sync.Mutex
	idle   map[place][]*session
	n      int
	closed bool
}

// put a session aside, or end it in good order when it may not wait.
func (p *pool) put(s *session) {
	if !s.usable() || s.dirty || !p.add(s) {
		s.quit()
	}
}

func (p *pool) add(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.n >= p.most || !s.unhook() {
		return false
	}
	if p.idle == nil {
		p.idle = map[place][]*session{}
	}
	p.idle[s.place()] = append(p.idle[s.place()], s)
	p.n++
	s.expiry = time.AfterFunc(idleFor, func() {
		if p.remove(s) {
			s.quit()
		}
	})
	return true
}

// take a session that waits and will do for one of hops and for mail to the domain,
// the first that there is. From then on it ends with ctx.
func (p *pool) take(ctx context.Context, hops []hop, domain string) *session {
	for _, h := range hops {
		for s := p.last(h, domain); s != nil; s = p.last(h, domain) {
			s.expiry.Stop()
			if s.usable() && s.silent() {
				s.unhook = context.AfterFunc(ctx, s.abort)
				return s
			}
			s.close() // the peer has gone, or is about to say so
		}
	}
	return nil
}

func (p *pool) last(h hop, domain string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := h.place()
	for i, s := range slices.Backward(p.idle[at]) {
		if s.serves(h) && s.admits(domain) {
			p.drop(at, i)
			return s
		}
	}
	return nil
}

func (p *pool) remove(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.idle[s.place()] {
		if o == s {
			p.drop(s.place(), i)
			return true
		}
	}
	return false
}

func (p *pool) drop(at place, i int) {
	all := slices.Delete(p.idle[at], i, i+1)
	if len(all) == 0 {
		delete(p.idle, at)
	} else {
		p.idle[at] = all
	}
	p.n--
}

// end all of them. None is kept from then on.
func (p *pool) end() {
	p.mu.Lock()
	var all []*session
	for _, some := range p.idle {
		all = append(all, some...)
	}
	p.idle, p.n, p.closed = nil, 0, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		s.expiry.Stop()
		wg.Go(s.quit)
	}
	wg.Wait()
}

// serves tells whether a session is as one over this hop would be.
func (s *session) serves(h hop) bool {
	a, b := s.need, h.need
	return s.place() == h.place() && s.host == h.host && s.ehlo == h.ehlo && s.implicit == h.implicit &&
		a.Level == b.Level && slices.Equal(a.Names, b.Names) &&
		(a.Roots == b.Roots || a.Roots != nil && b.Roots != nil && a.Roots.Equal(b.Roots)) &&
		(s.login == h.login || s.login != nil && h.login != nil && *s.login == *h.login)
}

// admits tells whether mail for a domain may go over the session, besides that for
// the domains before it (RFC 9422 section 4.3: RCPTDOMAINMAX is of the session).
func (s *session) admits(domain string) bool {
	return len(s.domains) == 0 || slices.Contains(s.domains, domain) || len(s.domains) < s.limit("RCPTDOMAINMAX", math.MaxInt)
}

// admit mail for a domain.
func (s *session) admit(domain string) {
	if !slices.Contains(s.domains, domain) {
		s.domains = append(s.domains, domain)
	}
}

// silent tells whether the peer has neither said anything nor closed. It takes
// nothing off the connection.
func (s *session) silent() bool {
	c, ok := s.raw.(syscall.Conn)
	if !ok || s.in.buffered() > 0 {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
		return true
	})
	return err == nil && quiet
}

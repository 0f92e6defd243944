package deliver

import (
	"context"
	"sync"
	"syscall"
	"time"
)

const (
	// idleFor is how long an open connection waits for mail of another destination.
	idleFor = 3 * time.Second
	// idleMost is how many of them wait, in all.
	idleMost = 200
)

// pool keeps sessions that have no work, for a moment: mail for another domain of
// the same exchanger, or the next message for this one, needs no new connection.
type pool struct {
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
	if p.closed || p.n >= idleMost || !s.unhook() {
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

// take a session that waits at one of the places of hops, the first that there is.
// From then on it ends with ctx.
func (p *pool) take(ctx context.Context, hops []hop) *session {
	for _, h := range hops {
		for s := p.last(h.place()); s != nil; s = p.last(h.place()) {
			s.expiry.Stop()
			if s.silent() {
				s.unhook = context.AfterFunc(ctx, s.abort)
				return s
			}
			s.close() // the peer has gone, or is about to say so
		}
	}
	return nil
}

func (p *pool) last(at place) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[at]
	if len(all) == 0 {
		return nil
	}
	s := all[len(all)-1]
	p.drop(at, len(all)-1)
	return s
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
	all := p.idle[at]
	all[i] = nil
	if all = append(all[:i], all[i+1:]...); len(all) == 0 {
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

// silent tells whether the peer has neither said anything nor closed. It takes
// nothing off the connection.
func (s *session) silent() bool {
	c, ok := s.raw.(syscall.Conn)
	if !ok {
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

package preflight

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"smtprelay/preflight/dns"
)

// perSecond is the most that the watcher asks of DNS in any second. With so many
// sender domains that this is not enough, each is looked at less often.
const perSecond = 50

// What is really allowed leaves room for questions that are late and come closer
// to the next, and for those of mail servers' names that connecting to them takes.
const (
	inWindow = 44                      // questions
	window   = 1100 * time.Millisecond // in any such time
	gap      = window / inWindow       // between two, where there are many
)

// budget hands out the moments at which a question may be asked. What cannot wait
// is asked at once and leaves less for what can, which gets one half at least. After
// a pause a few go at once, so that one look takes no longer than it has to; many
// come one by one, for a burst of ours is a burst at somebody's name servers.
type budget struct {
	turn chan struct{} // who is first in line has it

	mu    sync.Mutex
	past  [inWindow]spent // a ring: the oldest stands at i
	i     int
	last  time.Time
	burst int // that may still go at once
}

// spent is one question.
type spent struct {
	at     time.Time
	waited bool
}

func newBudget() *budget { return &budget{turn: make(chan struct{}, 1)} }

// wait until the next question may be asked, or ctx ends.
func (b *budget) wait(ctx context.Context) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-b.turn }()
	for {
		b.mu.Lock()
		now := time.Now()
		d := b.free(now).Sub(now)
		if d <= 0 {
			b.note(spent{now, true})
		}
		b.mu.Unlock()
		if d <= 0 || !pause(ctx, d) {
			return
		}
	}
}

// free is the first moment at which one that can wait may be asked. b.mu is held.
func (b *budget) free(now time.Time) time.Time {
	if now.Sub(b.last) >= window {
		b.burst = inWindow
	}
	at := b.past[b.i].at.Add(window)
	if even := b.last.Add(gap); b.burst == 0 && at.Before(even) {
		at = even
	}
	return at
}

// note a question in the place of the oldest. b.mu is held.
func (b *budget) note(q spent) {
	b.past[b.i] = q
	b.i = (b.i + 1) % inWindow
	if q.waited {
		b.last, b.burst = q.at, max(b.burst-1, 0)
	}
}

// spend notes a question that did not wait.
func (b *budget) spend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, n := time.Now(), 0
	for _, q := range b.past {
		if !q.waited && now.Sub(q.at) < window {
			n++
		}
	}
	if n < inWindow/2 {
		b.note(spent{now, false})
	}
}

// metered counts against the budget what goes out to DNS, and where it may wait
// has it wait.
type metered struct {
	r dns.Resolver
	a dns.Asker
	b *budget

	waits bool
}

func (m metered) Query(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	return m.r.Query(m.pace(ctx), name, t)
}

func (m metered) Ask(ctx context.Context, server netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	return m.a.Ask(m.pace(ctx), server, name, t)
}

// pace waits if need be. What a question costs beyond one packet is paid later.
func (m metered) pace(ctx context.Context) context.Context {
	if m.waits {
		m.b.wait(ctx)
	} else {
		m.b.spend()
	}
	var first atomic.Bool
	return dns.OnPacket(ctx, func() {
		if first.Swap(true) {
			m.b.spend()
		}
	})
}

// within is the way to the world inside the budget.
func (o Outside) within(b *budget, waits bool) Outside {
	m := metered{o.DNS, o.Asker, b, waits}
	o.DNS = m
	if o.Asker != nil {
		o.Asker = m
	}
	return o
}

package preflight

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// perSecond is how many questions the watcher asks for sender domains. With so
// many of them that this is not enough, each is looked at less often.
const perSecond = 50

// debt is how far what cannot wait may hold up what can.
const debt = 2 * time.Second

// budget hands out the moments at which a question may be asked. What cannot
// wait is asked at once and leaves less for what can.
type budget struct {
	mu   sync.Mutex
	next time.Time // the first moment that is free
}

// take books the next question and says how long it has to wait, if it can.
func (b *budget) take(now time.Time, waits bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next.Before(now) {
		b.next = now
	}
	at := b.next
	if waits || at.Sub(now) < debt {
		b.next = at.Add(time.Second / perSecond)
	}
	return at.Sub(now)
}

// free is when it is worth beginning with what can wait.
func (b *budget) free() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next.Add(-debt)
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
	m.pace(ctx)
	return m.r.Query(ctx, name, t)
}

func (m metered) Ask(ctx context.Context, server netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	m.pace(ctx)
	return m.a.Ask(ctx, server, name, t)
}

func (m metered) pace(ctx context.Context) {
	if d := m.b.take(time.Now(), m.waits); m.waits {
		pause(ctx, d)
	}
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

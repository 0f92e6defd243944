package queue

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// ttl is how long a destination stays leased when who holds it dies without a
	// word; a living one renews three times in it.
	ttl = 2 * time.Minute
	// lookEvery is how often it is looked whether there is more for a destination
	// whose workers are busy with what they have.
	lookEvery = 2 * time.Second
)

// lease is one that is renewed until it is given up.
type lease struct {
	Lease
	s      *Scheduler
	ctx    context.Context // ends when the lease is lost or given up
	cancel context.CancelFunc
	look   func() // called every lookEvery

	mu      sync.Mutex // held while it is renewed
	renewed time.Time
	timer   *time.Timer
}

// keepLease renews l as long as work lasts. The context returned ends when it is lost.
func (s *Scheduler) keepLease(work context.Context, l Lease, look func()) (context.Context, *lease) {
	k := &lease{Lease: l, s: s, look: look, renewed: time.Now()}
	k.ctx, k.cancel = context.WithCancel(work)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(lookEvery, k.tick)
	return k.ctx, k
}

func (k *lease) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return
	}
	if time.Since(k.renewed) >= ttl/3 {
		k.renew()
	}
	k.look()
	k.timer.Reset(lookEvery)
}

func (k *lease) renew() {
	k.renewed = time.Now()
	err := k.s.w.Renew(k.ctx, k.Lease, ttl)
	if errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrUnhealthy) {
		k.s.log.Warn("delivery broken off", "domain", k.Destination, "err", err)
		k.cancel()
	}
}

// end keeping it: it is not renewed any more.
func (k *lease) end() {
	k.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer.Stop()
}

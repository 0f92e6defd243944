package preflight

import (
	"context"
	"time"
)

// LookNow has Watch look at once and returns what is believed then. Those who
// ask while a look is under way wait for the next one, all for the same. It
// fails when ctx ends first.
func (g *Gate) LookNow(ctx context.Context) (*Report, error) {
	done := make(chan *Report, 1)
	select {
	case g.asked <- done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rest waits for a while, or until somebody asks for a look: those are returned.
// It is false when ctx ended first.
func (g *Gate) rest(ctx context.Context, d time.Duration) (asking []chan<- *Report, alive bool) {
	if ctx.Err() != nil {
		return nil, false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case one := <-g.asked:
		asking = append(asking, one)
	case <-g.wake: // there is news of our addresses
	case <-g.evidence.woken: // or a remote has named a check
	case <-g.sights.poke: // or a sender may be due earlier
	case <-ctx.Done():
		return nil, false
	}
	for {
		select {
		case one := <-g.asked:
			asking = append(asking, one)
		default:
			return asking, true
		}
	}
}

// hurry makes all keys that do not sign due.
func (k *keys) hurry(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.by {
		if !s.live {
			s.next = now
		}
	}
}

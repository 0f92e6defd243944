package submit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	storing = 128              // messages on their way to disk at once; one sync serves all there are
	queuing = 10 * time.Second // how long others wait for a place before their clients are to come again
)

// press is the way to the disk. Where the disk is slow more and more would wait
// for it, until clients, and we, give up on what may have been stored already.
// So only storing are on their way at once, the others wait in the order they
// came and not for long, and while that takes half of queuing no new message is
// begun.
type press struct {
	log   *slog.Logger
	place chan struct{}

	mu      sync.Mutex
	waiting int
	waited  time.Duration // by who last got a place, or gave up
	refused int           // in all
	slow    bool          // and the log says so
}

func newPress(log *slog.Logger) *press {
	return &press{log: log, place: make(chan struct{}, storing)}
}

// enter waits for a place, which leave gives back.
func (p *press) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-p.place }
	select {
	case p.place <- struct{}{}:
		return leave, nil
	default:
	}
	p.note(func() { p.waiting++ })
	from, late := time.Now(), time.NewTimer(queuing)
	defer late.Stop()
	select {
	case p.place <- struct{}{}:
	case <-late.C:
		err = p.refuse(func() bool { return true })
	case <-ctx.Done():
		err = ctx.Err()
	}
	over := false
	p.note(func() {
		p.waited = time.Since(from)
		if p.waiting--; p.waiting == 0 {
			p.waited, over, p.slow = 0, p.slow, false
		}
	})
	if over {
		p.log.Info("disk keeps up again")
	}
	return leave, err
}

// room refuses a new message while those that have come wait long already.
func (p *press) room() error {
	return p.refuse(func() bool { return p.waiting > 0 && p.waited > queuing/2 })
}

// refuse has a client come again where that is so (RFC 3463 section 3.4: excessive
// load). The log says once that it begins.
func (p *press) refuse(so func() bool) error {
	refused, begins, waiting := false, false, 0
	p.note(func() {
		if refused, waiting = so(), p.waiting; refused {
			p.refused++
			begins, p.slow = !p.slow, true
		}
	})
	if begins {
		p.log.Warn("disk is slow", "reason", fmt.Sprintf("%d messages are being stored, %d wait; clients are told to come again", len(p.place), waiting))
	}
	if refused {
		return refuse(451, "4.3.2", "too many messages wait for the disk, try again later")
	}
	return nil
}

// note is quick: nothing is written under the lock.
func (p *press) note(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
}

package disk

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// Claim leases destinations that have something due, those first that waited
// longest. A lease that ran out is given to the next who asks.
func (s *Store) Claim(ctx context.Context, n int, ttl time.Duration) ([]queue.Lease, error) {
	for {
		done, err := s.use()
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		ls := s.claim(n, ttl)
		wait := never
		if len(s.index.agenda) > 0 {
			wait = max(0, s.index.agenda[0].at-s.ran.now())
		}
		changed := s.index.changed
		s.index.waiters++
		s.mu.Unlock()
		done()
		if len(ls) == 0 {
			err = sleep(ctx, wait, changed)
		}
		s.mu.Lock()
		s.index.waiters--
		s.mu.Unlock()
		if len(ls) > 0 || err != nil {
			return ls, err
		}
	}
}

// sleep until d went by, something changed, or ctx ended.
func sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// claim takes what is due from the agenda. s.mu is held.
func (s *Store) claim(n int, ttl time.Duration) (ls []queue.Lease) {
	x, now := &s.index, s.ran.now()
	for len(ls) < n && len(x.agenda) > 0 && x.agenda[0].at <= now {
		d := x.agenda[0]
		if d.token != 0 {
			x.vacate(d, now)
			continue
		}
		d.ripen(now)
		s.leases++
		d.token, d.until = s.leases, now+ttl
		x.fix(d)
		ls = append(ls, queue.Lease{Destination: d.name, Token: d.token})
	}
	return ls
}

// leased returns the destination of a lease that still holds. s.mu is held.
func (s *Store) leased(l queue.Lease) (*destination, error) {
	d := s.index.dests[l.Destination]
	if d == nil || l.Token == 0 || d.token != l.Token {
		return nil, fmt.Errorf("%s: %w", l.Destination, queue.ErrLeaseLost)
	}
	return d, nil
}

// Renew extends a lease, also one that ran out and was given to nobody yet.
func (s *Store) Renew(_ context.Context, l queue.Lease, ttl time.Duration) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.leased(l)
	if err != nil {
		return err
	}
	d.until = s.ran.now() + ttl
	s.index.fix(d)
	return nil
}

// Release ends a lease.
func (s *Store) Release(_ context.Context, l queue.Lease, rest time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.leased(l)
	if err != nil {
		return err
	}
	s.index.vacate(d, s.ran.now()+max(rest, 0))
	return nil
}

// Take hands out due jobs, oldest first.
func (s *Store) Take(ctx context.Context, l queue.Lease, n int) ([]queue.Job, error) {
	done, err := s.use()
	if err != nil {
		return nil, err
	}
	defer done()
	var jobs []queue.Job
	for len(jobs) < n {
		if err := ctx.Err(); err != nil {
			return jobs, err
		}
		e, items, err := s.pick(l)
		if err != nil || e == nil {
			return jobs, err
		}
		j, err := s.read(e, func(it *item) bool { return it.token == l.Token && slices.Contains(items, it) })
		switch {
		case errors.Is(err, queue.ErrDamaged), errors.Is(err, queue.ErrNotFound):
			continue // it is in quarantine, or was removed this moment
		case err != nil && s.health() != nil:
			return jobs, err
		case err != nil:
			s.putAside(l, items, err)
		case len(j.Recipients) > 0:
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// unreadable is how long a message waits that the disk would not give.
const unreadable = 5 * time.Minute

// putAside lets recipients wait whose records could not be read, though nothing
// says that they are damaged, so that they do not hold up the destination's other
// mail. Only the index knows: after a restart they are due.
func (s *Store) putAside(l queue.Lease, items []*item, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Warn("message not readable", "id", items[0].e.id, "err", why)
	for _, it := range items {
		if it.token == l.Token && it.state == queue.Waiting {
			s.index.place(it, it.state, s.ran.now()+unreadable, it.tries)
		}
	}
}

// pick takes the due recipients of the oldest message of a destination.
func (s *Store) pick(l queue.Lease) (e *entry, items []*item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.leased(l)
	if err != nil {
		return nil, nil, err
	}
	d.ripen(s.ran.now())
	for len(d.ready.items) > 0 && (e == nil || d.ready.items[0].e == e) {
		it := heap.Pop(&d.ready).(*item)
		it.token = l.Token
		d.taken[it] = struct{}{}
		e, items = it.e, append(items, it)
	}
	s.index.fix(d)
	return e, items, nil
}

// read reads a message and those of its recipients that want selects, if any, Age
// and Ours up to now. Damage of any of its records puts the message away.
func (s *Store) read(e *entry, want func(*item) bool) (queue.Job, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.mu.Lock()
	var ns []int
	for _, it := range e.items {
		if want(it) {
			ns = append(ns, it.n)
		}
	}
	s.mu.Unlock()
	if len(ns) == 0 {
		return queue.Job{}, nil
	}
	m, err := s.message(e.id)
	if err != nil {
		return queue.Job{}, err
	}
	j := queue.Job{Message: &m.Message}
	for _, n := range ns {
		r, err := s.recipient(e.id, n)
		if err != nil {
			return queue.Job{}, err
		}
		j.Recipients = append(j.Recipients, r.Recipient)
	}
	return j, nil
}

// recipient reads a record that must be there.
func (s *Store) recipient(id queue.ID, n int) (*recipient, error) {
	v, err := s.get(rcptKey(id, n))
	var r *recipient
	switch {
	case err == nil:
		r, err = decodeRecipient(id, n, v)
	case errors.Is(err, pebble.ErrNotFound):
		err = errDamage("the record of recipient %d is gone", n)
	case pebble.IsCorruptionError(err):
		err = errDamage("%v", err)
	}
	if errors.Is(err, queue.ErrDamaged) {
		return nil, s.damaged(id, err)
	}
	if err != nil {
		return nil, err
	}
	r.accrue(s.ran.now())
	return r, nil
}

// Sending marks what is about to be sent. Its error means: do not send.
func (s *Store) Sending(_ context.Context, l queue.Lease, id queue.ID, ns ...int) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	items, err := s.inHand(l, id, ns)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.mark(id, items)
}

// inHand returns the recipients if all of them are taken under the lease, and
// not held or removed since. s.mu is held.
func (s *Store) inHand(l queue.Lease, id queue.ID, ns []int) ([]*item, error) {
	if _, err := s.leased(l); err != nil {
		return nil, err
	}
	e := s.index.entries[id]
	if e == nil {
		return nil, fmt.Errorf("%s: %w", id, queue.ErrNotFound)
	}
	var items []*item
	for _, n := range ns {
		it := e.find(n)
		switch {
		case it == nil:
			return nil, fmt.Errorf("recipient %d of %s: %w", n, id, queue.ErrNotFound)
		case it.token != l.Token, it.state != queue.Waiting:
			return nil, fmt.Errorf("recipient %d of %s: %w", n, id, queue.ErrLeaseLost)
		}
		items = append(items, it)
	}
	return items, nil
}

// settled leaves the failed recipients that nobody has in hand: of the others a
// 250 may come yet.
func (s *Store) settled(e *entry, rs []queue.Recipient) []queue.Recipient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(rs, func(r queue.Recipient) bool {
		it := e.find(r.N)
		return it == nil || it.token != 0
	})
}

// Unreported goes through the messages that had failed recipients when it began.
func (s *Store) Unreported(ctx context.Context) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		s.mu.Lock()
		var es []*entry
		for it := range s.index.failed {
			es = append(es, it.e)
		}
		s.mu.Unlock()
		byID(es)
		for _, e := range slices.Compact(es) {
			x, err := s.look(ctx, e, queue.Filter{State: queue.Failed})
			x.Recipients = s.settled(e, x.Recipients)
			switch {
			case errors.Is(err, queue.ErrDamaged), errors.Is(err, queue.ErrNotFound):
				continue
			case err == nil && len(x.Recipients) == 0:
				continue
			case !yield(queue.Job{Message: &x.Message, Recipients: x.Recipients}, err):
				return
			}
		}
	}
}

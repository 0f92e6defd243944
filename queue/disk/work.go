package disk

import (
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
		if s.closed.Load() || s.sick.Load() != nil { // whoever wakes us then may have done so already
			s.mu.Unlock()
			done()
			continue
		}
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
		x.ripen(d, now)
		s.leases++
		d.token, d.until = s.leases, now+ttl
		x.fix(d)
		ls = append(ls, queue.Lease{Destination: d.name, Token: d.token})
	}
	return ls
}

// leased returns the destination of a lease that still holds. s.mu is held.
func (s *Store) leased(l queue.Lease) (*destination, error) {
	d := s.index.named[l.Destination]
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

// Take hands out due jobs, the submitters in turn, each one's oldest first.
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
		id, ns, err := s.pick(l)
		if err != nil || len(ns) == 0 {
			return jobs, err
		}
		j, err := s.read(id, func(it *item) bool {
			_, due := slices.BinarySearch(ns, int(it.n))
			return due && s.isTaken(it, l)
		})
		switch {
		case errors.Is(err, queue.ErrDamaged), errors.Is(err, queue.ErrNotFound):
			continue // it is in quarantine, or was removed this moment
		case err != nil && s.health() != nil:
			return jobs, err
		case err != nil:
			s.putAside(l, id, ns, err)
		case len(j.Recipients) > 0:
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// isTaken says whether a recipient is in hand under a lease that holds. s.mu is
// held.
func (s *Store) isTaken(it *item, l queue.Lease) bool {
	d := s.index.destOf(it)
	return it.where == inTaken && l.Token != 0 && d.token == l.Token && d.name == l.Destination
}

// unreadable is how long a message waits that the disk would not give.
const unreadable = 5 * time.Minute

// putAside lets recipients wait whose records could not be read, though nothing
// says that they are damaged, so that they do not hold up the destination's other
// mail. Only the index knows: after a restart they are due.
func (s *Store) putAside(l queue.Lease, id uint64, ns []int, why error) {
	s.log.Warn("message not readable", "id", formatID(id), "err", why)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := ref(0)
	for _, n := range ns {
		_, r := s.index.seek(last, id, n)
		if last = r; r == 0 {
			continue
		}
		if it := s.index.at(r); s.isTaken(it, l) && it.state == waiting {
			s.index.place(r, it.state, s.ran.now()+unreadable, int(it.tries))
		}
	}
}

// pick takes what is due at a destination of the message whose turn it is.
func (s *Store) pick(l queue.Lease) (id uint64, ns []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.leased(l)
	if err != nil {
		return 0, nil, err
	}
	x := &s.index
	x.ripen(d, s.ran.now())
	if len(d.lines) > 0 {
		id, ns = x.take(d)
	}
	x.fix(d)
	return id, ns, nil
}

// read reads a message and those of its recipients that want selects, if any, Age
// and Ours up to now. Damage of any of its records puts the message away.
func (s *Store) read(v uint64, want func(*item) bool) (queue.Job, error) {
	s.locks.lock(v)
	defer s.locks.unlock(v)
	s.mu.Lock()
	var ns []int
	for _, it := range s.index.rcpts(s.index.roll.find(v)) {
		if want(it) {
			ns = append(ns, int(it.n))
		}
	}
	s.mu.Unlock()
	if len(ns) == 0 {
		return queue.Job{}, nil
	}
	id := formatID(v)
	m, err := s.message(id)
	if err != nil {
		return queue.Job{}, err
	}
	j := queue.Job{Message: &m.Message, Recipients: make([]queue.Recipient, 0, len(ns))}
	for _, n := range ns {
		r, err := s.recipient(id, n)
		if err != nil {
			return queue.Job{}, err
		}
		j.Recipients = append(j.Recipients, r.Recipient)
	}
	return j, nil
}

// recipient reads a record that must be there.
func (s *Store) recipient(id queue.ID, n int) (recipient, error) {
	if held := s.recent.recipient(id, n); held != nil {
		r := *held
		r.accrue(s.ran.now())
		return r, nil
	}
	v, err := s.get(rcptKey(id, n))
	var r recipient
	switch {
	case err == nil:
		err = decodeRecipient(&r, id, n, v)
	case errors.Is(err, pebble.ErrNotFound):
		err = errDamage("the record of recipient %d is gone", n)
	case pebble.IsCorruptionError(err):
		err = errDamage("%v", err)
	}
	if errors.Is(err, queue.ErrDamaged) {
		err = s.damaged(id, err)
	}
	if err != nil {
		return recipient{}, err
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
	ms, err := s.inHand(l, id, ns)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.mark(id, ms)
}

// inHand returns the marks of the recipients if all of them are taken under the
// lease, and not held or removed since. s.mu is held.
func (s *Store) inHand(l queue.Lease, id queue.ID, ns []int) ([]mark, error) {
	if _, err := s.leased(l); err != nil {
		return nil, err
	}
	v, _ := parseID(string(id))
	if s.index.roll.find(v) == 0 {
		return nil, fmt.Errorf("%s: %w", id, queue.ErrNotFound)
	}
	ms := make([]mark, 0, len(ns))
	last := ref(0)
	for _, n := range ns {
		_, r := s.index.seek(last, v, n)
		if last = r; r == 0 {
			return nil, fmt.Errorf("recipient %d of %s: %w", n, id, queue.ErrNotFound)
		}
		it := s.index.at(r)
		if !s.isTaken(it, l) || it.state != waiting {
			return nil, fmt.Errorf("recipient %d of %s: %w", n, id, queue.ErrLeaseLost)
		}
		ms = append(ms, mark{n, int(it.tries)})
	}
	return ms, nil
}

// settled leaves the failed recipients that nobody has in hand: of the others a
// 250 may come yet.
func (s *Store) settled(id uint64, rs []queue.Recipient) []queue.Recipient {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := ref(0)
	return slices.DeleteFunc(rs, func(q queue.Recipient) bool {
		_, r := s.index.seek(last, id, q.N)
		last = r
		return r == 0 || s.index.at(r).where == inTaken
	})
}

// Unreported goes through the messages that had failed recipients when it began.
func (s *Store) Unreported(ctx context.Context) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		if err := s.whole(ctx); err != nil {
			yield(queue.Job{}, err)
			return
		}
		s.mu.Lock()
		ids := make([]uint64, 0, len(s.index.failed))
		for _, r := range s.index.failed {
			ids = append(ids, s.index.at(r).id)
		}
		s.mu.Unlock()
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			x, err := s.look(ctx, id, queue.Filter{State: queue.Failed})
			x.Recipients = s.settled(id, x.Recipients)
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

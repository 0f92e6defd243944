package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// Settle books results of recipients taken under a lease. What the operator
// removed meanwhile stays removed, what he held stays held.
func (s *Store) Settle(_ context.Context, l queue.Lease, rs ...queue.Result) error {
	s.mu.Lock()
	_, err := s.leased(l)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.book(rs, func(it *item) error {
		if _, err := s.leased(l); err != nil {
			return err // while we waited for another's write
		}
		if !s.isTaken(it, l) {
			return fmt.Errorf("recipient %d of %s: %w", it.n, formatID(it.id), queue.ErrLeaseLost)
		}
		return nil
	})
}

// Reported books results of failed recipients.
func (s *Store) Reported(_ context.Context, rs ...queue.Result) error {
	return s.book(rs, func(it *item) error {
		if it.state != failed {
			return fmt.Errorf("recipient %d of %s is %s: %w", it.n, formatID(it.id), stateCodes[it.state], queue.ErrNotFound)
		}
		return nil
	})
}

// change is one recipient's next record.
type change struct {
	id  uint64
	rec recipient
}

// book books results in one synced batch if may allows each of them, else none.
func (s *Store) book(rs []queue.Result, may func(*item) error) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	ids := s.lockAll(rs)
	defer s.unlockAll(ids)
	cs, err := s.changes(rs, may)
	if err != nil || len(cs) == 0 {
		return err
	}
	gone, err := s.write(cs, synced, s.index.place)
	s.removeBodies(gone)
	return err
}

// lockAll locks the messages that results are about, in the order of their IDs so
// that two who do it cannot wait for each other.
func (s *Store) lockAll(rs []queue.Result) []uint64 {
	ids := make([]uint64, 0, len(rs))
	for i := range rs {
		if id, ok := parseID(string(rs[i].ID)); ok && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range ids {
		s.locks.lock(id)
	}
	return ids
}

func (s *Store) unlockAll(ids []uint64) {
	for _, id := range ids {
		s.locks.unlock(id)
	}
}

// due is a result and the recipient that it is about.
type dueResult struct {
	id uint64
	n  int
	x  *queue.Result
}

// changes reads the records that results are about and books each. Results for
// what is not there any more are left out, and of two for one recipient the
// second.
func (s *Store) changes(rs []queue.Result, may func(*item) error) ([]change, error) {
	all, err := s.allowed(rs, may)
	if err != nil {
		return nil, err
	}
	wall := time.Now().Round(0)
	cs := make([]change, 0, len(all))
	for _, a := range all {
		r, err := s.recipient(a.x.ID, a.n)
		if errors.Is(err, queue.ErrDamaged) { // its message is in quarantine now
			cs = slices.DeleteFunc(cs, func(c change) bool { return c.id == a.id })
			continue
		}
		if err != nil {
			return nil, err
		}
		r.Recipient = r.After(*a.x, wall)
		r.Delay = a.x.Delay
		cs = append(cs, change{a.id, r})
	}
	return cs, nil
}

// allowed are the results for what is there.
func (s *Store) allowed(rs []queue.Result, may func(*item) error) ([]dueResult, error) {
	all := make([]dueResult, 0, len(rs))
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[ref]bool{}
	last := ref(0)
	for i := range rs {
		id, _ := parseID(string(rs[i].ID))
		_, r := s.index.seek(last, id, rs[i].N)
		if last = r; r == 0 || seen[r] {
			continue
		}
		if len(rs) > 1 {
			seen[r] = true
		}
		if err := may(s.index.at(r)); err != nil {
			return nil, err
		}
		all = append(all, dueResult{id, rs[i].N, &rs[i]})
	}
	return all, nil
}

// write writes the changes of recipients whose messages are locked, and when
// that is done moves them in the index by place. It returns the messages that
// are gone and have body files, which may be removed once the write is synced.
func (s *Store) write(cs []change, o *pebble.WriteOptions, place func(ref, byte, time.Duration, int)) (gone []queue.ID, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	for i := range cs {
		if err := s.record(b, &cs[i]); err != nil {
			return nil, err
		}
	}
	if gone, err = s.leave(b, cs); err != nil {
		return nil, err
	}
	if err := s.stamp(b, s.ran.now()); err != nil {
		return nil, err
	}
	if err := s.commit(b, o); err != nil {
		return nil, err
	}
	for i := range cs {
		s.recent.changed(cs[i].rec.Of, cs[i].rec.N)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.index
	last := ref(0)
	for i := range cs {
		c := &cs[i]
		before, r := x.seek(last, c.id, c.rec.N)
		if c.rec.State.Leaves() {
			x.drop(before, r)
			last = before
			continue
		}
		last = r
		place(r, stateCode(c.rec.State), s.ran.now()+c.rec.Delay, c.rec.Tries)
		if x.at(r).where != inTaken {
			x.park(r, c.rec.Last.Awaits)
		}
	}
	return gone, nil
}

// removeBodies removes the body files of messages that are gone; what stays is
// swept at the next open.
func (s *Store) removeBodies(gone []queue.ID) {
	for _, id := range gone {
		_ = s.fs.Remove(s.bodyPath(id))
	}
}

// record puts one change into b.
func (s *Store) record(b *pebble.Batch, c *change) error {
	if !c.rec.State.Leaves() {
		return setRecipient(b, &c.rec)
	}
	key := rcptKey(c.rec.Of, c.rec.N)
	if s.recent.recipient(c.rec.Of, c.rec.N) != nil {
		return b.SingleDelete(key, nil) // written once so far
	}
	return b.Delete(key, nil)
}

// leave deletes the messages whose last recipients leave, and names those of them
// that have a body file. Record and body of a message are written once, and
// deleted once: Pebble forgets such a pair as soon as it sees both, which is when
// it has not left memory yet, for nearly all mail.
func (s *Store) leave(b *pebble.Batch, cs []change) (gone []queue.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := map[uint64]int{}
	for i := range cs {
		if c := &cs[i]; c.rec.State.Leaves() {
			left[c.id]++
		}
	}
	for v, n := range left {
		file := false
		for _, it := range s.index.rcpts(s.index.roll.find(v)) {
			file = it.file
			n--
		}
		if n != 0 {
			continue
		}
		id := formatID(v)
		err = errors.Join(err, b.SingleDelete(messageKey(id), nil))
		if file {
			gone = append(gone, id)
		} else {
			err = errors.Join(err, b.SingleDelete(bodyKey(id), nil))
		}
	}
	return gone, err
}

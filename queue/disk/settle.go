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
		if it.token != l.Token {
			return fmt.Errorf("recipient %d of %s: %w", it.n, it.e.id, queue.ErrLeaseLost)
		}
		return nil
	})
}

// Reported books results of failed recipients.
func (s *Store) Reported(_ context.Context, rs ...queue.Result) error {
	return s.book(rs, func(it *item) error {
		if it.state != queue.Failed {
			return fmt.Errorf("recipient %d of %s is %s: %w", it.n, it.e.id, it.state, queue.ErrNotFound)
		}
		return nil
	})
}

// change is one recipient's next record: nil when it leaves.
type change struct {
	it  *item
	rec *recipient
}

// book books results in one synced batch if may allows each of them, else none.
func (s *Store) book(rs []queue.Result, may func(*item) error) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	es := s.lockEntries(rs)
	defer unlock(es)
	cs, err := s.changes(rs, may)
	if err != nil || len(cs) == 0 {
		return err
	}
	gone, err := s.write(cs, synced, s.index.place)
	s.removeBodies(gone)
	return err
}

// lockEntries locks the entries that results are about, in the order of their IDs so
// that two who do it cannot wait for each other.
func (s *Store) lockEntries(rs []queue.Result) []*entry {
	s.mu.Lock()
	var es []*entry
	for _, r := range rs {
		if e := s.index.entries[r.ID]; e != nil {
			es = append(es, e)
		}
	}
	s.mu.Unlock()
	byID(es)
	es = slices.Compact(es)
	for _, e := range es {
		e.mu.Lock()
	}
	return es
}

func unlock(es []*entry) {
	for _, e := range es {
		e.mu.Unlock()
	}
}

// changes reads the records that results are about and books each. Results for
// what is not there any more are left out.
func (s *Store) changes(rs []queue.Result, may func(*item) error) ([]change, error) {
	s.mu.Lock()
	var items []*item
	var due []queue.Result
	seen := map[*item]bool{}
	for _, r := range rs {
		e := s.index.entries[r.ID]
		if e == nil {
			continue
		}
		it := e.find(r.N)
		if it == nil || seen[it] {
			continue
		}
		seen[it] = true
		if err := may(it); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		items, due = append(items, it), append(due, r)
	}
	s.mu.Unlock()
	var cs []change
	for i, it := range items {
		r, err := s.recipient(it.e.id, it.n)
		if errors.Is(err, queue.ErrDamaged) {
			continue // its message is in quarantine now
		}
		if err != nil {
			return nil, err
		}
		r.Recipient = r.After(due[i], time.Now().Round(0))
		r.Delay = due[i].Delay
		cs = append(cs, change{it, r})
	}
	return cs, nil
}

// write writes the changes of recipients whose entries are locked, and when
// that is done moves them in the index by place. It returns the messages that
// are gone and have body files, which may be removed once the write is synced.
func (s *Store) write(cs []change, o *pebble.WriteOptions, place func(*item, queue.State, time.Duration, int)) (gone []queue.ID, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	left := map[*entry]int{}
	for _, c := range cs {
		if err := s.record(b, c, left); err != nil {
			return nil, err
		}
	}
	if gone, err = s.leave(b, left); err != nil {
		return nil, err
	}
	if err := s.commit(b, o); err != nil {
		return nil, err
	}
	for _, c := range cs {
		s.recent.changed(c.it.e.id, c.it.n)
	}
	s.mu.Lock()
	for _, c := range cs {
		if c.rec.State.Leaves() {
			s.index.drop(c.it)
		} else {
			place(c.it, c.rec.State, s.ran.now()+c.rec.Delay, c.rec.Tries)
			if c.it.token == 0 {
				s.index.park(c.it, c.rec.Last.Awaits)
			}
		}
	}
	s.mu.Unlock()
	return gone, nil
}

// removeBodies removes the body files of messages that are gone; what stays is
// swept at the next open.
func (s *Store) removeBodies(gone []queue.ID) {
	for _, id := range gone {
		_ = s.fs.Remove(s.bodyPath(id))
	}
}

// record puts one change into b and counts who leaves each message.
func (s *Store) record(b *pebble.Batch, c change, left map[*entry]int) error {
	if !c.rec.State.Leaves() {
		return setRecipient(b, c.rec)
	}
	left[c.it.e]++
	key := rcptKey(c.it.e.id, c.it.n)
	if s.recent.recipient(c.it.e.id, c.it.n) != nil {
		return b.SingleDelete(key, nil) // written once so far
	}
	return b.Delete(key, nil)
}

// leave deletes the messages whose last recipients leave, and names those of them
// that have a body file. Record and body of a message are written once, and
// deleted once: Pebble forgets such a pair as soon as it sees both, which is when
// it has not left memory yet, for nearly all mail.
func (s *Store) leave(b *pebble.Batch, left map[*entry]int) (gone []queue.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e, n := range left {
		if n == len(e.items) {
			err = errors.Join(err, b.SingleDelete(messageKey(e.id), nil))
			if e.file {
				gone = append(gone, e.id)
			} else {
				err = errors.Join(err, b.SingleDelete(bodyKey(e.id), nil))
			}
		}
	}
	return gone, err
}

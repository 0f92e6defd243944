package disk

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// List goes through the messages that were there when it began, those that are
// gone by the time left out. Filter.Limit counts messages.
func (s *Store) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		if err := s.whole(ctx); err != nil {
			yield(queue.Entry{}, err)
			return
		}
		count := 0
		for id := range s.matching(f) {
			if f.Limit > 0 && count == f.Limit {
				return
			}
			x, err := s.look(ctx, id, f)
			switch {
			case errors.Is(err, queue.ErrDamaged), errors.Is(err, queue.ErrNotFound):
				continue
			case err != nil:
				yield(queue.Entry{}, err)
				return
			case len(x.Recipients) == 0:
				continue
			}
			count++
			if !yield(x, nil) {
				return
			}
		}
	}
}

// matching goes through the messages that a filter may select, in the order of
// arrival, up to the last that was there when it began.
func (s *Store) matching(f queue.Filter) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if f.ID != "" {
			if id, ok := parseID(string(f.ID)); ok {
				yield(id)
			}
			return
		}
		s.mu.Lock()
		end := s.index.roll.last()
		s.mu.Unlock()
		for after, more := uint64(0), true; more; more = after != 0 {
			var ids []uint64
			s.mu.Lock()
			ids, after = s.index.page(after, f)
			s.mu.Unlock()
			for _, id := range ids {
				if id > end || !yield(id) {
					return
				}
			}
		}
	}
}

// look reads what the filter selects of one message.
func (s *Store) look(ctx context.Context, id uint64, f queue.Filter) (queue.Entry, error) {
	if err := ctx.Err(); err != nil {
		return queue.Entry{}, err
	}
	done, err := s.use()
	if err != nil {
		return queue.Entry{}, err
	}
	defer done()
	s.mu.Lock()
	w, ok := s.index.want(f)
	s.mu.Unlock()
	if !ok {
		return queue.Entry{}, nil
	}
	j, err := s.read(id, w.matches)
	if err != nil || len(j.Recipients) == 0 {
		return queue.Entry{}, err
	}
	x := queue.Entry{Message: *j.Message}
	for _, r := range j.Recipients {
		if f.Matches(j.Message, &r) {
			x.Recipients = append(x.Recipients, r)
		}
	}
	s.tellNext(id, x.Recipients)
	return x, nil
}

// tellNext puts in when those who wait are due by the wall clock as it is now. Their
// records say it by the clock as it was when they were put off.
func (s *Store) tellNext(id uint64, rs []queue.Recipient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, wall := s.ran.now(), time.Now().Round(0)
	var at ref
	for i := range rs { // by N, as in the index
		_, r := s.index.seek(at, id, rs[i].N)
		if r == 0 {
			continue
		}
		if at = r; rs[i].State == queue.Waiting {
			rs[i].Next = wall.Add(s.index.at(r).due - now)
		}
	}
}

// Update changes message by message and syncs once, at the end. Filter.Limit
// counts messages.
func (s *Store) Update(ctx context.Context, f queue.Filter, c queue.Change) (int, error) {
	changed := 0
	var gone []queue.ID
	for x, err := range s.List(ctx, f) {
		if err != nil {
			return changed, err
		}
		n, left, err := s.update(x, c)
		changed, gone = changed+n, append(gone, left...)
		if err != nil {
			return changed, err
		}
	}
	if changed == 0 {
		return 0, nil
	}
	err := s.sync()
	if err == nil {
		s.removeBodies(gone)
	}
	return changed, err
}

// sync makes durable what was written so far.
func (s *Store) sync() error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.LogData(nil, nil)
	return s.commit(b, synced)
}

// update changes the recipients of one entry as they are now, without sync.
func (s *Store) update(x queue.Entry, c queue.Change) (changed int, gone []queue.ID, err error) {
	done, err := s.use()
	if err != nil {
		return 0, nil, err
	}
	defer done()
	id, _ := parseID(string(x.Message.ID))
	s.locks.lock(id)
	defer s.locks.unlock(id)
	var cs []change
	there := s.rcptsOf(id)
	for _, r := range x.Recipients {
		if _, ok := slices.BinarySearch(there, r.N); !ok {
			continue
		}
		rec, err := s.recipient(x.Message.ID, r.N)
		if errors.Is(err, queue.ErrDamaged) {
			return 0, nil, nil
		}
		if err != nil {
			return 0, nil, err
		}
		next, ok := rec.Changed(c, time.Now().Round(0))
		if !ok {
			continue
		}
		rec.Recipient, rec.Delay = next, c.Delay
		cs = append(cs, change{id, rec})
	}
	if len(cs) == 0 {
		return 0, nil, nil
	}
	gone, err = s.write(cs, pebble.NoSync, s.index.touch)
	return len(cs), gone, err
}

// Stat counts.
func (s *Store) Stat(ctx context.Context) (queue.Stat, error) {
	if err := s.whole(ctx); err != nil {
		return queue.Stat{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return queue.Stat{
		Messages:    s.index.roll.size,
		Waiting:     s.index.count[waiting],
		Held:        s.index.count[held],
		Failed:      s.index.count[failed],
		Quarantined: s.quarantined,
		Twice:       s.twice,
	}, nil
}

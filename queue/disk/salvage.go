package disk

import (
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// salvage fills the index when a table is damaged among the recipients' records:
// going through them ends at such a place, and what comes after it would be
// missing. Each recipient that a message began with is asked for by its key
// instead, but for those messages that are in the index already; a message with
// one that cannot be read is put away.
func (s *Store) salvage() error {
	counts, damaged, err := s.counts()
	if err != nil {
		return err
	}
	a := admission{s: s}
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		for n := range counts[id] {
			v, err := s.get(rcptKey(id, n))
			switch {
			case errors.Is(err, pebble.ErrNotFound): // it left
			case pebble.IsCorruptionError(err):
				damaged[id] = errDamage("%v", err)
			case err != nil:
				return err
			default:
				if err := a.add(id, n, v); err != nil {
					return err
				}
			}
		}
		if damaged[id] != nil && a.next.name == id {
			a.next, a.bad = admitted{}, nil
		}
	}
	if err := a.end(); err != nil {
		return err
	}
	for id, why := range damaged {
		if err := s.putAway(id, why); err != nil {
			return err
		}
	}
	return nil
}

// counts says how many recipients each message had at first that is not in the
// index. It goes backwards: an iterator reads a block more than it needs, and the
// one after the last message is a recipient's.
func (s *Store) counts() (counts map[queue.ID]int, damaged map[queue.ID]error, err error) {
	lower, _ := span(messageSpace)
	upper := append(messageKey(formatID(s.loading.newest)), 0)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, err
	}
	counts, damaged = map[queue.ID]int{}, map[queue.ID]error{}
	for ok := it.Last(); ok && err == nil; ok = it.Prev() {
		id := queue.ID(it.Key()[len(messageSpace):])
		if s.isKnown(id) {
			continue
		}
		m, bad := decodeMessage(id, it.Value())
		switch {
		case errors.Is(bad, queue.ErrDamaged):
			damaged[id] = bad
		case bad != nil:
			err = bad
		case s.closed.Load():
			err = errClosed
		default:
			counts[id] = m.Count
		}
	}
	return counts, damaged, errors.Join(err, it.Close())
}

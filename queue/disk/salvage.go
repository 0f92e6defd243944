package disk

import (
	"errors"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// salvage builds the index when a table is damaged among the recipients' records:
// going through them ends at such a place, and what comes after it would be
// missing. Each recipient that a message began with is asked for by its key
// instead; a message with one that cannot be read is put into damaged.
func (s *Store) salvage(damaged map[queue.ID]error) error {
	s.mu.Lock()
	s.index = newIndex()
	s.mu.Unlock()
	counts, err := s.counts(damaged)
	if err != nil {
		return err
	}
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
				if err := s.admit(id, n, v, damaged); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// counts says how many recipients each message had at first. It goes backwards:
// an iterator reads a block more than it needs, and the one after the last
// message is a recipient's.
func (s *Store) counts(damaged map[queue.ID]error) (map[queue.ID]int, error) {
	lower, upper := span(messageSpace)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	counts := map[queue.ID]int{}
	for ok := it.Last(); ok && err == nil; ok = it.Prev() {
		id := queue.ID(it.Key()[len(messageSpace):])
		m, bad := decodeMessage(id, it.Value())
		switch {
		case errors.Is(bad, queue.ErrDamaged):
			damaged[id] = bad
		case bad != nil:
			err = bad
		default:
			counts[id] = m.Count
		}
	}
	return counts, errors.Join(err, it.Close())
}

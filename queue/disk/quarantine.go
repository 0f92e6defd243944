package disk

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// isolate moves a damaged message with all its records into quarantine, where
// nothing looks at it but a human. A body file stays where it is. The message is
// locked. Its error means that the store cannot write.
func (s *Store) isolate(id queue.ID, why error) error {
	b := s.db.NewBatch()
	defer b.Close()
	keys := [][]byte{messageKey(id), bodyKey(id)}
	lower, upper := span(rcptSpace + string(id) + "/")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return s.fail(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	err = it.Close()
	for _, k := range keys {
		err = errors.Join(err, s.move(b, k))
	}
	// The marker stands even where the record itself cannot be read any more.
	if _, gone := s.get(messageKey(id)); gone != nil {
		err = errors.Join(err, b.Set([]byte(quarantineMsg+string(id)), nil, nil))
	}
	if err != nil && !pebble.IsCorruptionError(err) {
		return s.fail(err)
	}
	if err := s.commit(b, pebble.Sync); err != nil {
		return err
	}
	s.recent.drop(id)
	s.log.Error("message quarantined", "id", id, "err", why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quarantined++
	v, _ := parseID(string(id))
	for r := s.index.roll.find(v); r != 0; r = s.index.roll.find(v) {
		s.index.drop(0, r)
	}
	return nil
}

// move renames a key into the quarantine, in b.
func (s *Store) move(b *pebble.Batch, k []byte) error {
	v, err := s.get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(b.Set(append([]byte(quarantine), k...), v, nil), b.Delete(k, nil))
}

// countQuarantined counts, and names in the log, what an operator should look at.
func (s *Store) countQuarantined() error {
	err := s.each(quarantineMsg, func(k, _ []byte) error {
		s.quarantined++
		id := string(k[len(quarantineMsg):])
		if v, ok := parseID(id); ok {
			s.ids.seen(v)
		}
		s.log.Warn("message in quarantine", "id", id)
		return nil
	})
	if pebble.IsCorruptionError(err) {
		return nil // it was logged, and what is in quarantine holds up nothing else
	}
	return err
}

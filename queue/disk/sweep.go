package disk

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// sweep removes body files that no message names: what was being written, or
// removed, when we stopped. A file that cannot be one of ours is left alone.
func (s *Store) sweep() error {
	dirs, err := s.fs.List(s.path("bodies"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		names, err := s.fs.List(s.path("bodies", d))
		if err != nil {
			s.log.Warn("foreign file left alone", "err", err)
			continue
		}
		var orphans []queue.ID
		for _, n := range names {
			if s.closed.Load() {
				return errClosed
			}
			is, err := s.isOrphan(d, n)
			if err != nil {
				return err
			}
			if is {
				orphans = append(orphans, queue.ID(n))
			}
		}
		if len(orphans) == 0 {
			continue
		}
		if err := s.sync(); err != nil { // what the operator removes this moment may not be gone for good yet
			return err
		}
		s.removeBodies(orphans)
	}
	return nil
}

// isOrphan says whether no message names a body file.
func (s *Store) isOrphan(dir, name string) (bool, error) {
	v, ok := parseID(name)
	if !ok || name[idLen-2:] != dir {
		s.log.Warn("foreign file left alone", "err", s.path("bodies", dir, name))
		return false, nil
	}
	s.ids.seen(v)
	// In this order: a draft is in the index before it is none any more.
	if s.isDraft(queue.ID(name)) || s.known(v) {
		return false, nil
	}
	_, err := s.get([]byte(quarantineMsg + name))
	if errors.Is(err, pebble.ErrNotFound) {
		return true, nil
	}
	return false, err
}

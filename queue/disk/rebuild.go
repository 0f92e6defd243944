package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// A damaged table cannot stay: Pebble would try to merge it with others again
// and again, at full speed. So tables are merged no more, and the next open
// writes the database anew from what can be read and sets the old one aside.

func (s *Store) hurtPath() string { return s.path("damaged") }

// hurt notes, also for the next open, that a table is damaged.
func (s *Store) hurt() {
	if s.hurting.Swap(true) {
		return
	}
	if f, err := s.fs.Create(s.hurtPath(), category); err == nil {
		_ = f.Close()
	}
}

// merging lets Pebble merge tables, one merge at a time, while none is damaged.
type merging struct {
	*pebble.ConcurrencyLimitScheduler
	hurting *atomic.Bool
}

func (m merging) Register(n int, db pebble.DBForCompaction) {
	m.ConcurrencyLimitScheduler.Register(n, mergeable{db, m.hurting})
}

type mergeable struct {
	pebble.DBForCompaction
	hurting *atomic.Bool
}

func (m mergeable) GetAllowedWithoutPermission() int {
	if m.hurting.Load() {
		return 0
	}
	return m.DBForCompaction.GetAllowedWithoutPermission()
}

// remember takes up what hurt noted in an earlier run.
func (s *Store) remember() { s.hurting.Store(!s.missing(s.hurtPath())) }

// resume ends a rebuild that a crash cut short after the old database was set
// aside. Before that there is nothing to end: it is begun again.
func (s *Store) resume() error {
	if !s.missing(s.path("db")) || s.missing(s.path("db.damaged")) {
		return nil
	}
	return errors.Join(s.fs.Rename(s.path("db.new"), s.path("db")), syncDir(s.fs, s.dir))
}

// rebuild does that, when a table is damaged. The index is complete.
func (s *Store) rebuild() error {
	if !s.hurting.Load() {
		return nil
	}
	db := s.path("db.new")
	if err := s.fs.RemoveAll(db); err != nil {
		return err
	}
	fresh, err := s.pebble(db, func(string, int64) error { return nil })
	if err != nil {
		return err
	}
	err = errors.Join(s.copyTo(fresh), fresh.Close(), s.db.Close())
	s.db = nil
	if err != nil {
		return err
	}
	// A note about the old log must not be taken for one about the new.
	for _, do := range []func() error{
		func() error { return s.noteSynced("", 0) },
		s.note.Sync,
		func() error { return s.fs.RemoveAll(s.path("db.damaged")) },
		func() error { return syncDir(s.fs, s.dir) },
		func() error { return s.fs.Rename(s.path("db"), s.path("db.damaged")) },
		func() error { return syncDir(s.fs, s.dir) },
		s.resume,
		func() error { s.hurting.Store(false); return s.removeIfThere(s.hurtPath()) },
		s.openPebble,
	} {
		if err := do(); err != nil {
			return err
		}
	}
	s.log.Error("queue file damaged", "err", fmt.Sprintf("%s was written anew; as it was it is in %s", s.path("db"), s.path("db.damaged")))
	return nil
}

// copyTo writes all that is whole. A message that is not goes into quarantine.
func (s *Store) copyTo(fresh *pebble.DB) error {
	for v := range s.matching(queue.Filter{}) {
		id := formatID(v)
		err := s.copyMessage(fresh, id, s.rcptsOf(v))
		if pebble.IsCorruptionError(err) {
			err = s.isolate(id, errDamage("%v", err))
		}
		if err != nil {
			return err
		}
	}
	err := s.each(quarantine, func(k, v []byte) error { return fresh.Set(k, v, pebble.NoSync) })
	if err != nil && !pebble.IsCorruptionError(err) {
		return err
	}
	if err := fresh.Set([]byte(clockKey), appendClock(s.ran.now(), s.ids.reserve()), pebble.NoSync); err != nil {
		return err
	}
	return fresh.Set([]byte(formKey), []byte(form), pebble.Sync)
}

// rcptsOf returns the recipients of a message, in their order.
func (s *Store) rcptsOf(id uint64) (ns []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.index.rcpts(s.index.roll.find(id)) {
		ns = append(ns, int(it.n))
	}
	return ns
}

func (s *Store) copyMessage(fresh *pebble.DB, id queue.ID, ns []int) error {
	keys := [][]byte{messageKey(id), bodyKey(id)}
	for _, n := range ns {
		keys = append(keys, rcptKey(id, n))
	}
	b := fresh.NewBatch()
	defer b.Close()
	for _, k := range keys {
		v, err := s.get(k)
		if errors.Is(err, pebble.ErrNotFound) && !bytes.Equal(k, keys[0]) {
			continue // a body may be a file
		}
		if err != nil {
			return err
		}
		if err := b.Set(k, v, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.NoSync)
}

func (s *Store) removeIfThere(path string) error {
	if s.missing(path) {
		return nil
	}
	return s.fs.Remove(path)
}

func (s *Store) missing(path string) bool {
	_, err := s.fs.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

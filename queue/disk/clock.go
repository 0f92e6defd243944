package disk

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// checkManifest refuses a directory whose tables have lost the file that says
// which of them count: Pebble would take it for new and clear it.
func (s *Store) checkManifest() error {
	db := s.path("db")
	desc, err := pebble.Peek(db, s.fs)
	if err != nil {
		return err
	}
	if desc.Exists {
		return nil
	}
	names, err := s.fs.List(db)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") || strings.HasSuffix(n, ".log") {
			return fmt.Errorf("%s holds %s but no manifest marker: restore the marker and its MANIFEST file", db, n)
		}
	}
	return nil
}

// checkForm writes the form of the key spaces, or holds it against ours.
func (s *Store) checkForm() error {
	v, err := s.get([]byte(formKey))
	if errors.Is(err, pebble.ErrNotFound) || pebble.IsCorruptionError(err) { // the records say their version too
		return s.db.Set([]byte(formKey), []byte(form), pebble.Sync)
	}
	if err == nil && string(v) != form {
		err = fmt.Errorf("it has form %q, this program reads form %q", v, form)
	}
	return err
}

// get returns a copy of a value.
func (s *Store) get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	v = bytes.Clone(v)
	return v, c.Close()
}

// readClock takes up the clock where it was saved last. A damaged clock costs
// no mail: ages start from what the records say.
func (s *Store) readClock() error {
	s.ran.start = time.Now()
	v, err := s.get([]byte(clockKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	var ran time.Duration
	var last uint64
	if err == nil {
		ran, last, err = parseClock(v)
	}
	switch {
	case errors.Is(err, queue.ErrDamaged), pebble.IsCorruptionError(err):
		s.log.Warn("queue clock lost", "err", err)
		return nil
	case err != nil:
		return err
	}
	s.ran.base = ran
	s.ids.seen(last + idMargin) // of those given since, a crash may have left nothing
	return nil
}

func (s *Store) saveClock(o *pebble.WriteOptions) {
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.setClock(b, s.ran.now()); err == nil {
		_ = s.commit(b, o)
	}
}

func (s *Store) setClock(b *pebble.Batch, now time.Duration) error {
	last := s.ids.newest()
	s.clocked.Store(int64(now))
	s.clockedID.Store(last)
	return b.Set([]byte(clockKey), appendClock(now, last), nil)
}

// idMargin is how far IDs may have gone beyond the last that was saved: those of ten
// seconds, or of a wall clock that was put forward by as much.
const idMargin = 10_000 << idCounter

// stamp saves the clock with what is written anyway, now and then: no record is
// from much later than the clock that a crash leaves, and none has an ID that is
// greater than its last by idMargin.
func (s *Store) stamp(b *pebble.Batch, now time.Duration) error {
	if now-time.Duration(s.clocked.Load()) < 10*time.Second && s.ids.newest() < s.clockedID.Load()+idMargin {
		return nil
	}
	return s.setClock(b, now)
}

// tick saves the clock every minute while there is mail, so that a crash costs
// a recipient at most a minute of its age.
func (s *Store) tick() {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		if done, err := s.use(); err == nil {
			s.recent.age()
			s.mu.Lock()
			busy := s.index.roll.size > 0
			s.mu.Unlock()
			if busy {
				s.saveClock(pebble.Sync)
			}
			done()
		}
	}
}

// each goes through all keys that begin with prefix.
func (s *Store) each(prefix string, f func(k, v []byte) error) error {
	lower, upper := span(prefix)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = f(it.Key(), it.Value())
	}
	return errors.Join(err, it.Close())
}

package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// bodyDirs remembers which directories of body files are known to be durable, and
// which files no message names yet.
type bodyDirs struct {
	mu     sync.Mutex
	made   map[string]bool
	drafts map[queue.ID]bool // whose file is being written, and who are not in the index yet
}

// bodyPath names a body file after its message, in one of 1,024 directories.
func (s *Store) bodyPath(id queue.ID) string {
	return s.path("bodies", string(id[idLen-2:]), string(id))
}

// createBody creates the body file of a message, in a durable directory.
func (s *Store) createBody(id queue.ID) (vfs.File, error) {
	name := s.bodyPath(id)
	dir := s.fs.PathDir(name)
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	if !s.bodies.made[dir] {
		if err := s.fs.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := syncDir(s.fs, s.path("bodies")); err != nil {
			return nil, err
		}
		if s.bodies.made == nil {
			s.bodies.made = map[string]bool{}
		}
		s.bodies.made[dir] = true
	}
	if s.bodies.drafts == nil {
		s.bodies.drafts = map[queue.ID]bool{}
	}
	s.bodies.drafts[id] = true
	return s.fs.Create(name, category)
}

// named ends what createBody began: a message names the file now, or it is gone.
func (s *Store) named(id queue.ID) {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	delete(s.bodies.drafts, id)
}

func (s *Store) isDraft(id queue.ID) bool {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	return s.bodies.drafts[id]
}

// Body opens the stored body. A small one is verified before it is returned, a
// file while it is read: the last Read says ErrDamaged instead of io.EOF, and
// the message is in quarantine by then.
func (s *Store) Body(ctx context.Context, id queue.ID) (io.ReadSeekCloser, error) {
	done, err := s.use()
	if err != nil {
		return nil, err
	}
	defer done()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, _ := parseID(string(id))
	s.locks.lock(v)
	defer s.locks.unlock(v)
	body, err := s.openBody(id)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", id, err)
	}
	return body, nil
}

// known says whether a message is in the index.
func (s *Store) known(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.roll.find(id) != 0
}

// isKnown is known by name.
func (s *Store) isKnown(id queue.ID) bool {
	v, ok := parseID(string(id))
	return ok && s.known(v)
}

// openBody opens the body of a message that is locked.
func (s *Store) openBody(id queue.ID) (io.ReadSeekCloser, error) {
	if k := s.recent.find(id); k != nil && !k.File {
		return inMemory{bytes.NewReader(k.body)}, nil
	}
	m, err := s.message(id)
	if err != nil {
		return nil, err
	}
	if m.File {
		f, err := s.fs.Open(s.bodyPath(id))
		if errors.Is(err, os.ErrNotExist) {
			return nil, s.damaged(id, errDamage("its body file is gone"))
		}
		if err != nil {
			return nil, err
		}
		return &bodyFile{File: f, s: s, m: m, sum: sha256.New()}, nil
	}
	v, err := s.get(bodyKey(id))
	sum := sha256.Sum256(v)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, s.damaged(id, errDamage("its body is gone"))
	case pebble.IsCorruptionError(err):
		return nil, s.damaged(id, errDamage("%v", err))
	case err != nil:
		return nil, err
	case !bytes.Equal(sum[:], m.Sum):
		return nil, s.damaged(id, errDamage("its body does not match its checksum"))
	}
	return inMemory{bytes.NewReader(v)}, nil
}

// message reads the record of a message that is locked; what is damaged is put
// away.
func (s *Store) message(id queue.ID) (*message, error) {
	if k := s.recent.find(id); k != nil {
		m := k.message
		return &m, nil
	}
	if !s.isKnown(id) {
		return nil, queue.ErrNotFound
	}
	v, err := s.get(messageKey(id))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, s.damaged(id, errDamage("its record is gone"))
	case pebble.IsCorruptionError(err):
		return nil, s.damaged(id, errDamage("%v", err))
	case err != nil:
		return nil, err
	}
	m, err := decodeMessage(id, v)
	if errors.Is(err, queue.ErrDamaged) {
		return nil, s.damaged(id, err)
	}
	return m, err
}

// damaged puts a message that is locked away and returns why.
func (s *Store) damaged(id queue.ID, why error) error {
	if !s.isKnown(id) {
		return why // put away already, or gone
	}
	if err := s.isolate(id, why); err != nil {
		return err
	}
	return why
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

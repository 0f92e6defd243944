// Package disk is the queue on this machine's disk: records and small bodies
// in Pebble, large bodies in files beside it, and in memory an index of what is
// due when. What Commit, Settle, Reported and Update report as done has been
// synced (one fsync for all that wait at the time), and a body file and its
// directory before the record that names it. Every record and body carries a
// checksum; a message that does not match it goes into quarantine, alone, also
// where a file of Pebble's is damaged (but for a table's index, and the manifest:
// there is no start without them). After
// a failed write or sync nothing more is accepted or handed out until a restart
// has read what is really there.
package disk

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// Options of the store. Zero fields mean the defaults named.
type Options struct {
	Log *slog.Logger // nil: discard
	// MinFree is how many octets must be free on the file system for a new
	// message; default 5 % of it, but at least 100 MiB and at most 1 GiB.
	MinFree uint64
	// Tables is how many of Pebble's tables are kept open, besides those being
	// read; default 990. Pebble's other files are at most a dozen at a time.
	Tables int
	// Fatal is called when the storage failed in a way that only a restart
	// mends; the store takes nothing in and hands nothing out from then on, and
	// who waits for a write may wait for ever. Default: exit with code 1 (it was
	// logged already).
	Fatal func(error)

	patience time.Duration // how long Open waits for the index; default 500 ms
}

// Store is a queue.Store in one directory.
type Store struct {
	o         Options
	log       *slog.Logger
	fs        vfs.FS
	dir       string
	only      io.Closer // the lock on dir
	note      vfs.File  // how far the log was synced
	db        *pebble.DB
	ids       ids
	ran       clock
	clocked   atomic.Int64  // when ran was saved last, by itself
	clockedID atomic.Uint64 // the last ID as it was saved then
	stop      chan struct{} // closed by Close
	ill       chan struct{} // closed when sick is set

	opened  atomic.Bool  // Open is done: from now on a failure ends the process
	syncing atomic.Int32 // commits under way
	hurting atomic.Bool  // a table is damaged

	using sync.RWMutex // held for reading while the store is in use, for writing by Close

	sick   atomic.Pointer[error] // why the store is unhealthy
	closed atomic.Bool
	done   func() // using.RUnlock

	mu          sync.Mutex // guards what follows
	index       index
	leases      uint64 // tokens given
	quarantined int
	twice       int // Stat.Twice

	locks   locks
	marks   marks
	bodies  bodyDirs
	recent  recent
	loading loading
}

var _ queue.Store = (*Store)(nil)

// form is the form of the key spaces.
const form = "2"

// Open opens the store in dir, which it makes if need be, reads what is due,
// and sweeps what a crash left over; if there is very much, it returns before that
// is done. An error names what is wrong and where; a second Open of the same
// directory, by whatever process, is one.
func Open(fs vfs.FS, dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(error) { os.Exit(1) }
	}
	s := &Store{o: o, log: o.Log, fs: private{fs}, dir: dir, index: newIndex(), stop: make(chan struct{}), ill: make(chan struct{})}
	s.done = s.using.RUnlock
	s.loading.whole, s.loading.over = make(chan struct{}), make(chan struct{})
	if s.o.patience == 0 {
		s.o.patience = patience
	}
	if err := s.until(s.open); err != nil {
		if s.health() == nil && s.db != nil {
			_ = s.until(s.db.Close)
		}
		if s.health() == nil && s.note != nil {
			_ = s.note.Close()
		}
		if s.only != nil {
			_ = s.only.Close()
		}
		return nil, fmt.Errorf("open queue %s: %w", dir, err)
	}
	s.opened.Store(true)
	go s.tick()
	return s, nil
}

func (s *Store) open() error {
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.lockDir(); err != nil {
		return err
	}
	if err := s.makeDB(); err != nil {
		return err
	}
	if err := s.checkManifest(); err != nil {
		return err
	}
	if err := s.checkFiles(); err != nil {
		return err
	}
	if err := s.openPebble(); err != nil {
		return err
	}
	if err := s.checkForm(); err != nil {
		return err
	}
	if err := s.readClock(); err != nil {
		return err
	}
	if err := s.countQuarantined(); err != nil {
		return err
	}
	if err := s.newest(); err != nil {
		return err
	}
	if err := s.openMarks(); err != nil {
		return err
	}
	go s.load()
	if !s.hurting.Load() && !s.loaded(s.o.patience) {
		return nil
	}
	<-s.loading.over
	if s.loading.err != nil {
		return s.loading.err
	}
	return s.rebuild()
}

// makeDir makes the directory for us alone, durably, and those on the way to it
// that are missing.
func (s *Store) makeDir() error {
	names := []string{s.dir, s.fs.PathDir(s.dir)} // where names are that must last
	for d := names[1]; s.missing(d) && s.fs.PathDir(d) != d; d = s.fs.PathDir(d) {
		names = append(names, s.fs.PathDir(d))
	}
	for _, d := range []string{s.dir, s.path("bodies")} {
		if err := s.fs.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	for _, d := range names {
		if err := syncDir(s.fs, d); err != nil {
			return err
		}
	}
	return nil
}

// makeDB does the same for Pebble's directory.
func (s *Store) makeDB() error {
	if err := s.resume(); err != nil {
		return err
	}
	s.remember()
	if err := s.fs.MkdirAll(s.path("db"), 0o700); err != nil {
		return err
	}
	return syncDir(s.fs, s.dir)
}

func (s *Store) path(elem ...string) string {
	return s.fs.PathJoin(append([]string{s.dir}, elem...)...)
}

// lockDir keeps every other process, and a second Open of this one, out.
func (s *Store) lockDir() error {
	lock, err := s.fs.Lock(s.path("LOCK"))
	if err == nil {
		s.only = lock
		return nil
	}
	if pe := new(os.PathError); errors.As(err, &pe) {
		return err
	}
	return fmt.Errorf("another relay is using it: %w", err)
}

// openPebble opens Pebble, a new one twice: its first log is in an old form that
// does not say how far it was synced, which checkFiles must know.
func (s *Store) openPebble() error {
	desc, err := pebble.Peek(s.path("db"), s.fs)
	if err != nil {
		return err
	}
	if !desc.Exists {
		db, err := s.pebble(s.path("db"), s.noteSynced)
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	if s.db, err = s.pebble(s.path("db"), s.noteSynced); err != nil {
		return fmt.Errorf("%w (%s with %s and %s is left as it is)", err, s.path("db"), desc.ManifestFilename, desc.OptionsFilename)
	}
	return nil
}

func (s *Store) pebble(dir string, synced func(log string, n int64) error) (*pebble.DB, error) {
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                 beneath{s.fs, s.doom, s.opened.Load, synced},
		Cache:              cache,
		MemTableSize:       32 << 20, // grows to this from 256 KiB
		FormatMajorVersion: pebble.FormatNewest,
		Levels:             blocks(),
		// Tables pile up while a damaged one forbids to merge them. That may slow
		// mail down, but not stop it.
		L0StopWritesThreshold: 1 << 20,
		Logger:                pebbleLog{s},
		EventListener:         s.events(),
		WALMinSyncInterval:    s.gather,
	}
	if s.o.Tables > 0 {
		tables := pebble.NewFileCache(1, s.o.Tables)
		defer tables.Unref()
		o.FileCache = tables
	}
	o.Experimental.CompactionScheduler = merging{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(), &s.hurting}
	return pebble.Open(dir, o)
}

// blocks gives each record a block of its own, so that damage to a block is
// damage to one record. Such a table has a large index, of which one read should
// not need much.
func blocks() (l [7]pebble.LevelOptions) {
	for i := range l {
		l[i].BlockSize, l[i].IndexBlockSize = 1, 4<<10
	}
	return l
}

// Close ends all waiting and gives the directory free. Bodies being read stay
// readable; drafts are lost, as their clients were told nothing yet.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.stop)
	s.mu.Lock()
	s.index.wake()
	s.mu.Unlock()

	if s.health() != nil {
		return s.only.Close() // Pebble may hang after a failed write, and nothing is left to save
	}
	s.using.Lock() // who is in the midst of something ends it
	defer s.using.Unlock()
	s.saveClock(pebble.NoSync)
	err := s.until(s.flush)
	if err == nil {
		err = s.until(s.db.Close)
	}
	return errors.Join(err, s.marks.close(), s.note.Close(), s.only.Close())
}

// flush moves what is in memory and in the log to a table.
func (s *Store) flush() error {
	flushed, err := s.db.AsyncFlush()
	if err == nil {
		<-flushed
	}
	return err
}

// until waits for what needs Pebble, but not longer than the storage is healthy:
// after a failed write Pebble may wait, or try again, without end.
func (s *Store) until(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-s.ill:
		return s.health()
	}
}

var errClosed = errors.New("queue: the store is closed")

// use keeps Close away until the caller calls the function returned.
func (s *Store) use() (done func(), err error) {
	if err := s.health(); err != nil {
		return nil, err
	}
	if !s.using.TryRLock() { // Close asks for it, and nobody else
		return nil, errClosed
	}
	if s.closed.Load() {
		s.done()
		return nil, errClosed
	}
	return s.done, nil
}

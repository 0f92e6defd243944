package disk

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// fail marks the store unhealthy: what the disk holds is known again only after
// a restart has read it, for a sync that failed once may say yes the next time
// without having written anything.
func (s *Store) fail(err error) error {
	if s.sick.CompareAndSwap(nil, &err) {
		close(s.ill)
		s.mu.Lock()
		s.index.wake()
		s.mu.Unlock()
		s.log.Error("storage failed", "err", err)
	}
	return fmt.Errorf("%w: %w", queue.ErrUnhealthy, err)
}

// health is nil while every write and sync has gone well.
func (s *Store) health() error {
	if err := s.sick.Load(); err != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnhealthy, *err)
	}
	return nil
}

// commit writes a batch. Pebble tells of a failed write or sync only by its
// logger and then reports success, so a nil of it is not enough.
func (s *Store) commit(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := s.health(); err != nil {
		return err
	}
	s.syncing.Add(1)
	defer s.syncing.Add(-1)
	if err := b.Commit(o); err != nil {
		return s.fail(err)
	}
	return s.health()
}

// gather is how long the log waits after one sync before the next. While many commit
// at once it waits a little, so that more of them share a sync: each takes a thread,
// the disk and the file system's journal, and with twice as many to a sync all of it
// halves. A few are not held up.
func (s *Store) gather() time.Duration {
	const few, moment = 4, 500 * time.Microsecond
	if s.syncing.Load() < few {
		return 0
	}
	return moment
}

// pebbleLog hears what Pebble has to say.
type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.log.Warn("storage trouble", "err", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) { l.s.doom(fmt.Errorf(format, args...)) }

// doom is for failures after which Pebble would go on wrongly: try again in a
// tight loop, report success, or panic. So it does not return. While the store
// is being opened they are Open's error.
func (s *Store) doom(err error) {
	err = s.fail(err)
	if s.opened.Load() {
		s.o.Fatal(err)
	}
	select {}
}

// events listens for failures of work in the background. A damaged table is
// not a failed write: what is not in it can still be delivered.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if pebble.IsCorruptionError(err) {
				s.hurt()
				return
			}
			s.doom(err)
		},
		// A record that was deleted as if it had been written once, and was not.
		PossibleAPIMisuse: func(m pebble.PossibleAPIMisuseInfo) { s.log.Warn("storage trouble", "err", m.String()) },
		DataCorruption: func(d pebble.DataCorruptionInfo) {
			s.hurt()
			s.log.Error("queue file damaged", "err", fmt.Sprintf("%s: %v", d.Path, d.Details))
		},
	}
}

const (
	minFreeAtLeast = 100 << 20
	minFreeAtMost  = 1 << 30
)

// room says whether there is space for one more message.
func (s *Store) room() error {
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil // a file system that does not tell; a write that fails will
	}
	need := s.o.MinFree
	if need == 0 {
		need = min(max(u.TotalBytes/20, minFreeAtLeast), minFreeAtMost)
	}
	if u.AvailBytes < need {
		return fmt.Errorf("%w: %d octets free, %d wanted", queue.ErrFull, u.AvailBytes, need)
	}
	return s.inodes()
}

// full says whether an error means no more than that the disk, a quota or a
// limit on the size of a file (setrlimit(2)) is exhausted.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// scarce says whether a file was not opened for want of a descriptor.
func scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

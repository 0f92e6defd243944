package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// How far a log was synced decides whether a flaw in it is damage or the end
// that a power failure left. Pebble notes it in the log itself, but each time
// too late, and too little: it does not count the blocks that were full. So it
// is noted beside, after every sync; without sync, for an old note is true too.
//
// The note has a second use. A file system that dies during a sync (ext4 whose
// journal is given up) may call that sync a success, which it was not. The next
// write it refuses, so a note that cannot be written makes the sync a failure.

const noteLen = recordHead + 16

// logFile is a log of Pebble's. What was written before a sync began is told
// when it has ended.
type logFile struct {
	vital
	written atomic.Int64
	synced  func(n int64) error
}

func (l *logFile) Write(p []byte) (int, error) {
	n, err := l.vital.Write(p)
	l.written.Add(int64(n))
	return n, err
}

func (l *logFile) Sync() error     { return l.after(l.vital.Sync) }
func (l *logFile) SyncData() error { return l.after(l.vital.SyncData) }

func (l *logFile) after(sync func() error) error {
	n := l.written.Load()
	if err := sync(); err != nil {
		return err
	}
	return l.heard(l.synced(n))
}

// logNumber takes the number from the name of a log.
func logNumber(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(path.Base(name), ".log")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil
}

// noteSynced notes how far a log was synced. Where there is no room for it, the
// old note stays.
func (s *Store) noteSynced(name string, n int64) error {
	number, _ := logNumber(name)
	b := binary.BigEndian.AppendUint64(nil, uint64(number))
	_, err := s.note.WriteAt(seal(binary.BigEndian.AppendUint64(b, uint64(n))), 0)
	if full(err) {
		return nil
	}
	return err
}

// readNote opens the file of the note and returns it as the last run left it:
// how far a log of that number was synced at least.
func (s *Store) readNote() (number uint32, n int64, err error) {
	if s.note, err = s.fs.OpenReadWrite(s.path("synced"), category); err != nil {
		return 0, 0, err
	}
	b := make([]byte, noteLen)
	if got, err := s.note.ReadAt(b, 0); got < len(b) {
		if err == io.EOF {
			err = nil
		}
		return 0, 0, err
	}
	p, err := open(b)
	if err != nil || len(p) != 16 {
		s.log.Warn("queue file damaged", "err", fmt.Sprintf("%s: %v", s.path("synced"), err))
		return 0, 0, nil
	}
	return uint32(binary.BigEndian.Uint64(p)), int64(binary.BigEndian.Uint64(p[8:])), nil
}

var _ vfs.File = (*logFile)(nil)

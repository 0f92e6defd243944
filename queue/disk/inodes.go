package disk

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"smtprelay/queue"
)

// inodes says whether the file system can hold the files of one more message
// and those that Pebble begins as it goes on: a fiftieth of all, at most 10,000,
// must be free. A file system in memory, or one that makes inodes as it needs
// them (it counts none), always can.
func (s *Store) inodes() error {
	fd := s.note.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fd), &st); err != nil || st.Files == 0 {
		return nil // as room
	}
	if need := min(st.Files/50, 10_000); st.Ffree < need {
		return fmt.Errorf("%w: %d inodes free, %d wanted", queue.ErrFull, st.Ffree, need)
	}
	return nil
}

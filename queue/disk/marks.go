package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// marks is a file with a line for each recipient whose final dot was about to
// be sent: "ID N TRIES". It is written without sync, so it tells after a kill,
// and mostly after a power failure, which mail may arrive twice. A line counts
// while the recipient still has as many tries; settling one makes it void.
type marks struct {
	mu   sync.Mutex
	file vfs.File
	size int64
}

// marksAtMost is when the file is begun anew with the lines that still count.
const marksAtMost = 4 << 20

func (s *Store) marksPath() string { return s.path("sending") }

// openMarks logs what the last run left and begins a new file.
func (s *Store) openMarks() error {
	f, err := s.fs.Open(s.marksPath())
	if err == nil {
		err = s.readMarks(f)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %s: %w", s.marksPath(), err)
	}
	s.marks.file, err = s.fs.Create(s.marksPath(), category)
	return err
}

func (s *Store) readMarks(f io.Reader) error {
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var id string
		var n, tries int
		if c, _ := fmt.Sscanf(lines.Text(), "%s %d %d", &id, &n, &tries); c != 3 {
			continue // cut off by the crash
		}
		e := s.index.entries[queue.ID(id)]
		if e == nil {
			continue
		}
		if it := e.find(n); it != nil && it.tries == tries && it.state == queue.Waiting {
			s.twice++
			s.log.Warn("maybe duplicate", "id", id, "domain", it.d.name, "tries", tries)
		}
	}
	if err := lines.Err(); !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	return nil // nothing of ours has lines that long
}

// mark appends lines for recipients of a message.
func (s *Store) mark(id queue.ID, items []*item) error {
	var b []byte
	for _, it := range items {
		b = appendMark(b, id, it.n, it.tries)
	}
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	if s.marks.size > marksAtMost {
		if err := s.marks.renew(s); err != nil {
			return s.fail(err)
		}
	}
	n, err := s.marks.file.Write(b)
	s.marks.size += int64(n)
	if err != nil {
		return s.fail(fmt.Errorf("write %s: %w", s.marksPath(), err))
	}
	return nil
}

// appendMark appends a line.
func appendMark(b []byte, id queue.ID, n, tries int) []byte {
	b = append(append(b, id...), ' ')
	b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	return append(strconv.AppendInt(b, int64(tries), 10), '\n')
}

// renew begins the file anew with all that is in somebody's hands.
func (m *marks) renew(s *Store) error {
	f, err := s.fs.Create(s.marksPath(), category)
	if err != nil {
		return err
	}
	var b []byte
	s.mu.Lock()
	for _, d := range s.index.dests {
		for it := range d.taken {
			b = appendMark(b, it.e.id, it.n, it.tries)
		}
	}
	s.mu.Unlock()
	err = m.file.Close()
	m.file, m.size = f, 0
	_, werr := f.Write(b)
	return errors.Join(err, werr)
}

func (m *marks) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Close()
}

package disk

import (
	"bytes"
	"errors"
	"fmt"
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
	next *lines // that are not being written yet

	turn sync.Mutex // to write; guards what follows
	file vfs.File
	size int64
}

// lines are written together: who comes while others are being written joins
// those that come next.
type lines struct {
	text    []byte
	written chan struct{} // closed when they are, or not: err
	err     error
}

// marksAtMost is when the file is begun anew with the lines that still count.
const marksAtMost = 4 << 20

func (s *Store) marksPath() string { return s.path("sending") }

// openMarks reads what the last run left, and goes on with the same file until
// all of it has been looked at: a crash until then must not make it forgotten.
func (s *Store) openMarks() error {
	f, err := s.fs.OpenReadWrite(s.marksPath(), category)
	if err != nil {
		return err
	}
	s.marks.file = f
	text, err := readWhole(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.marksPath(), err)
	}
	s.loading.marked = readMarks(text)
	s.marks.size = int64(bytes.LastIndexByte(text, '\n') + 1) // the rest was cut off by the crash
	return nil
}

// readMarks leaves out what makes no sense.
func readMarks(text []byte) map[rcptName]int {
	marked := map[rcptName]int{}
	for l := range bytes.Lines(text) {
		f := bytes.Fields(l)
		if len(f) != 3 {
			continue
		}
		id, ok := parseID(string(f[0]))
		n, err1 := strconv.ParseUint(string(f[1]), 10, 31)
		tries, err2 := strconv.ParseUint(string(f[2]), 10, 31)
		if ok && err1 == nil && err2 == nil {
			marked[rcptName{id, uint32(n)}] = int(tries)
		}
	}
	return marked
}

// mayComeTwice counts and logs those recipients of a message of whom it is not
// known what came of the last final dot.
func (s *Store) mayComeTwice(x *admitted) (count int) {
	if len(s.loading.marked) == 0 {
		return 0
	}
	for i := range x.rcpts {
		r := &x.rcpts[i]
		tries, ok := s.loading.marked[rcptName{x.id, uint32(r.n)}]
		if ok && tries == int(countTries(r.tries)) && r.state == waiting {
			count++
			s.log.Warn("maybe duplicate", "id", x.name, "domain", r.domain, "tries", tries)
		}
	}
	return count
}

// mark names a recipient, and the try.
type mark struct{ n, tries int }

// mark appends lines for recipients of a message.
func (s *Store) mark(id queue.ID, ms []mark) error {
	m := &s.marks
	m.mu.Lock()
	l, first := m.next, false
	if l == nil {
		l, first = &lines{written: make(chan struct{})}, true
		m.next = l
	}
	for _, x := range ms {
		l.text = appendMark(l.text, id, x)
	}
	m.mu.Unlock()
	if !first {
		<-l.written
		return l.err
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	defer close(l.written)
	m.mu.Lock()
	m.next = nil
	m.mu.Unlock()
	l.err = s.writeMarks(l.text)
	return l.err
}

// writeMarks writes lines. It is the caller's turn.
func (s *Store) writeMarks(text []byte) error {
	if s.marks.size > marksAtMost && s.isWhole() {
		if err := s.marks.renew(s); err != nil {
			return s.fail(err)
		}
	}
	if err := s.marks.append(text); err != nil {
		return s.fail(fmt.Errorf("write %s: %w", s.marksPath(), err))
	}
	return nil
}

func (m *marks) append(b []byte) error {
	n, err := m.file.WriteAt(b, m.size)
	m.size += int64(n)
	return err
}

// renewMarks begins the file anew, when what the last run left has been looked at.
func (s *Store) renewMarks() error {
	s.marks.turn.Lock()
	defer s.marks.turn.Unlock()
	return s.marks.renew(s)
}

// appendMark appends a line.
func appendMark(b []byte, id queue.ID, m mark) []byte {
	b = append(append(b, id...), ' ')
	b = append(strconv.AppendInt(b, int64(m.n), 10), ' ')
	return append(strconv.AppendInt(b, int64(m.tries), 10), '\n')
}

// renew begins the file anew with all that is in somebody's hands, beside the old
// one: whenever we are killed, one of them is whole. It is the caller's turn.
func (m *marks) renew(s *Store) error {
	var b []byte
	s.mu.Lock()
	for _, d := range s.index.named {
		for _, r := range d.taken {
			it := s.index.at(r)
			b = appendMark(b, formatID(it.id), mark{int(it.n), int(it.tries)})
		}
	}
	s.mu.Unlock()
	old, name := m.file, s.marksPath()+".new"
	f, err := s.fs.Create(name, category)
	if err != nil {
		return err
	}
	m.file, m.size = f, 0
	if err = m.append(b); err == nil {
		err = s.fs.Rename(name, s.marksPath())
	}
	return errors.Join(err, old.Close())
}

func (m *marks) close() error {
	m.turn.Lock()
	defer m.turn.Unlock()
	return m.file.Close()
}

package deliver

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// deadline is d from now, or s.until if that is sooner.
func (s *session) deadline(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if !s.until.IsZero() && s.until.Before(t) {
		return s.until
	}
	return t
}

// read reads one reply, which may take d in all, and wants it of a class. After
// an error that is not a 4xx or 5xx, and after a 421, the session is dead: what
// comes next would be taken for the answer to something else.
func (s *session) read(d time.Duration, class int) (reply, error) {
	s.by = s.deadline(d)
	r, err := s.in.next()
	if err == nil {
		err = r.want(class)
	}
	if err != nil && !answered(err) || r.code == 421 {
		s.dead = true
	}
	return r, err
}

// command sends one line and reads the reply to it.
func (s *session) command(d time.Duration, class int, line string) (reply, error) {
	s.write(line)
	if err := s.flush(); err != nil {
		return reply{}, err
	}
	return s.read(d, class)
}

// write puts a command line into the buffer; what is wrong shows at flush. A
// line that would be two to the peer ends the session instead.
func (s *session) write(line string) {
	if unsafe(line) {
		s.dead, s.pace.err = true, errLineEnd
	}
	s.out.WriteString(line)
	s.out.WriteString("\r\n")
}

func unsafe(line string) bool { return strings.ContainsAny(line, "\r\n\x00") }

var (
	errLineEnd = errors.New("a command with a line end in it is not sent")
	errUnsafe  = &decision{status: "5.1.3", final: true, why: "the address has a line end in it"}
)

// flush sends what was written. When that fails, the peer may have said why
// before it closed.
func (s *session) flush() error {
	if err := s.out.Flush(); err != nil {
		return s.late(err)
	}
	return nil
}

// lateWait is how long a peer that took no more is listened to.
const lateWait = 5 * time.Second

// late is the 4xx or 5xx that a peer sent before it stopped reading, or err.
func (s *session) late(err error) error {
	if s.dead {
		return err
	}
	s.dead = true
	s.by = s.deadline(min(lateWait, s.t.Block))
	if r, rerr := s.in.next(); rerr == nil && r.code >= 400 {
		return r.want(2)
	}
	return err
}

// answered tells whether err is a 4xx or 5xx of the peer.
func answered(err error) bool { _, ok := remote(err); return ok }

func permanent(err error) bool {
	r, ok := remote(err)
	return ok && r.code >= 500
}

// pace is how much is written under one deadline: even the slowest line that we put
// up with (transact.go) takes it in seconds.
const pace = 64 << 10

// pacer writes under a deadline for each piece, so that a peer that stops
// reading is noticed whatever the size of the message. It reads until session.by:
// of replies that came together only the first is waited for.
type pacer struct {
	s   *session
	err error // of writing
}

func (p *pacer) Read(b []byte) (int, error) {
	p.s.conn.SetReadDeadline(p.s.by)
	return p.s.conn.Read(b)
}

func (p *pacer) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) && p.err == nil {
		piece := b[n:min(n+pace, len(b))]
		p.s.conn.SetWriteDeadline(p.s.deadline(p.s.t.Block))
		var m int
		m, p.err = p.s.conn.Write(piece)
		n += m
	}
	if p.err != nil {
		return n, fmt.Errorf("send: %w", p.err)
	}
	return n, nil
}

package submit

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// limits of one connection.
type limits struct {
	idle     time.Duration // for one command line, and between two octets of a body
	session  time.Duration // for the connection's life; a transaction under way has as long again
	write    time.Duration // for one write
	shake    time.Duration // for a TLS handshake
	rate     int64         // octets a second a body must come at,
	span     time.Duration // averaged over this
	stranger int64         // octets read from who has not shown a right to submit
}

// errTooMuch ends a connection that sends on and on without having logged in.
var errTooMuch = errors.New("too many octets before authentication")

// conn is an accepted connection that keeps its own limits, whatever the code
// above it does about deadlines. Its read errors are sticky: after the first
// one nothing is read any more, so what is left of a broken message can never
// be taken for commands. TLS runs on top of it.
type conn struct {
	net.Conn
	limits limits
	born   time.Time
	closed func() // called once, after the connection was closed

	failures int // failed logins; they outlive STARTTLS

	mu       sync.Mutex
	err      error     // sticky
	known    bool      // may submit: stranger no longer counts
	read     int64     // octets
	until    time.Time // end of the wait for a command line
	paced    bool      // a body comes: rate counts
	opened   time.Time // when the span running began
	got      int64     // octets since then
	waiting  bool      // for a command
	busy     bool      // within a mail transaction
	draining bool
	done     bool
}

func newConn(c net.Conn, l limits, closed func()) *conn {
	return &conn{Conn: c, limits: l, born: time.Now(), closed: closed}
}

// Read reads under the limits. A timeout is os.ErrDeadlineExceeded.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.arm(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	return n, c.note(n, err)
}

func (c *conn) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	now := time.Now()
	d := c.deadline(now)
	if !d.After(now) {
		c.err = os.ErrDeadlineExceeded
		return c.err
	}
	if c.waiting && c.draining && !c.busy {
		d = now
	}
	return c.Conn.SetReadDeadline(d)
}

// deadline is the earliest of all that apply.
func (c *conn) deadline(now time.Time) time.Time {
	d := c.born.Add(c.limits.session)
	if c.busy {
		d = d.Add(c.limits.session)
	}
	switch {
	case c.paced:
		d = earlier(d, now.Add(c.limits.idle))
		due := c.limits.rate * int64(c.limits.span/time.Second)
		if end := c.opened.Add(c.limits.span); c.got < due {
			d = earlier(d, end)
		} else if !now.Before(end) {
			c.opened, c.got = now, 0
		}
	case !c.until.IsZero():
		d = earlier(d, c.until)
	default:
		d = earlier(d, now.Add(c.limits.idle))
	}
	return d
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (c *conn) note(n int, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += int64(n)
	c.got += int64(n)
	if err == nil && !c.known && c.read > c.limits.stranger {
		err = errTooMuch
	}
	if err != nil && c.err == nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = os.ErrDeadlineExceeded
		}
		c.err = err
	}
	return err
}

// Write writes under the write limit.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.limits.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetDeadline and its sisters do nothing: the limits prevail.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close closes once.
func (c *conn) Close() error {
	c.mu.Lock()
	was := c.done
	c.done = true
	c.mu.Unlock()
	if was {
		return nil
	}
	err := c.Conn.Close()
	if c.closed != nil {
		c.closed()
	}
	return err
}

// trust lifts the caps on what a stranger may send.
func (c *conn) trust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = true
}

func (c *conn) trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// awaitCommand says that a command line is read next. It is false when there
// is to be none: no transaction is open, and the server drains or the
// connection has lived its time.
func (c *conn) awaitCommand() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy && c.over() {
		return false
	}
	c.paced, c.waiting, c.until = false, true, time.Now().Add(c.limits.idle)
	return true
}

// over says whether no transaction is to begin any more.
func (c *conn) over() bool {
	return c.draining || time.Since(c.born) >= c.limits.session
}

// ended is over, for those without the lock.
func (c *conn) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over()
}

// gotCommand says that the line has come.
func (c *conn) gotCommand() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.until = false, time.Time{}
}

// awaitBody says that a message is read next: from now on the rate counts.
func (c *conn) awaitBody() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.paced {
		c.paced, c.opened, c.got = true, time.Now(), 0
	}
}

// transaction says whether one is open; an open one is not cut by drain.
func (c *conn) transaction(open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = open
}

func (c *conn) inTransaction() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy
}

// drain wakes a reader that only waits for the next command.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.waiting && !c.busy {
		c.Conn.SetReadDeadline(time.Now()) //nolint:errcheck // a closed connection needs no waking
	}
}

func (c *conn) drains() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

package submit

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxLine     = 4096  // octets of a command line, CRLF included
	maxAhead    = 8192  // octets read at once: a short message in one go
	maxPending  = 16384 // octets of replies that wait to be sent
	maxCommands = 100   // of a stranger, in a row, that bring no mail forward
)

// dialogue stands between go-smtp and the connection and shows it one command
// line at a time, so that nothing go-smtp has not asked for as a command is
// ever taken for one. go-smtp calls SetReadDeadline before each line it reads
// as a command or as an answer to AUTH, and before nothing else; that call is
// how the two kinds of reading are told apart. On the way it
//
//   - refuses control characters in commands, which go-smtp would echo,
//     over-long lines, and BDAT commands whose chunk go-smtp would not swallow;
//   - does STARTTLS itself: go-smtp goes on in the clear when the handshake fails;
//   - reads the body of DATA, for the session alone: go-smtp sees its last line;
//   - ends a session once a body broke off (go-smtp parses its rest as commands),
//     or was given up between two chunks (go-smtp may then report the result of
//     one message for the next);
//   - sends replies together, when it must wait for the client.
type dialogue struct {
	net.Conn // a *conn, or TLS over it
	raw      *conn
	server   *Server
	secure   *tls.ConnectionState // nil in the clear

	in      *bufio.Reader // nil once it is closed
	out     []byte
	command bool   // what is read next is a line
	auth    bool   // and it answers a 334
	line    string // the command being worked on, without line end
	helo    bool   // the client greeted in the old way, without extensions
	rest    []byte // of the line, not yet read by go-smtp
	bdat    bool   // what is read now is a chunk,
	chunk   int64  // of which so many octets are still to come
	taken   int64  // octets of the chunks of a message that is not complete
	dots    dots   // how far the body of DATA has been read
	cut     bool   // a body broke off
	muted   int    // replies not to be sent
	moved   bool   // the connection went on under TLS

	spent atomic.Int32 // commands since mail last moved forward
	hung  atomic.Bool  // ends before the next command
}

func newDialogue(c net.Conn, raw *conn, s *Server) *dialogue {
	d := &dialogue{Conn: c, raw: raw, server: s, in: reader(c)}
	if t, ok := c.(*tls.Conn); ok {
		state := t.ConnectionState()
		d.secure = &state
	}
	return d
}

// readers are kept for the next connection, the next message.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxAhead) }}

func reader(r io.Reader) *bufio.Reader {
	b := readers.Get().(*bufio.Reader)
	b.Reset(r)
	return b
}

func handBack(b *bufio.Reader) {
	b.Reset(nil)
	readers.Put(b)
}

// SetReadDeadline announces that go-smtp reads a line next; the time is
// ignored, the limits of conn prevail. Its error ends the session.
func (d *dialogue) SetReadDeadline(time.Time) error {
	if d.moved || d.cut || d.chunk > 0 || d.hung.Load() {
		return net.ErrClosed
	}
	d.command, d.bdat, d.dots = true, false, lineStart
	return nil
}

// Read returns octets of one command line, of the current chunk, or the end of
// a DATA body.
func (d *dialogue) Read(p []byte) (int, error) {
	switch {
	case d.in == nil:
		return 0, net.ErrClosed
	case len(d.rest) > 0:
	case d.command:
		if err := d.next(); err != nil {
			return 0, err
		}
		d.command = false
	case d.bdat:
		return d.body(p)
	default:
		if _, err := io.Copy(io.Discard, data{d}); err != nil {
			return 0, err
		}
		d.rest = []byte(".\r\n")
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// next reads a command line that go-smtp may see.
func (d *dialogue) next() error {
	for {
		if !d.raw.awaitCommand() {
			return d.dismiss()
		}
		line, err := d.readLine()
		d.raw.gotCommand()
		switch {
		case err == bufio.ErrBufferFull:
			return d.farewell("500 5.5.2 command line too long: at most %d octets", maxLine)
		case err != nil && d.raw.ended():
			return d.dismiss()
		case err != nil:
			return err
		}
		ok, err := d.vet(strings.TrimRight(string(line), " \t\r\n"))
		if ok || err != nil {
			return err
		}
	}
}

// readLine waits for a line, having sent the replies that are pending. It holds
// until the next reading. bufio.ErrBufferFull says that it has no end.
func (d *dialogue) readLine() ([]byte, error) {
	for {
		b, _ := d.in.Peek(d.in.Buffered())
		b = b[:min(len(b), maxLine)]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			d.in.Discard(i + 1) //nolint:errcheck // it is buffered
			return b[:i+1], nil
		}
		if len(b) == maxLine {
			return nil, bufio.ErrBufferFull
		}
		if err := d.flush(); err != nil {
			return nil, err
		}
		if _, err := d.in.Peek(len(b) + 1); err != nil {
			return nil, err
		}
	}
}

// vet decides what becomes of a line: go-smtp sees it (true), it has been
// answered here (false), or the session ends (an error).
func (d *dialogue) vet(line string) (bool, error) {
	d.line, d.rest = line, []byte(line+"\r\n")
	if d.auth {
		d.auth = false
		return true, nil
	}
	if d.spent.Add(1) > maxCommands && !d.raw.trusted() {
		return false, d.farewell("421 4.7.0 too many commands without a message")
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false, d.farewell("500 5.5.2 control characters in a command")
	}
	verb, arg, _ := strings.Cut(line, " ")
	switch verb = strings.ToUpper(verb); {
	case verb == "STARTTLS" && arg == "" && d.secure == nil && d.server.o.TLS != nil:
		return false, d.upgrade()
	case strings.HasPrefix(verb, "STARTTLS") && (verb != "STARTTLS" || arg != ""):
		d.say("501 5.5.4 STARTTLS takes no parameter")
		d.rest = nil
		return false, nil
	case (verb == "EHLO" || verb == "HELO") && !printable(arg):
		d.say("501 5.5.2 the name of the client must be ASCII")
		d.rest = nil
		return false, nil
	case (verb == "EHLO" || verb == "HELO" || verb == "RSET") && d.taken > 0:
		return false, d.farewell("421 4.5.0 the chunks sent are given up, please connect again")
	case verb == "EHLO" || verb == "HELO":
		d.helo = verb == "HELO"
	case verb == "MAIL" && huge(arg):
		d.say("552 5.3.4 message too large: at most %d octets", d.server.o.Size)
		d.rest = nil
		return false, nil
	case verb == "BDAT":
		return d.vetChunk(strings.Fields(arg))
	}
	return true, nil
}

// huge says whether a SIZE is declared that go-smtp takes for no number.
func huge(arg string) bool {
	return slices.ContainsFunc(strings.Fields(arg), func(f string) bool {
		size, ok := cutPrefixFold(f, "SIZE=")
		_, err := strconv.ParseUint(size, 10, 32)
		return ok && errors.Is(err, strconv.ErrRange)
	})
}

// peek waits for an octet of a body.
func (d *dialogue) peek() error {
	if d.in.Buffered() > 0 {
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.raw.awaitBody()
	_, err := d.in.Peek(1)
	return err
}

// Write keeps what go-smtp says until the client must be waited for.
func (d *dialogue) Write(p []byte) (int, error) {
	if d.moved {
		return len(p), nil
	}
	if d.muted > 0 {
		d.muted--
		return len(p), nil
	}
	d.auth = bytes.HasPrefix(p, []byte("334"))
	if d.bdat && !bytes.HasPrefix(p, []byte("2")) {
		d.taken = 0
	}
	d.out = append(d.out, p...)
	if len(d.out) > maxPending {
		return len(p), d.flush()
	}
	return len(p), nil
}

// say adds a reply of our own.
func (d *dialogue) say(format string, args ...any) {
	d.out = append(fmt.Appendf(d.out, format, args...), "\r\n"...)
}

func (d *dialogue) flush() error {
	if len(d.out) == 0 {
		return nil
	}
	_, err := d.Conn.Write(d.out)
	d.out = d.out[:0]
	return err
}

// dismiss ends a session that nothing is wrong with.
func (d *dialogue) dismiss() error {
	if d.raw.drains() {
		return d.farewell("421 4.3.2 %s is shutting down, try again later", d.server.o.Hostname)
	}
	return d.farewell("421 4.4.2 %s ends connections after %v, please connect again", d.server.o.Hostname, d.raw.limits.session)
}

// farewell says a last word and ends the session. go-smtp adds nothing to
// net.ErrClosed.
func (d *dialogue) farewell(format string, args ...any) error {
	d.rest = nil
	d.say(format, args...)
	d.hangUp()
	return net.ErrClosed
}

// hangUp ends the session before its next command; what was said is still sent.
func (d *dialogue) hangUp() { d.hung.Store(true) }

// Close sends what is pending and closes, unless TLS has taken over. go-smtp
// goes on after it: it counts on the next reading to fail, though there may be
// commands in our buffer.
func (d *dialogue) Close() error {
	if d.moved {
		return nil
	}
	d.hangUp()
	if d.in != nil { // go-smtp closes where it reads, and more than once
		handBack(d.in)
		d.in = nil
	}
	if err := d.flush(); err != nil {
		d.raw.Close()
		return err
	}
	return d.Conn.Close()
}

// upgrade answers STARTTLS. It ends this session, in the clear, and starts
// another: nothing of the old one is to be remembered (RFC 3207 section 4.2).
// What was sent ahead of the handshake is an attempt to inject commands.
func (d *dialogue) upgrade() error {
	d.rest = nil
	if d.in.Buffered() > 0 {
		return d.farewell("503 5.5.1 nothing may follow STARTTLS before the handshake")
	}
	d.say("220 2.0.0 ready to start TLS")
	if err := d.flush(); err != nil {
		return err
	}
	t, err := d.server.handshake(d.raw)
	if err != nil {
		d.raw.Close()
		return net.ErrClosed
	}
	d.moved = true
	d.raw.transaction(false)
	after := newDialogue(t, d.raw, d.server)
	after.muted = 1 // no second greeting
	d.server.secure.hand(after)
	return net.ErrClosed
}

// printable says whether s is graphic ASCII and spaces.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

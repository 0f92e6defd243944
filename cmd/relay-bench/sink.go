package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// conduct is how an exchanger treats who comes.
type conduct int

const (
	takes   conduct = iota // every message
	defers                 // answers 451 to every RCPT
	silence                // accepts the connection and never greets
)

// sink is every exchanger of the small internet: a listener for all their addresses. It
// answers commands that came together together (PIPELINING), keeps nothing, and hands
// each message to take before it says 250.
type sink struct {
	ln   *net.TCPListener
	how  atomic.Pointer[func(local netip.Addr) conduct] // nil: takes
	take atomic.Pointer[func(data []byte) error]

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// newSink listens. Until somebody says what to do with messages, it takes none.
func newSink(addr string) (*sink, error) {
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp4", addr)
	if err != nil {
		return nil, err
	}
	s := &sink{ln: ln.(*net.TCPListener), conns: map[net.Conn]bool{}}
	s.done.Go(s.accept)
	return s, nil
}

// taking sets who gets the messages from now on.
func (s *sink) taking(f func(data []byte) error) { s.take.Store(&f) }

// behave sets how the exchangers treat connections from now on, by their address; nil:
// they take everything.
func (s *sink) behave(how func(local netip.Addr) conduct) {
	if how == nil {
		how = func(netip.Addr) conduct { return takes }
	}
	s.how.Store(&how)
}

func (s *sink) accept() {
	for {
		c, err := s.ln.AcceptTCP()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.done.Go(func() {
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// hangUp ends every connection, as between two runs.
func (s *sink) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *sink) close() error {
	err := s.ln.Close()
	s.hangUp()
	s.done.Wait()
	return err
}

// serve one connection to its end.
func (s *sink) serve(c *net.TCPConn) {
	how := takes
	if f := s.how.Load(); f != nil {
		how = (*f)(c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
	}
	if how == silence {
		c.Read(make([]byte, 1)) // until the other side has had enough
		return
	}
	in := wires.Get().(*wire)
	defer wires.Put(in)
	*in = wire{conn: c, buf: in.buf, out: in.out[:0]}
	in.out = append(in.out, "220 sink.test ESMTP\r\n"...)
	for {
		command, err := in.line()
		if err != nil {
			return
		}
		verb, _, _ := bytes.Cut(command, []byte(" "))
		for i, c := range verb {
			if 'a' <= c && c <= 'z' {
				verb[i] -= 'a' - 'A'
			}
		}
		switch string(verb) {
		case "EHLO":
			in.reply("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n")
		case "RCPT":
			if how == defers {
				in.reply("451 4.2.1 try again later\r\n")
				continue
			}
			in.rcpts++
			in.reply("250 2.1.5 ok\r\n")
		case "MAIL", "RSET":
			in.rcpts = 0
			in.reply("250 2.1.0 ok\r\n")
		case "NOOP", "HELO":
			in.reply("250 ok\r\n")
		case "DATA":
			if in.rcpts == 0 {
				in.reply("503 5.5.1 no recipient\r\n")
				continue
			}
			in.reply("354 go on\r\n")
			data, err := in.data()
			if err != nil {
				return
			}
			in.rcpts = 0
			in.reply(s.verdict(data))
		case "QUIT":
			in.reply("221 2.0.0 bye\r\n")
			in.flush()
			return
		default:
			in.reply("500 5.5.2 what?\r\n")
		}
	}
}

func (s *sink) verdict(data []byte) string {
	take := s.take.Load()
	if take == nil {
		return "451 4.3.0 nobody here\r\n"
	}
	if err := (*take)(data); err != nil {
		return fmt.Sprintf("554 5.6.0 %v\r\n", err)
	}
	return "250 2.0.0 got it\r\n"
}

// wire is a connection that is read by lines and by messages.
type wire struct {
	conn  net.Conn
	buf   []byte
	r, w  int // what is not read yet is buf[r:w]
	out   []byte
	rcpts int
}

// wires that were used, for the next connections.
var wires = sync.Pool{New: func() any { return &wire{buf: make([]byte, 8<<10)} }}

func (in *wire) reply(text string) { in.out = append(in.out, text...) }

func (in *wire) flush() error {
	if len(in.out) == 0 {
		return nil
	}
	_, err := in.conn.Write(in.out)
	in.out = in.out[:0]
	return err
}

// more reads on; what was to be said is said before we wait.
func (in *wire) more() error {
	if err := in.flush(); err != nil {
		return err
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// find the end that is asked for, from at on, and read until it is there.
func (in *wire) find(end string) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.Index(in.buf[in.r+seen:in.w], []byte(end)); i >= 0 {
			text := in.buf[in.r : in.r+seen+i]
			in.r += seen + i + len(end)
			return text, nil
		}
		seen = max(0, in.w-in.r-len(end)+1)
		if err := in.more(); err != nil {
			return nil, err
		}
	}
}

// line is the next one without its end; it is good until the next read.
func (in *wire) line() ([]byte, error) { return in.find("\r\n") }

// data is the next message without its final dot, likewise. The bodies of this program
// have no line that starts with a dot.
func (in *wire) data() ([]byte, error) {
	text, err := in.find("\r\n.\r\n")
	if err != nil {
		return nil, err
	}
	return text[:len(text)+2], nil
}

// Package mxtest is a mail exchanger that behaves as a script says: a real SMTP
// server on a real socket for tests, scenarios and the demo. It keeps what it
// was given, as the client put it on the wire and as a reader would see it.
//
// A script is a list of lines; "#" begins a comment. Without any line the
// server is a plain, friendly exchanger.
//
//	tls NAME...            offer STARTTLS with a self-signed certificate for these names
//	tls broken             offer STARTTLS and break every handshake
//	implicit               TLS from the first octet (with a tls line)
//	auth USER PASSWORD     offer AUTH PLAIN and LOGIN, take no mail without
//	hide KEYWORD           do not show this EHLO keyword ("nopipelining" = hide PIPELINING)
//	offer KEYWORD TEXT     show this one, with its parameters
//	STEP CODE TEXT         answer so, instead of as usual
//	STEP <ADDRESS> CODE TEXT    for this address only (MAIL and RCPT)
//	drop STEP              close the connection there, without a word
//	hang STEP              never answer there
//	hold STEP              answer as usual once Release is called
//	raw STEP "TEXT"        write these octets, a quoted Go string, instead of a reply
//	late STEP CODE TEXT    answer so in the middle of the body, then close (STEP is "body")
//
// STEP is banner, EHLO, HELO, STARTTLS, AUTH, MAIL, RCPT, DATA, body (its first
// octets), dot (the end of the body), RSET, NOOP or QUIT. Any line may end in
// ", once", ", N times" or ", after N": how often it applies, counted over all
// connections. The first line that applies to a step wins.
package mxtest

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Message is one that the server answered 250 to.
type Message struct {
	From   string   // "" is the null sender
	Params string   // of MAIL FROM, as sent
	To     []string // recipients that were accepted
	Data   []byte   // un-stuffed, without the final dot
	EHLO   string   // the name the client gave last
	Remote netip.AddrPort
	TLS    string // "", "TLS 1.3"
	User   string // who authenticated
}

// Conn is one connection as the client played it.
type Conn struct {
	Remote   netip.AddrPort
	EHLO     []string // names, in order: one more after STARTTLS
	Commands []string // lines, without CRLF; AUTH without what follows the mechanism
	Wire     []byte   // every octet after TLS was taken off
	TLS      string
	Closed   bool // the connection has ended
}

// Server is a running exchanger.
type Server struct {
	ln   net.Listener
	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup

	mu       sync.Mutex
	script   *script
	messages []Message
	conns    []*Conn
	open     map[net.Conn]bool
	held     int           // connections at a hold
	release  chan struct{} // closed by Release
	changed  chan struct{}
}

// Start listens on addr ("127.0.0.2:0") and serves by script.
func Start(addr, text string) (*Server, error) {
	sc, err := parse(text)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, script: sc, open: map[net.Conn]bool{}, release: make(chan struct{}), changed: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort {
	return netip.MustParseAddrPort(s.ln.Addr().String())
}

// CA is the server's certificate in PEM, for a client that verifies it; nil
// without a tls line.
func (s *Server) CA() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script.ca
}

// Set replaces the script, for connections and commands from now on.
func (s *Server) Set(text string) error {
	sc, err := parse(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = sc
	return nil
}

// Messages returns what was accepted so far, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Take returns what Messages would, and forgets it and the connections that have
// ended, so that a long run stays small. Wait counts anew from here.
func (s *Server) Take() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := s.messages
	s.messages = nil
	s.conns = slices.DeleteFunc(s.conns, func(c *Conn) bool { return c.Closed })
	return ms
}

// Conns returns the connections so far, oldest first.
func (s *Server) Conns() []Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cs []Conn
	for _, c := range s.conns {
		cp := *c
		cp.EHLO, cp.Commands, cp.Wire = slices.Clone(c.EHLO), slices.Clone(c.Commands), slices.Clone(c.Wire)
		cs = append(cs, cp)
	}
	return cs
}

// Wait returns once n messages were accepted in all, or with ctx's error.
func (s *Server) Wait(ctx context.Context, n int) error {
	return s.until(ctx, func() bool { return len(s.messages) >= n })
}

// WaitClosed returns once n connections were opened and all have ended.
func (s *Server) WaitClosed(ctx context.Context, n int) error {
	return s.until(ctx, func() bool {
		return len(s.conns) >= n && !slices.ContainsFunc(s.conns, func(c *Conn) bool { return !c.Closed })
	})
}

// WaitHeld returns once n connections have come to a hold and wait for Release.
func (s *Server) WaitHeld(ctx context.Context, n int) error {
	return s.until(ctx, func() bool { return s.held >= n })
}

// Release lets those at a hold go on, and those that come to one from now on
// pass it.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

// hold waits for Release; false: the server ends first.
func (s *Server) hold() bool {
	s.update(func() { s.held++ })
	defer s.update(func() { s.held-- })
	select {
	case <-s.release:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) until(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the listener and every connection.
func (s *Server) Close() error {
	s.stop()
	err := s.ln.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ctx.Err() != nil {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.open[c] = true
		rec := &Conn{Remote: netip.MustParseAddrPort(c.RemoteAddr().String())}
		s.conns = append(s.conns, rec)
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c, rec) })
	}
}

func (s *Server) serve(raw net.Conn, rec *Conn) {
	defer func() {
		raw.Close()
		s.update(func() { delete(s.open, raw); rec.Closed = true })
	}()
	d := &dialogue{s: s, raw: raw, rec: rec}
	if sc := s.current(); sc.implicit {
		if !d.handshake(sc) {
			return
		}
	} else {
		d.use(raw)
	}
	d.run()
}

func (s *Server) current() *script {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script
}

// update changes what is kept and wakes who waits for it.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// next is what the script says to a step: nil for the usual.
func (s *Server) next(step, address string) *rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script.next(step, address)
}

func version(c *tls.Conn) string { return tls.VersionName(c.ConnectionState().Version) }

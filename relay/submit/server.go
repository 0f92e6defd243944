// Package submit takes mail from those who may send it, over SMTP (RFC 6409),
// and answers 250 only when a queue has it on disk. Who may: trusted networks,
// whoever can open a unix socket of ours, and users who log in under TLS.
//
// The protocol is go-smtp's; what it leaves open is closed here. A connection
// is a conn (limits), perhaps TLS over it, a dialogue (one command at a time)
// and a session (what the commands mean). A message is vetted, mended where a
// line is too long for the way ahead, judged by the gate, signed, committed.
package submit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Gate rules on a message by the domains it speaks for.
type Gate interface {
	Judge(ctx context.Context, m preflight.Mail) preflight.Ruling
}

// Signer makes the DKIM-Signature fields of a message, read from r, in the
// name of a domain: header lines with CRLF, nil when no key signs for it. An
// error is temporary.
type Signer interface {
	Sign(domain string, r io.Reader) ([]byte, error)
}

// Server is submission. Listen opens its sockets, Serve works on them.
type Server struct {
	o      Options
	in     queue.Intake
	gate   Gate
	signer Signer
	log    *slog.Logger
	auth   *authority
	limits limits
	press  *press
	grace  time.Duration // for transactions under way when Serve's context ends

	clear, secure *stage        // before TLS, and under it
	signing       chan struct{} // a place for each signature being made
	listeners     []*listener

	ctx    context.Context // of the work on messages: outlives Serve's by grace
	cancel context.CancelFunc

	mu     sync.Mutex
	conns  map[*conn]struct{}
	perIP  map[string]int
	drains bool
	over   bool
	work   sync.WaitGroup // messages being taken; none begins when over
	empty  chan struct{}  // closed when it drains and the last connection is gone
}

// New checks the options and fills in the defaults. It opens no socket.
func New(o Options, in queue.Intake, g Gate, s Signer) (*Server, error) {
	o = withDefaults(o)
	if len(o.Listen) == 0 {
		return nil, errors.New("submission: nowhere to listen at")
	}
	if o.Hostname == "" {
		return nil, errors.New("submission: no host name for the banner")
	}
	for _, l := range o.Listen {
		if l.Network != "tcp" && l.Network != "unix" {
			return nil, fmt.Errorf("submission: listen at %s: unknown network %q: expected tcp or unix", l.Address, l.Network)
		}
		if l.Implicit && o.TLS == nil {
			return nil, fmt.Errorf("submission: listen at tls://%s: no certificate", l.Address)
		}
	}
	srv := &Server{
		o: o, in: in, gate: g, signer: s, log: o.Log,
		auth:    newAuthority(o.Users, o.Log),
		press:   newPress(o.Log),
		grace:   30 * time.Second,
		signing: make(chan struct{}, runtime.GOMAXPROCS(0)),
		conns:   map[*conn]struct{}{},
		perIP:   map[string]int{},
		empty:   make(chan struct{}),
		limits: limits{
			idle: o.Idle, session: o.Session, write: 30 * time.Second, shake: 10 * time.Second,
			rate: 256, span: 5 * time.Minute, // a modem of the second generation makes 1000, and has its pauses
			stranger: 64 << 10,
		},
	}
	srv.ctx, srv.cancel = context.WithCancel(context.Background())
	srv.clear, srv.secure = srv.newStage(false), srv.newStage(true)
	return srv, nil
}

func withDefaults(o Options) Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fill(&o.Size, 50<<20)
	fill(&o.Recipients, 1000)
	fill(&o.Conns, 1000)
	fill(&o.ConnsPerIP, 50)
	fill(&o.Idle, 5*time.Minute)
	fill(&o.Session, time.Hour)
	fill(&o.Hops, 50)
	fill(&o.SocketMode, 0o660)
	return o
}

func fill[T int | int64 | uint32 | time.Duration](v *T, byDefault T) {
	if *v <= 0 {
		*v = byDefault
	}
}

// stage is one go-smtp server, fed with connections that we accepted.
// STARTTLS moves a connection from one stage to the other: go-smtp itself
// never sees TLS, it is told what holds by the options of the stage.
type stage struct {
	smtp *smtp.Server
	conn chan net.Conn
	done chan struct{}
	once sync.Once
}

func (s *Server) newStage(secure bool) *stage {
	st := &stage{conn: make(chan net.Conn), done: make(chan struct{})}
	m := smtp.NewServer(smtp.BackendFunc(s.newSession))
	m.Domain = s.o.Hostname
	m.MaxRecipients = s.o.Recipients
	m.MaxMessageBytes = s.o.Size // of what is declared, and of chunks; Data keeps the limit of what comes
	m.MaxLineLength = 0          // dialogue limits command lines; body lines have no limit
	m.ReadTimeout = time.Hour    // any but 0: makes go-smtp announce its command lines, see dialogue
	m.EnableSMTPUTF8 = true
	m.EnableDSN = true
	m.ErrorLog = grumble{s.log}
	if secure {
		m.AllowInsecureAuth = true // it cannot see that TLS is there
	} else if s.o.TLS != nil {
		m.TLSConfig = &tls.Config{} // advertises STARTTLS, which dialogue answers
	}
	st.smtp = m
	return st
}

// hand gives a connection to the stage, or closes it when the stage is gone.
func (st *stage) hand(c net.Conn) {
	select {
	case st.conn <- c:
	case <-st.done:
		c.Close()
	}
}

// Accept, Close and Addr make a stage the listener of its go-smtp server.
func (st *stage) Accept() (net.Conn, error) {
	select {
	case c := <-st.conn:
		return c, nil
	case <-st.done:
		return nil, net.ErrClosed
	}
}

func (st *stage) Close() error {
	st.once.Do(func() { close(st.done) })
	return nil
}

func (st *stage) Addr() net.Addr { return nil }

// serve returns when the stage was closed and its last session has ended.
func (st *stage) serve() error {
	st.smtp.Serve(st) //nolint:errcheck // only ever net.ErrClosed, of our own Close
	return st.smtp.Shutdown(context.Background())
}

// Serve works until ctx ends, then drains: idle connections hear 421, what is
// in a mail transaction has half a minute to finish. Sockets are closed when it
// returns.
func (s *Server) Serve(ctx context.Context) error {
	defer s.cancel()
	var stages, doors errgroup.Group
	stages.Go(s.clear.serve)
	stages.Go(s.secure.serve)
	failed := make(chan struct{})
	var once sync.Once
	for _, l := range s.listeners {
		doors.Go(func() error {
			err := s.accept(l)
			if err != nil {
				once.Do(func() { close(failed) })
			}
			return err
		})
	}
	select {
	case <-ctx.Done():
	case <-failed:
	}
	err := s.Close()
	err = errors.Join(doors.Wait(), err)
	s.drain()
	s.clear.Close()
	s.secure.Close()
	err = errors.Join(err, stages.Wait())
	s.finish()
	return err
}

// begin says whether a message may still be taken; then work must be told when
// it is done. go-smtp's goroutine of a chunked message outlives its session.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.work.Add(1)
	}
	return !s.over
}

// finish returns when nothing of ours touches the queue any more.
func (s *Server) finish() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.work.Wait()
}

// drain ends the sessions: those that wait at once, the others after grace.
func (s *Server) drain() {
	s.mu.Lock()
	s.drains = true
	for c := range s.conns {
		c.drain()
	}
	if len(s.conns) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	patience := time.NewTimer(s.grace)
	defer patience.Stop()
	select {
	case <-s.empty:
		return
	case <-patience.C:
	}
	s.cancel()
	s.mu.Lock()
	left := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
}

// handshake is the server's half of TLS, in bounded time. It survives a panic
// in a callback of the configuration.
func (s *Server) handshake(c *conn) (t *tls.Conn, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(c.RemoteAddr(), r)
			err = errors.New("panic in the handshake")
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, s.limits.shake)
	defer cancel()
	t = tls.Server(c, s.o.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		s.log.Info("tls handshake failed", "remote", remote(c), "reason", err.Error())
		return nil, err
	}
	return t, nil
}

// panicked logs what a callback did; the connection it did it to is closed by
// the caller, and nothing else suffers.
func (s *Server) panicked(who net.Addr, what any) {
	s.log.Error("panic in a session", "remote", fmt.Sprint(who), "err", fmt.Sprintf("%v\n%s", what, debug.Stack()))
}

// grumble takes go-smtp's own log: panics it recovered from, and noise.
type grumble struct{ log *slog.Logger }

func (g grumble) Printf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(format, "panic") {
		g.log.Error("panic in a session", "err", text)
		return
	}
	g.log.Debug("session broke off", "reason", text)
}

func (g grumble) Println(v ...any) { g.Printf("%s", fmt.Sprintln(v...)) }

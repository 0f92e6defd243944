// Package admin lets an operator look at the queue and act on it: HTTP with
// JSON over a unix socket, and the client of it that the commands use. Who may
// open the socket may do everything; who that was stands in the log when mail
// is removed. No answer holds a secret: the queue has none.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/net/netutil"

	"smtprelay/queue"
)

// Words of the API, for callers that do not know the queue.
type (
	ID        = queue.ID
	State     = queue.State
	Filter    = queue.Filter
	Entry     = queue.Entry
	Message   = queue.Message
	Recipient = queue.Recipient
	Attempt   = queue.Attempt
)

// Status is the answer to "how is it".
type Status struct {
	Version string
	Since   time.Time
	Queue   queue.Stat
	Verdict string // of the preflight
	Action  string // what happens to mail because of it
}

const (
	conns     = 64               // at once
	grace     = 5 * time.Second  // for a running answer, when the end has come
	patience  = 30 * time.Second // with a client that does not read
	maxAsked  = 64 << 10         // octets of a request's body
	maxHeader = 8 << 10
)

// Server serves the socket.
type Server struct {
	o      Options
	desk   queue.Desk
	status func() Status
	log    *slog.Logger
	ln     net.Listener
	read   time.Duration // for a request to be read
}

// New makes a Server; Listen opens its socket. status fills in what the server
// does not know itself: it counts the queue, and knows the program's version.
func New(o Options, desk queue.Desk, status func() Status) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if status == nil {
		status = func() Status { return Status{} }
	}
	return &Server{o: o, desk: desk, status: status, log: o.Log, read: 2 * grace}
}

// Listen opens the socket. A stale one is replaced; one that somebody serves is
// an error.
func (s *Server) Listen() error {
	if s.o.Socket == "" {
		return nil
	}
	ln, err := listen(s.o.Socket)
	if err != nil {
		return err
	}
	s.ln = netutil.LimitListener(ln, conns)
	return nil
}

// Close gives the socket up without having served it. After Serve it does nothing.
func (s *Server) Close() error {
	if s.ln == nil {
		return nil
	}
	if err := s.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve answers until ctx ends, and then gives what is running a moment. It
// returns nil then.
func (s *Server) Serve(ctx context.Context) error {
	if s.ln == nil {
		<-ctx.Done()
		return nil
	}
	h := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: grace,
		ReadTimeout:       s.read,
		IdleTimeout:       patience,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if h.Shutdown(late) != nil {
			done <- h.Close()
			return
		}
		done <- nil
	}()
	if err := h.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

// version is that of the program, as the build knows it.
func version() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Version
	}
	return ""
}

package submit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listener is one open place to listen at.
type listener struct {
	net.Listener
	implicit bool
	addr     net.Addr
	path     string      // unix: the socket's file,
	file     os.FileInfo // as it was made
}

// Listen opens all sockets, or none and says why.
func (s *Server) Listen() error {
	for _, l := range s.o.Listen {
		open := listenTCP
		if l.Network == "unix" {
			open = listenUnix
		}
		opened, err := open(l.Address, os.FileMode(s.o.SocketMode))
		if err != nil {
			return errors.Join(fmt.Errorf("listen at %s: %w", l.Address, err), s.Close())
		}
		opened.implicit = l.Implicit
		s.listeners = append(s.listeners, opened)
	}
	return nil
}

// Addrs are the addresses listened at, with their real ports.
func (s *Server) Addrs() []net.Addr {
	var as []net.Addr
	for _, l := range s.listeners {
		as = append(as, l.addr)
	}
	return as
}

// Close stops listening. Serve does it too.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		l.unlink()
	}
	return errors.Join(errs...)
}

// listenTCP does without multipath TCP, which Go turns on by default and which
// sandboxes do not know how to forbid, and without keep-alive: the limits of
// conn end a silent connection, and four system calls each are saved.
func listenTCP(addr string, _ os.FileMode) (*listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, addr: l.Addr()}, nil
}

// listenUnix makes the socket in a private directory and moves it to its place
// once it has its mode, so that nobody ever sees it with another one. A socket
// that a dead process left behind is replaced; a living one is an error.
func listenUnix(path string, mode os.FileMode) (*listener, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: made})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, mode), os.Rename(made, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	file, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &listener{Listener: l, addr: &net.UnixAddr{Net: "unix", Name: path}, path: path, file: file}, nil
}

// vacant says whether path may be taken.
func vacant(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != os.ModeSocket:
		return errors.New("something that is no socket is in its place")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("another process answers there: %w", syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// unlink removes the socket's file, unless another has taken its place.
func (l *listener) unlink() {
	if l.path == "" {
		return
	}
	if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.file) {
		os.Remove(l.path)
	}
}

// accept takes connections until the listener is closed.
func (s *Server) accept(l *listener) error {
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ECONNABORTED):
			s.log.Warn("connection not accepted", "err", err.Error())
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return nil
			}
			pause = min(2*pause, time.Second)
			continue
		case err != nil:
			return fmt.Errorf("accept at %s: %w", l.addr, err)
		}
		pause = 5 * time.Millisecond
		s.admit(nc, l.implicit)
	}
}

// admit lets a connection in, or turns it away where there are too many. The
// cap per address is for strangers, and they leave a tenth of all places to
// the networks that are trusted.
func (s *Server) admit(nc net.Conn, implicit bool) {
	origin, places := "", s.o.Conns
	if s.trusts(nc.RemoteAddr()) == "" {
		ip, _ := addrOf(nc.RemoteAddr())
		origin = originOf(ip)
		places -= places / 10
	}
	s.mu.Lock()
	full := len(s.conns) >= places || origin != "" && s.perIP[origin] >= s.o.ConnsPerIP || s.drains
	var c *conn
	if !full {
		c = newConn(nc, s.limits, func() { s.gone(c, origin) })
		s.conns[c] = struct{}{}
		s.perIP[origin]++
	}
	s.mu.Unlock()
	if full {
		s.turnAway(nc, implicit)
		return
	}
	go func() {
		if !implicit {
			s.clear.hand(newDialogue(c, c, s))
			return
		}
		t, err := s.handshake(c)
		if err != nil {
			c.Close()
			return
		}
		s.secure.hand(newDialogue(t, c, s))
	}()
}

// turnAway says why, where that can be said in the clear. The few octets fit
// the socket's buffer: nobody waits.
func (s *Server) turnAway(nc net.Conn, implicit bool) {
	s.log.Warn("connection refused", "remote", remote(nc), "reason", "too many connections")
	if !implicit {
		nc.SetWriteDeadline(time.Now().Add(time.Second))                                            //nolint:errcheck // closed next
		fmt.Fprintf(nc, "421 4.7.0 %s has too many connections, try again later\r\n", s.o.Hostname) //nolint:errcheck // closed next
	}
	nc.Close()
}

func (s *Server) gone(c *conn, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perIP[origin]--; s.perIP[origin] <= 0 {
		delete(s.perIP, origin)
	}
	if s.drains && len(s.conns) == 0 {
		close(s.empty)
	}
}

// originOf is what the cap per address counts: an IPv4 address, or an IPv6 /64,
// which is what one customer has.
func originOf(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}

func addrOf(a net.Addr) (netip.Addr, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	ip := t.AddrPort().Addr().Unmap()
	return ip, ip.IsValid()
}

// remote names the client in logs: an address, or "unix".
func remote(c net.Conn) string {
	if ip, ok := addrOf(c.RemoteAddr()); ok {
		return ip.String()
	}
	return "unix"
}

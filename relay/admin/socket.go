package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mode    = 0o660
	maxPath = 107 // of sun_path (unix(7))
)

// listen binds a unix socket that its owner and group may open.
func listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("admin socket %s: path of %d octets: expected at most %d", path, len(path), maxPath)
	}
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("admin socket %s: its directory must exist: %w", path, err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("admin socket %s: %s is not a directory", path, dir)
	}
	if err := vacate(path); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	lc := net.ListenConfig{Control: modest}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil { // what the umask took away
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), ln.Close())
	}
	return knowing{ln}, nil
}

// modest sets the mode that the socket file will be made with, so that it is
// open to others at no moment.
func modest(_, _ string, c syscall.RawConn) error {
	var chmod error
	err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), mode) })
	return errors.Join(err, chmod)
}

// vacate removes a socket that nobody serves any more.
func vacate(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("something else is there: expected a socket or nothing")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("another relay answers there: %w", syscall.EADDRINUSE), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("see whether it is in use: %w", err)
	}
	return os.Remove(path)
}

// knowing is a listener whose connections say who is at the other end.
type knowing struct{ net.Listener }

func (k knowing) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &known{c, who(c)}, nil
}

// known gives the user as its remote address, which has none of its own.
type known struct {
	net.Conn
	user userName
}

func (k *known) RemoteAddr() net.Addr { return k.user }

type userName string

func (userName) Network() string  { return "unix" }
func (u userName) String() string { return string(u) }

// who asks the kernel whose process connected.
func who(c net.Conn) userName {
	const unknown = "unknown"
	u, ok := c.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) { cred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || asked != nil {
		return unknown
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return userName(u.Username)
	}
	return userName("uid " + uid)
}

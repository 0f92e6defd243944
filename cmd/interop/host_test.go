//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"smtprelay/cmd/sandbox"
)

// host is a machine of this internet: a network namespace with addresses, and a
// root file system of its own.
type host struct {
	name, dir string
	addrs     []netip.Addr
	log       *transcript // of all its programs
}

// networks are on one wire: whoever has an address of them reaches the others.
var networks = []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"}

// newHost makes a machine over a root of the cache. cable numbers its cable.
func newHost(work, name, root string, cable int, addrs []netip.Addr) (*host, error) {
	h := &host{name: name, dir: filepath.Join(work, "live", name, "root"), addrs: addrs}
	var err error
	if h.log, err = newTranscript(filepath.Join(work, "logs", name+".log")); err != nil {
		return nil, err
	}
	if err := sandbox.Overlay(root, h.dir); err != nil {
		return nil, fmt.Errorf("root of %s: %w", name, err)
	}
	if err := h.connect(cable); err != nil {
		return nil, fmt.Errorf("network of %s: %w", name, err)
	}
	return h, h.listenLog()
}

// connect lays the cable and gives the addresses. There is no default route.
func (h *host) connect(cable int) error {
	end := fmt.Sprintf("cable%d", cable)
	for _, words := range []string{
		"netns add " + h.name,
		"link add " + end + " type veth peer name eth0 netns " + h.name,
		"link set " + end + " master switch up",
		"-n " + h.name + " link set lo up",
		"-n " + h.name + " link set eth0 up",
	} {
		if err := sandbox.Run("ip", strings.Fields(words)...); err != nil {
			return err
		}
	}
	for _, a := range h.addrs {
		if err := h.address(a); err != nil {
			return err
		}
	}
	for _, n := range networks {
		p := netip.MustParsePrefix(n)
		for _, a := range h.addrs {
			if a.Is4() == p.Addr().Is4() {
				if err := sandbox.Run("ip", "-n", h.name, "route", "replace", n, "dev", "eth0", "src", a.String()); err != nil {
					return err
				}
				break
			}
		}
	}
	return h.allow("net/ipv4/ip_unprivileged_port_start", "0")
}

// address gives it one: it counts from now on, not when the neighbours have been
// asked whether it is theirs.
func (h *host) address(a netip.Addr) error {
	return sandbox.Run("ip", "-n", h.name, "addr", "add", a.String(), "dev", "eth0", "nodad")
}

// allow sets a sysctl of its network.
func (h *host) allow(name, value string) error {
	_, err := h.run("", "sh", "-c", "echo "+value+" > /proc/sys/"+name)
	return err
}

// listenLog takes what its programs say to syslog(3).
func (h *host) listenLog() error {
	path := filepath.Join(h.dir, "dev/log")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return err
	}
	priority := regexp.MustCompile(`^<\d+>`)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			line := priority.ReplaceAll(bytes.TrimRight(buf[:n], "\n\x00"), nil)
			h.log.Write(append(line, '\n'))
		}
	}()
	return nil
}

// command of the host, run by root or, where one is named, by a user.
func (h *host) command(user, name string, args ...string) *exec.Cmd {
	in := []string{"--net=/run/netns/" + h.name, "--root=" + h.dir, "--wd=" + h.dir, "--"}
	if user != "" {
		in = append(in, "setpriv", "--reuid="+user, "--regid="+user, "--init-groups", "--no-new-privs", "--")
	}
	c := exec.Command("nsenter", append(append(in, name), args...)...)
	c.Env = environment
	return c
}

// environment of what runs on a host.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"}

// run a command to its end; what it said on stderr stands in the error.
func (h *host) run(user, name string, args ...string) (string, error) {
	out, err := sandbox.Output(h.command(user, name, args...))
	if err != nil {
		err = fmt.Errorf("%s: %s %s: %w", h.name, name, strings.Join(args, " "), err)
	}
	return out, err
}

// program is one that goes on running.
type program struct {
	cmd   *exec.Cmd
	out   *transcript
	begun int           // of out, when it started
	done  chan struct{} // it has ended
}

// start a program of the host.
func (h *host) start(out *transcript, user, name string, args ...string) (*program, error) {
	return begin(h.command(user, name, args...), out)
}

// begin a program whose words go to out.
func begin(c *exec.Cmd, out *transcript) (*program, error) {
	text, _ := out.since(0)
	p := &program{cmd: c, out: out, begun: len(text), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	return p, nil
}

// await a line of the program.
func (p *program) await(pattern string) error {
	if p == nil {
		return errors.New("it does not run")
	}
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	if err := p.out.await(re, p.begun, p.done); err != nil {
		text, _ := p.out.since(p.begun)
		return fmt.Errorf("%w:\n%s", err, text)
	}
	return nil
}

// stop ends the program as its service manager would.
func (p *program) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
		return errors.New("it did not end at SIGTERM")
	}
}

// write a file of the host.
func (h *host) write(name, text string, mode os.FileMode) error {
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

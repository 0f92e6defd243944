//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// booted is systemd as the first process of a server, with the relay's unit.
type booted struct {
	*host
	systemd *program
}

// bootScript gives systemd what it wants of a machine, then becomes it.
const bootScript = `
mount --make-rprivate /
cd "$0"
umount proc
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
rm -f dev/console dev/log
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec /lib/systemd/systemd --system --unit=basic.target --show-status=no
`

// boot starts systemd and waits until it has.
func (h *host) boot(out *transcript) (*booted, error) {
	// The unit's capability is what lets it have port 25.
	if err := h.allow("net/ipv4/ip_unprivileged_port_start", "1024"); err != nil {
		return nil, err
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(h.dir, "booted"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	c := exec.Command("nsenter", "--net=/run/netns/"+h.name, "sh", "-ec", bootScript, h.dir)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=other", "NOTIFY_SOCKET=/booted"}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	p, err := begin(c, out)
	if err != nil {
		return nil, err
	}
	ready.SetReadDeadline(time.Now().Add(patience))
	go func() { <-p.done; ready.SetReadDeadline(time.Now()) }()
	buf := make([]byte, 4096)
	for {
		n, err := ready.Read(buf)
		if err != nil {
			text, _ := out.since(p.begun)
			return nil, errors.Join(fmt.Errorf("systemd did not come up: %w\n%s", err, text), p.cmd.Process.Kill())
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return &booted{h, p}, nil
		}
	}
}

// run a command in there.
func (b *booted) run(name string, args ...string) (string, error) {
	in := []string{fmt.Sprintf("--target=%d", b.systemd.cmd.Process.Pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--", name}
	c := exec.Command("nsenter", append(in, args...)...)
	c.Env = environment
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := bounded(c); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// property of the relay's unit.
func (b *booted) property(name string) (string, error) {
	out, err := b.run("systemctl", "show", "--value", "--property="+name, "relay.service")
	return strings.TrimSpace(out), err
}

// begin starts the service; it is up when it has said so.
func (b *booted) begin() error {
	if _, err := b.run("systemctl", "start", "relay.service"); err != nil {
		code, perr := b.property("ExecMainStatus")
		restarts, rerr := b.property("NRestarts")
		n, nerr := strconv.Atoi(code)
		if perr != nil || rerr != nil || nerr != nil || n == 0 || restarts != "0" {
			return errors.Join(err, fmt.Errorf("exit code %s, %s restarts", code, restarts), perr, rerr)
		}
		return exited(n)
	}
	return nil
}

func (b *booted) stop() error {
	_, err := b.run("systemctl", "stop", "relay.service")
	if result, perr := b.property("Result"); result != "success" {
		err = errors.Join(err, fmt.Errorf("the service ended with %q", result), perr)
	}
	return err
}

// cmdBoot makes the server one that systemd runs, with the relay as a service of
// it as docs/operations.md says.
func cmdBoot(s *server, _ []string) error {
	for from, to := range map[string]string{
		"relay.service":  "/etc/systemd/system/relay.service",
		"relay.sysusers": "/etc/sysusers.d/relay.conf",
	} {
		text, err := os.ReadFile(filepath.Join("../../packaging", from))
		if err != nil {
			return err
		}
		if err := s.write(to, string(text), 0o644); err != nil {
			return err
		}
	}
	b, err := s.boot(s.out)
	if err != nil {
		return err
	}
	s.booted = b
	_, err = b.run("systemd-sysusers")
	return err
}

// cmdUnit: unit verified | exposed LIMIT. What systemd's own tools say of the unit.
func cmdUnit(s *server, args []string) error {
	const unit = "/etc/systemd/system/relay.service"
	switch strings.Join(args[:1], "") {
	case "verified":
		return s.expect("systemd-analyze verify", args, func() (string, error) {
			out, err := s.booted.run("systemd-analyze", "verify", unit)
			return "verified" + out, err
		})
	case "exposed":
		return s.expect("systemd-analyze security", args, func() (string, error) {
			out, err := s.booted.run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+strings.ReplaceAll(args[2], ".", ""), unit)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			return strings.Join(args, " ") + ": " + lines[len(lines)-1], err
		})
	}
	return errors.New("unit verified | exposed at-most LIMIT")
}

// cmdConfined: confined NAME=VALUE... The user of the running relay, and what
// proc(5) says of it.
func cmdConfined(s *server, args []string) error {
	return s.expect("the process", args, func() (string, error) {
		pid, err := s.booted.property("MainPID")
		if err != nil {
			return "", err
		}
		status, err := s.booted.run("cat", "/proc/"+pid+"/status")
		if err != nil {
			return "", err
		}
		user, err := s.booted.run("stat", "--format=%U", "/proc/"+pid)
		if err != nil {
			return "", err
		}
		is := map[string]string{"user": strings.TrimSpace(user)}
		for line := range strings.Lines(status) {
			name, value, _ := strings.Cut(line, ":")
			is[name] = strings.TrimSpace(value)
		}
		var seen []string
		for _, want := range args {
			name, _, _ := strings.Cut(want, "=")
			seen = append(seen, name+"="+is[name])
		}
		return strings.Join(seen, " "), nil
	})
}

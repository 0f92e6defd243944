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
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"smtprelay/cmd/sandbox"

	"golang.org/x/sys/unix"
)

// booted is systemd as the first process of a server, with the relay's unit.
type booted struct {
	*host
	systemd *program
	log     *program // journalctl, which tells what the relay writes
}

// cgroupScript makes a control group of the host's own ($1), in which systemd sees
// nothing else. It goes when the run has ended.
const cgroupScript = `
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
mkdir -p "/mnt/$1"
echo 0 >"/mnt/$1/cgroup.procs"
umount /mnt
exec unshare --cgroup -- sh -ec "$2" "$0"
`

// bootScript gives systemd what it wants of a machine, then becomes it. What is
// the kernel's alone it may not touch: there is only one, and it is not ours.
const bootScript = `
cd "$0"
umount proc
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
rm -f dev/console dev/log
for unit in systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-sysctl.service modprobe@.service \
	systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service; do
	ln -sf /dev/null "etc/systemd/system/$unit"
done
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec setpriv --bounding-set=-sys_module -- /lib/systemd/systemd --system --unit=basic.target --show-status=no
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
	group := filepath.Join(cgroupOf(os.Getenv(workEnv)), h.name)
	c := exec.Command("nsenter", "--net=/run/netns/"+h.name, "sh", "-ec", cgroupScript, h.dir, group, bootScript)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=other", "NOTIFY_SOCKET=/booted"}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
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
			b := &booted{host: h, systemd: p}
			b.log, err = begin(b.command("journalctl", "--follow", "--output=cat", "--unit=relay.service"), out)
			return b, err
		}
	}
}

// off, as a machine whose power fails.
func (b *booted) off() { b.systemd.cmd.Process.Kill() }

// command in there.
func (b *booted) command(name string, args ...string) *exec.Cmd {
	in := []string{fmt.Sprintf("--target=%d", b.systemd.cmd.Process.Pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--", name}
	c := exec.Command("nsenter", append(in, args...)...)
	c.Env = environment
	return c
}

// run a command in there.
func (b *booted) run(name string, args ...string) (string, error) {
	out, err := sandbox.Output(b.command(name, args...))
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, err
}

// property of the relay's unit.
func (b *booted) property(name string) (string, error) {
	out, err := b.run("systemctl", "show", "--value", "--property="+name, "relay.service")
	return strings.TrimSpace(out), err
}

// begin starts the service; it is up when it has said so. One that ended with 78
// is not to be tried again.
func (b *booted) begin(out *transcript) error {
	before, _ := out.since(0)
	_, err := b.run("systemctl", "start", "relay.service")
	if err == nil {
		return nil
	}
	code, cerr := b.property("ExecMainStatus")
	state, serr := b.property("ActiveState")
	n, nerr := strconv.Atoi(code)
	if state != "failed" || cerr != nil || serr != nil || nerr != nil {
		return errors.Join(err, fmt.Errorf("exit code %q, the unit is %q", code, state), cerr, serr)
	}
	if err := b.log.out.await(regexp.MustCompile("relay: error: "), len(before), b.log.done); err != nil {
		return err
	}
	text, _ := out.since(len(before))
	return refusal(n, text)
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

// cmdUnit: unit verified | exposed at-most LIMIT. What systemd's own tools say of the unit.
func cmdUnit(s *server, args []string) error {
	const unit = "/etc/systemd/system/relay.service"
	switch {
	case args[0] == "verified":
		return s.expect("systemd-analyze verify", args, func() (string, error) {
			out, err := s.booted.run("systemd-analyze", "verify", unit)
			return "verified" + out, err
		})
	case args[0] == "exposed" && len(args) == 3:
		return s.expect("systemd-analyze security", args, func() (string, error) {
			out, err := s.booted.run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+strings.ReplaceAll(args[2], ".", ""), unit)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			return strings.Join(args, " ") + ": " + lines[len(lines)-1], err
		})
	}
	return errUsage
}

// cmdCannot: cannot COMMAND... What a command may not do that runs where the relay
// does, with its view of the file system and as its user.
func cmdCannot(s *server, args []string) error {
	return s.expect("the process", append([]string{"cannot"}, args...), func() (string, error) {
		pid, err := s.booted.property("MainPID")
		if err != nil {
			return "", err
		}
		in := []string{"--target", pid, "--mount", "--", "setpriv", "--reuid=relay", "--regid=relay", "--clear-groups", "--"}
		if _, err := s.booted.run("nsenter", append(in, args...)...); exitCode(err) > 0 {
			return "cannot " + strings.Join(args, " "), nil
		}
		return "can, or did not run", err
	})
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

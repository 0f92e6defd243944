//go:build interop

package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// workEnv names the directory of this run; that it is set says that we are in
// the namespaces.
const workEnv = "RELAY_INTEROP_WORK"

func inside() bool { return os.Getenv(workEnv) != "" }

// sandboxed runs this program anew in namespaces of its own. Whatever it starts
// and mounts there ends with it, and it ends with us.
func sandboxed() (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("namespaces and private roots need root: sudo make interop")
	}
	work, err := os.MkdirTemp("", "interop")
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, swept(work, err == nil && code == 0 && !*keep))
	}()
	if err := prepare(work); err != nil {
		return 0, err
	}
	runtime.LockOSThread() // Pdeathsig speaks of this thread
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), workEnv+"="+work)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("make namespaces: %w", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		c.Process.Kill()
	}()
	err = errors.Join(c.Wait(), dropCgroup(cgroupOf(work)))
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// cgroupOf names the control groups of a run, below the root of cgroup2.
func cgroupOf(work string) string { return filepath.Base(work) }

// dropCgroup removes a control group and those below it, wherever cgroup2 is mounted.
func dropCgroup(name string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		var groups []string
		err := filepath.WalkDir(filepath.Join(f[1], name), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for _, g := range slices.Backward(groups) {
			err = errors.Join(err, os.Remove(g))
		}
		return err
	}
	return nil
}

// swept removes what is left of a run; the logs too when all went well, else it
// says where they are.
func swept(work string, all bool) error {
	if logs, _ := os.ReadDir(filepath.Join(work, "logs")); all || len(logs) == 0 {
		return os.RemoveAll(work)
	}
	fmt.Printf("\nwhat every server wrote is in %s\n", filepath.Join(work, "logs"))
	return errors.Join(os.RemoveAll(filepath.Join(work, "live")), os.RemoveAll(filepath.Join(work, "bin")))
}

// prepare builds the relay and the private roots: what needs the network and
// the compiler.
func prepare(work string) error {
	for _, dir := range []string{"live", "logs", "bin"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	for _, words := range [][]string{
		{"build", "-trimpath", "-o", filepath.Join(work, "bin", "relay"), "smtprelay/cmd/relay"},
		{"test", "-c", "-o", filepath.Join(work, "bin", "preflight.test"), "smtprelay/preflight"},
	} {
		build := exec.Command("go", words...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(words, " "), err, out)
		}
	}
	ps, err := loadPeers()
	if err != nil {
		return err
	}
	return makeRoots(ps)
}

// settleIn is the first thing inside: mounts are ours alone, hosts live in memory,
// and there is a switch for their cables.
func settleIn(work string) error {
	live := filepath.Join(work, "live")
	return inTurn(
		func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return syscall.Mount("proc", "/proc", "proc", 0, "") },
		func() error { return syscall.Mount("interop", live, "tmpfs", 0, "mode=755") },
		func() error { return syscall.Mount("interop", "/run", "tmpfs", 0, "mode=755") },
		func() error { return syscall.Mkdir("/run/netns", 0o755) },
		func() error { return os.Setenv("GOTMPDIR", live) }, // of testscript, too
		func() error { return sh("ip", "link", "set", "lo", "up") },
		func() error { return sh("ip", "link", "add", "switch", "type", "bridge") },
		func() error { return sh("ip", "link", "set", "switch", "up") },
	)
}

// sh runs a command of the machine that the test runs on.
func sh(name string, args ...string) error {
	if _, err := ended(exec.Command(name, args...)); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// Package sandbox gives a program a machine of its own for as long as it runs:
// namespaces in which it starts itself anew, and private roots that hold Debian's
// packages. It wants root, on a Debian system. What is started and mounted in the
// namespaces ends with them, however they end; the roots are kept in the user's cache
// directory for the next time.
package sandbox

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
	"time"
)

// Enter runs this program anew, with the same arguments, in namespaces of its own: of
// processes, mounts, the network, IPC and the host's name. mark, "NAME=VALUE", stands in
// its environment, so that it knows. It ends with us. Control groups below cgroup, a path
// from the root of cgroup2, are removed when it has ended.
func Enter(mark, cgroup string) (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("namespaces and private roots need root: try again with sudo")
	}
	runtime.LockOSThread() // Pdeathsig speaks of this thread
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), mark)
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
	defer signal.Stop(signals)
	go func() {
		<-signals
		c.Process.Kill()
	}()
	err = errors.Join(c.Wait(), dropGroups(cgroup))
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// Settle is the first thing inside: mounts are ours alone, and /proc and /run too. The
// first process of the namespaces stays in it and starts the program once more, which
// goes on.
func Settle() error {
	if os.Getpid() != 1 {
		return nil
	}
	return InTurn(
		func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return syscall.Mount("proc", "/proc", "proc", 0, "") },
		func() error { return syscall.Mount("sandbox", "/run", "tmpfs", 0, "mode=755") },
		beFirst,
	)
}

// beFirst does what the first process has to: it buries the children of those that ended
// before them, as a server that starts a process for everything leaves by the thousand.
// It ends as the program does that it starts, and all the others with it. That program
// cannot do it itself: it would take the ends of its own commands from those who wait.
func beFirst() error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // the program's to hear
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		case pid == p.Pid && status.Signaled():
			os.Exit(128 + int(status.Signal()))
		case pid == p.Pid:
			os.Exit(status.ExitStatus())
		}
	}
}

// Overlay mounts a root over dir, with a /proc; what is changed there lies beside dir.
func Overlay(root, dir string) error {
	upper, scratch := filepath.Join(dir, "../upper"), filepath.Join(dir, "../scratch")
	for _, d := range []string{dir, upper, scratch} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return InTurn(
		func() error {
			return syscall.Mount("overlay", dir, "overlay", 0, "lowerdir="+root+",upperdir="+upper+",workdir="+scratch)
		},
		func() error { return syscall.Mount("proc", filepath.Join(dir, "proc"), "proc", 0, "") },
	)
}

// dropGroups removes a control group and those below it, wherever cgroup2 is mounted.
func dropGroups(name string) error {
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

// Patience bounds every wait for something that must happen.
const Patience = 60 * time.Second

// Run a command of the machine that we run on.
func Run(name string, args ...string) error {
	if _, err := Output(exec.Command(name, args...)); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// Output runs a command that has to end within our patience, and returns what it
// wrote to standard output; all it wrote stands in the error.
func Output(c *exec.Cmd) (string, error) {
	var out, words strings.Builder
	c.Stdout, c.Stderr = &out, &words
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	// Its pipes end when also those have gone on that were being started meanwhile: on a
	// busy machine that takes a while.
	c.SysProcAttr.Setpgid, c.WaitDelay = true, 10*time.Second
	if err := c.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(Patience, func() { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	err := c.Wait()
	if !late.Stop() {
		err = fmt.Errorf("not done in %s: %w", Patience, err)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s%s", err, out.String(), words.String())
	}
	return out.String(), err
}

// InTurn does one after the other, up to the first that fails.
func InTurn(steps ...func() error) error {
	for _, do := range steps {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

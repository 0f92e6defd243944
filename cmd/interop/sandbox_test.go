//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"smtprelay/cmd/sandbox"
)

// workEnv names the directory of this run; that it is set says that we are in
// the namespaces.
const workEnv = "RELAY_INTEROP_WORK"

func inside() bool { return os.Getenv(workEnv) != "" }

// sandboxed runs this program anew in namespaces of its own. Whatever it starts
// and mounts there ends with it, and it ends with us.
func sandboxed() (code int, err error) {
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
	return sandbox.Enter(workEnv+"="+work, cgroupOf(work))
}

// cgroupOf names the control groups of a run, below the root of cgroup2.
func cgroupOf(work string) string { return filepath.Base(work) }

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
	return rootsOf(ps).Make(context.Background())
}

// settleIn is the first thing inside: hosts live in memory, and there is a switch
// for their cables.
func settleIn(work string) error {
	live := filepath.Join(work, "live")
	return sandbox.InTurn(
		sandbox.Settle,
		func() error { return syscall.Mount("interop", live, "tmpfs", 0, "mode=755") },
		func() error { return syscall.Mkdir("/run/netns", 0o755) },
		func() error { return os.Setenv("GOTMPDIR", live) }, // of testscript, too
		func() error { return sandbox.Run("ip", "link", "set", "lo", "up") },
		func() error { return sandbox.Run("ip", "link", "add", "switch", "type", "bridge") },
		func() error { return sandbox.Run("ip", "link", "set", "switch", "up") },
	)
}

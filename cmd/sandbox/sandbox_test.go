package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideEnv says, in the namespaces, where a test has its files.
const insideEnv = "SANDBOX_TEST"

// TestNoZombies: who outlives his parent in the namespaces is buried when he ends, and
// the program hears of the ends of its own commands all the same.
func TestNoZombies(t *testing.T) {
	if dir := os.Getenv(insideEnv); dir != "" {
		if err := orphans(dir); err != nil {
			t.Fatal(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces want root")
	}
	c := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "true")
	if out, err := c.CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v, %s", err, out)
	}
	old := os.Args
	os.Args = []string{old[0], "-test.run=^TestNoZombies$"}
	defer func() { os.Args = old }()
	code, err := Enter(insideEnv+"="+t.TempDir(), "none")
	if err != nil || code != 0 {
		t.Errorf("in the namespaces: code %d, %v", code, err)
	}
}

// orphans makes some, and sees where they are when they have ended.
func orphans(dir string) error {
	if err := Settle(); err != nil {
		return err
	}
	if os.Getpid() == 1 {
		return errors.New("the program is the first process")
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return err
	}
	for range 20 {
		// Its child ends when we open the pipe, which has no parent then but the first process.
		if err := exec.Command("sh", "-c", "(read x <"+fifo+") & exit 7").Run(); err == nil || !strings.Contains(err.Error(), "7") {
			return fmt.Errorf("the end of our command is %v, want 7", err)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; {
		left, err := others()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still there: %q", left)
		}
		if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

// others are the processes beside us and the first, by /proc/PID/stat.
func others() (all []string, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if pid := filepath.Base(filepath.Dir(name)); err == nil && pid != "1" && pid != fmt.Sprint(os.Getpid()) {
			all = append(all, string(text))
		}
	}
	return all, err
}

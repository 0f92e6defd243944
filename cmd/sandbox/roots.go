package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Roots are private roots in the user's cache directory. Debian's mail packages exclude
// one another, so a program may want several.
type Roots struct {
	Cache    string              // name of the directory
	Packages map[string][]string // name of a root -> the packages in it
}

// Path of a root, for the Debian that runs here.
func (r Roots) Path(name string) string {
	packages := slices.Sorted(slices.Values(r.Packages[name]))
	sum := sha256.Sum256(fmt.Appendln(nil, codename(), slices.Compact(packages)))
	return filepath.Join(r.dir(), fmt.Sprintf("%s-%x", name, sum[:6]))
}

func (r Roots) dir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, r.Cache)
}

// Make sees to it that every root stands in the cache. Until we have ended, nobody
// else makes or removes any there; who uses them now is waited for.
func (r Roots) Make(ctx context.Context) error {
	var missing []string
	for _, tool := range []string{"mmdebstrap", "ip", "nsenter", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if missing != nil {
		return fmt.Errorf("no %s here: on Debian, apt-get install mmdebstrap iproute2", strings.Join(missing, ", "))
	}
	lock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	for name := range r.Packages {
		if err := r.make(name); err != nil {
			return fmt.Errorf("make the root %s: %w", name, err)
		}
	}
	// Whoever wants others waits until we have ended: the roots are in use.
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
}

// lock the cache for ourselves; the lock ends with us.
func (r Roots) lock(ctx context.Context) (*os.File, error) {
	if err := os.MkdirAll(r.dir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(r.dir(), "lock"))
	if err != nil {
		return nil, err
	}
	held = append(held, f)
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		if !said {
			fmt.Fprintf(os.Stderr, "waiting for another run to end, which uses %s\n", r.dir())
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// held keeps the locks' files open.
var held []*os.File

func (r Roots) make(name string) error {
	packages, path := r.Packages[name], r.Path(name)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	old, err := filepath.Glob(filepath.Join(r.dir(), name+"-????????????"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	sources, err := sources()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "making the root %s: %s\n", name, strings.Join(packages, " "))
	c := exec.Command("mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", "--include="+strings.Join(packages, ","), codename(), path+".new", "-")
	c.Stdin = bytes.NewReader(sources)
	if out, err := c.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("mmdebstrap: %w\n%s", err, out), os.RemoveAll(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// sources are those that this machine has for Debian's own packages.
func sources() ([]byte, error) {
	if err := exec.Command("apt-get", "update").Run(); err != nil {
		return nil, fmt.Errorf("apt-get update: %w", err)
	}
	out, err := exec.Command("apt-get", "indextargets", "--format", "deb $(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil || len(out) == 0 {
		return nil, errors.Join(errors.New("apt knows no source of Debian's packages"), err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	return []byte(strings.Join(slices.Compact(lines), "\n") + "\n"), nil
}

// codename of the Debian that runs here, as in os-release(5).
func codename() string {
	text, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "stable"
}

//go:build interop

package interop

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// serverPackages are on every machine that runs the relay, beside those of the
// applications.
var serverPackages = []string{"systemd", "ca-certificates", "netbase"}

// serverRoot is the private root of those machines.
const serverRoot = "server"

// makeRoots sees to it that every root that is named stands in the cache.
// Debian's mail packages exclude one another, so there are several.
func makeRoots(ps []*peer) error {
	var missing []string
	for _, tool := range []string{"mmdebstrap", "ip", "nsenter", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if missing != nil {
		return fmt.Errorf("no %s here: on Debian, apt-get install mmdebstrap iproute2", strings.Join(missing, ", "))
	}
	lock, err := lockCache()
	if err != nil {
		return err
	}
	for name := range packagesOf(ps) {
		if err := makeRoot(name, ps); err != nil {
			return fmt.Errorf("make the root %s: %w", name, err)
		}
	}
	// Whoever wants others waits until we have ended: the roots are in use.
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
}

// packagesOf each root: what the peers in it ask for.
func packagesOf(ps []*peer) map[string][]string {
	roots := map[string][]string{serverRoot: serverPackages}
	for _, p := range ps {
		roots[p.root] = append(roots[p.root], p.packages...)
	}
	for name, list := range roots {
		slices.Sort(list)
		roots[name] = slices.Compact(list)
	}
	return roots
}

func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "relay-interop")
}

// lockCache for ourselves, if anything is missing in it; the lock ends with us.
func lockCache() (*os.File, error) {
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(cacheDir(), "lock"))
	if err != nil {
		return nil, err
	}
	held = f
	return f, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

// held keeps the lock's file open.
var held *os.File

// rootPath of a root with these packages, of the Debian that runs here.
func rootPath(name string, packages []string) string {
	sum := sha256.Sum256(fmt.Appendln(nil, codename(), packages))
	return filepath.Join(cacheDir(), fmt.Sprintf("%s-%x", name, sum[:6]))
}

func makeRoot(name string, ps []*peer) error {
	packages := packagesOf(ps)[name]
	path := rootPath(name, packages)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	old, err := filepath.Glob(filepath.Join(cacheDir(), name+"-????????????"))
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
	fmt.Printf("interop: making the root %s: %s\n", name, strings.Join(packages, " "))
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

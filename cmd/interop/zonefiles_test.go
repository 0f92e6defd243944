//go:build interop

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// BIND takes every zone file that `relay dns` prints of the cases of the preflight.
func TestZoneFiles(t *testing.T) {
	work := os.Getenv(workEnv)
	zones := filepath.Join(work, "live", "zones")
	if err := os.Mkdir(zones, 0o755); err != nil {
		t.Fatal(err)
	}
	cases := exec.Command(filepath.Join(work, "bin", "preflight.test"), "-test.run=^TestZonesLoad$", "-zones", zones)
	cases.Dir = "../../preflight"
	if out, err := cases.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(zones, "*.zone"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d zone files, %v", len(files), err)
	}
	bind := rootOfNames(t)
	if err := syscall.Mount(zones, filepath.Join(bind, "mnt"), "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	origin := regexp.MustCompile(`(?m)^\$ORIGIN (.*)$`)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := origin.FindSubmatch(text)
		if name == nil {
			t.Fatalf("%s: no $ORIGIN\n%s", path, text)
		}
		c := exec.Command("/usr/bin/named-checkzone", "-i", "local", string(name[1]), "/mnt/"+filepath.Base(path))
		c.Dir, c.Env, c.SysProcAttr = "/", environment, &syscall.SysProcAttr{Chroot: bind}
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("named-checkzone: %v\n%s%s", err, out, text)
		}
	}
	t.Logf("BIND loads %d zone files", len(files))
}

// rootOfNames is the private root that BIND is in.
func rootOfNames(t *testing.T) string {
	ps, err := loadPeers()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if p.nameserver {
			return rootsOf(ps).Path(p.root)
		}
	}
	t.Fatal("nobody runs BIND")
	return ""
}

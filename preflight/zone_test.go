package preflight_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
)

// What `relay dns` prints of each case can be loaded, by BIND too where it is
// there, has every record that the report wants added, and none that is to go.
func TestZonesLoad(t *testing.T) {
	checkzone := namedCheckzone(t)
	loaded := 0
	survey(t, func(t *testing.T, w *world, fs []preflight.Finding) {
		_, out := w.start(t)
		all, _ := preflight.Zones(context.Background(), &w.plan, out)
		var whole bytes.Buffer
		if err := preflight.WriteZones(&whole, all); err != nil {
			t.Fatal(err)
		}
		for _, z := range all {
			var b bytes.Buffer
			if err := z.Write(&b); err != nil {
				t.Fatal(err)
			}
			s, err := dnstest.Start(b.String())
			if err != nil {
				t.Fatalf("%v\n%s", err, b.String())
			}
			s.Close()
			loaded++
			if checkzone == "" {
				continue
			}
			path := filepath.Join(t.TempDir(), "zone")
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command(checkzone, "-i", "local", z.Name+".", path).CombinedOutput(); err != nil {
				t.Errorf("named-checkzone %s: %v\n%s%s", z.Name, err, said, b.String())
			}
		}
		for _, f := range treatable(fs) {
			if f.Severity == preflight.Informational {
				continue
			}
			for _, r := range f.Remedy.Records {
				line := r.String()[strings.Index(r.String(), " IN "):]
				stands := false
				for l := range strings.Lines(whole.String()) {
					stands = stands || strings.HasPrefix(l, r.Owner+". ") && strings.Contains(l, line+" ;")
				}
				if stands == (r.Do == preflight.Remove) {
					t.Errorf("%s: %s %s, but\n%s", f.Check.ID, r.Do, r, whole.String())
				}
			}
		}
	})
	if *casesFlag == "" && loaded < 100 {
		t.Errorf("%d zones were loaded", loaded)
	}
}

// namedCheckzone is BIND's own judge of zone files; "" if it is not there.
func namedCheckzone(t *testing.T) string {
	for _, name := range []string{"named-checkzone", "/usr/sbin/named-checkzone"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if needsBIND {
		t.Fatal("named-checkzone is not here: apt-get install bind9-utils")
	}
	return ""
}

package preflight_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
)

var zonesFlag = flag.String("zones", "", "a directory in which TestZonesLoad leaves its zone files: cmd/interop has BIND load them")

// What `relay dns` prints of each case can be loaded, has every record that the
// report wants added, and none that is to go.
func TestZonesLoad(t *testing.T) {
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
			if *zonesFlag == "" {
				continue
			}
			name := filepath.Join(*zonesFlag, fmt.Sprintf("%04d.zone", loaded))
			if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
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

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

// An address that nobody configured needs its records like any other, and a watch
// shows it.
func TestLearntAddressHasRecords(t *testing.T) {
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, own.base, []step{{'@', "source bind=10.0.0.5 public= observed gmail=192.0.2.25 outlook=192.0.2.25"}})
	_, out := w.start(t)
	all, _ := preflight.Zones(t.Context(), &w.plan, out)
	stands := false
	for _, z := range all {
		for _, r := range z.Records {
			stands = stands || r.Owner == "25.2.0.192.in-addr.arpa" && r.Is == preflight.Stands
		}
	}
	if !stands {
		t.Error("its PTR is in no zone")
	}
	if r, ok := preflight.NewVigil(&w.plan, out).Look(t.Context()); !ok || r.Plan.Sources[0].Public != "192.0.2.25" {
		t.Errorf("the watch shows %+v", r.Plan.Sources[0])
	}
}

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

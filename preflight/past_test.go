package preflight

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Folding keeps all that a later look goes by, in a file too.
func TestFold(t *testing.T) {
	s := tell(t)
	s.look(0, true, of("DMARC-PRESENT", "", "example.net", Fail))
	missing := of("DMARC-PRESENT", "", "example.net", Fail)
	s.look(time.Hour, false, append(ptr(Unknown), missing)...)
	s.look(time.Minute, false, append(ptr(Unknown), missing, of("SPF-SENDER-PASS", "wan4", "example.net", Fail))...)
	folded := s.h.fold(s.at)
	if len(folded.Entries) != 2 || len(folded.Past) == 0 || len(folded.Past) > 6 {
		t.Fatalf("%d entries, %+v", len(folded.Entries), folded.Past)
	}
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	if err := m.Save(t.Context(), folded); err != nil {
		t.Fatal(err)
	}
	read, _ := m.Load(t.Context())
	bare := cmp.Options{
		cmpopts.IgnoreFields(Result{}, "Found", "TTL", "NegTTL", "Evidence"), cmpopts.IgnoreFields(Entry{}, "Since", "Cached"),
		cmpopts.IgnoreMapEntries(func(_ string, e Entry) bool { return e.Result.Status == Skip }),
	}
	for name, h := range map[string]History{"folded": folded, "read": read, "folded again": folded.unfold().fold(s.at)} {
		if diff := cmp.Diff(s.h.Entries, h.unfold().Entries, bare); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	parts := folded.bySender()
	if len(parts) != 2 || len(parts[""].Entries)+len(parts[""].Past) == 0 || len(parts["example.net"].Entries) != 2 {
		t.Errorf("by sender: %v", parts)
	}
}

// The history of ten thousand domains in order fits the file that is read.
func TestFoldIsSmall(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	h := s.h.fold(s.at)
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	for i := range 10_000 {
		for _, p := range s.h.bySender()["example.net"].fold(s.at).Past {
			p.Sender = fmt.Sprintf("shop%05d.example", i)
			h.Past = append(h.Past, p)
		}
	}
	if err := m.Save(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if read, _ := m.Load(t.Context()); len(read.Past) != len(h.Past) {
		t.Errorf("%d of %d read again", len(read.Past), len(h.Past))
	}
}

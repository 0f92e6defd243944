//go:build mutants

package disk

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestMutants: what TestCrashAtEveryWrite does would find each of them.
func TestMutants(t *testing.T) {
	defer become(mutant)
	for _, name := range []string{"nofsync", "nodirsync", "ackfirst"} {
		t.Run(name, func(t *testing.T) {
			become(name)
			mem := vfs.NewCrashableMem()
			_, wrong, _ := crashes(t, mem, mem)
			if len(wrong) == 0 {
				t.Fatal("nobody noticed")
			}
			t.Log(wrong[0])
		})
	}
}

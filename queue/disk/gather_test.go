package disk

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// While many commit at once the log waits a moment before the next sync; who commits
// alone is not held up.
func TestManyGather(t *testing.T) {
	var s Store
	for under, waits := range map[int32]bool{0: false, 1: false, 3: false, 4: true, 100: true} {
		s.syncing.Store(under)
		if got := s.gather(); got > 0 != waits {
			t.Errorf("%d commits under way: the log waits %v", under, got)
		}
	}
}

// A commit is counted while its log is synced: that is what gather goes by.
func TestCommitsAreCounted(t *testing.T) {
	var s atomic.Pointer[Store]
	var syncs, counted atomic.Int32
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if s := s.Load(); s != nil && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".log") {
			syncs.Add(1)
			counted.Add(s.syncing.Load())
		}
		return nil
	}))
	s.Store(mustOpen(t, disk, "queue", Options{}))
	for range 3 {
		commit(t, s.Load(), []byte("x"), "a.example")
	}
	if syncs.Load() < 3 || counted.Load() != syncs.Load() || s.Load().syncing.Load() != 0 {
		t.Errorf("%d syncs for 3 commits, one after the other: %d counted, %d at the end", syncs.Load(), counted.Load(), s.Load().syncing.Load())
	}
}

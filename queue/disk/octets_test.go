package disk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// A damaged octet of a table costs one message. The table stays where it is, and
// neither restarts nor more mail make it cost more. Only what says where in the
// table a record is, at its end, cannot be done without.
func TestDamagedTable(t *testing.T) {
	w := newThree(t, 2000)
	name := only(t, w.mem, ".sst")
	st, err := w.mem.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	opened, refused := 0, 0
	for i := 0; i < int(st.Size()); i += 31 {
		mem := w.copy()
		rewriteFile(t, mem, name, flip(i))
		s, err := Open(mem, "queue", Options{patience: time.Hour, Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			refused++
			continue
		}
		opened++
		if refused > 0 {
			t.Fatalf("octet %d: opened, but not before", i)
		}
		got := deliverAll(t, s)
		st, err := s.Stat(t.Context())
		if len(got)+st.Quarantined != len(w.bodies) || st.Quarantined > 1 {
			t.Fatalf("octet %d: delivered %v, %+v, %v", i, got, st, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if opened%8 == 0 {
			livesOn(t, mem, st.Quarantined)
		}
	}
	if opened < 2*refused {
		t.Errorf("%d opened, %d refused", opened, refused)
	}
}

// livesOn restarts a store again and again, with a message each time. Each start
// leaves a table, which Pebble merges with the others once there are enough.
func livesOn(t *testing.T, mem vfs.FS, quarantined int) {
	t.Helper()
	const times = 14
	for range times {
		s := mustOpen(t, mem, "queue", Options{})
		commit(t, s, nil, "c.example")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, mem, "queue", Options{})
	want := queue.Stat{Messages: times, Waiting: times, Quarantined: quarantined}
	if st, err := s.Stat(t.Context()); err != nil || st != want {
		t.Fatalf("after %d restarts %+v, want %+v (%v)", times, st, want, err)
	}
}

// kill is what a process that was killed leaves: all it wrote.
func kill(mem *vfs.MemFS) *vfs.MemFS {
	return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
}

// only is the one file of Pebble's with content and a name that ends so.
func only(t *testing.T, mem vfs.FS, ending string) string {
	t.Helper()
	names, err := mem.List("queue/db")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, n := range names {
		st, err := mem.Stat("queue/db/" + n)
		if err == nil && st.Size() > 100 && strings.HasSuffix(n, ending) {
			found = append(found, "queue/db/"+n)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%v end in %s", found, ending)
	}
	return found[0]
}

// What stands before a record in the log says what kind of piece it is and how
// long. No octet of it, changed in whatever way, makes a message vanish.
func TestDamagedChunkHead(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, mem, "queue", Options{})
	bodies := map[queue.ID][]byte{}
	for i, size := range []int{100, 70_000, 100, 3000, 100} {
		body := bytes.Repeat([]byte{byte('a' + i)}, size)
		bodies[commit(t, s, body, "a.example")] = body
	}
	killed := kill(mem)
	name := only(t, killed, ".log")
	var number uint32
	if _, err := fmt.Sscanf(name, "queue/db/%d.log", &number); err != nil {
		t.Fatal(err)
	}
	f, err := killed.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	chunks, _ := survey(file, number)
	if len(chunks) < 8 {
		t.Fatalf("only %d chunks", len(chunks))
	}
	for _, c := range chunks {
		for i := c.at; i < c.at+19; i++ {
			masks := []byte{1, 0xff}
			if i == c.at+6 { // the kind
				masks = []byte{1, 2, 3, 4, 5, 6, 7, 8}
			}
			for _, mask := range masks {
				left := killed.CrashClone(vfs.CrashCloneCfg{})
				rewriteFile(t, left, name, func(v []byte) []byte { v[i] ^= mask; return v })
				inventory(t, left, fmt.Sprintf("octet %d of the chunk at %d ^ %#x of %s", i-c.at, c.at, mask, strings.TrimPrefix(name, "queue/db/")), bodies)
			}
		}
	}
}

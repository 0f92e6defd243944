package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"smtprelay/queue"
	"smtprelay/queue/queuetest"
)

func TestStoreOnDisk(t *testing.T) {
	queuetest.Test(t, func(t *testing.T) queue.Store {
		dir := filepath.Join(t.TempDir(), "queue")
		return &onDisk{mustOpen(t, vfs.Default, dir, Options{MinFree: 1}), dir}
	})
}

func TestStoreInMemory(t *testing.T) {
	queuetest.Test(t, func(t *testing.T) queue.Store {
		mem := vfs.NewCrashableMem()
		return &inMem{mustOpen(t, mem, "queue", Options{}), mem}
	})
}

// mustOpen opens a store whose failures fail the test, not the process.
func mustOpen(t *testing.T, fs vfs.FS, dir string, o Options) *Store {
	t.Helper()
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Error(err) }
	}
	if o.patience == 0 {
		o.patience = time.Hour // what Open finds must not depend on how fast it is
	}
	s, err := Open(fs, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	<-s.loading.over
	return s
}

// onDisk crashes by going on with a copy of its directory, as after a kill.
type onDisk struct {
	*Store
	dir string
}

func (s *onDisk) Crash(t *testing.T) queuetest.Crasher {
	t.Helper()
	dir := s.snapshot(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return &onDisk{mustOpen(t, vfs.Default, dir, Options{MinFree: 1}), dir}
}

// snapshot copies the directory as it is at one moment: a copy during which
// Pebble tidied up in the background does not count.
func (s *onDisk) snapshot(t *testing.T) string {
	t.Helper()
	for {
		before, err := os.ReadDir(filepath.Join(s.dir, "db"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "queue")
		copied := os.CopyFS(dir, os.DirFS(s.dir))
		after, err := os.ReadDir(filepath.Join(s.dir, "db"))
		if err != nil || copied != nil && !errors.Is(copied, fs.ErrNotExist) {
			t.Fatal(copied, err)
		}
		if copied == nil && slices.EqualFunc(before, after, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }) {
			return dir
		}
	}
}

// inMem crashes by losing all that was not synced, as after a power failure.
type inMem struct {
	*Store
	mem *vfs.MemFS
}

func (s *inMem) Crash(t *testing.T) queuetest.Crasher {
	t.Helper()
	mem := s.mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return &inMem{mustOpen(t, mem, "queue", Options{}), mem}
}

// journal is a log that tests can read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, vfs.Default, dir, Options{})
	_, err := Open(vfs.Default, dir, Options{})
	if err == nil || !strings.Contains(err.Error(), "another relay") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, vfs.Default, dir, Options{})
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	s := mustOpen(t, vfs.Default, dir, Options{MinFree: 1})
	commit(t, s, make([]byte, 1<<20), "a.example")
	commit(t, s, nil, "a.example")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && st.Mode().Perm() != want && st.Size() > 0 { // an empty lock file tells nothing
			t.Errorf("%s has mode %v, want %v", path, st.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFull(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem, "queue", Options{MinFree: 1 << 20})
	id := commit(t, s, []byte("x"), "a.example")
	begun, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begun.Write(make([]byte, 3*inline)); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1<<20 - 1, TotalBytes: 1 << 30})
	if _, err := begun.Write(make([]byte, 3*inline)); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("a large body takes the last room: %v", err)
	}
	begun.Abort()
	if _, err := s.Create(t.Context()); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("create on a full disk: %v", err)
	}
	l := lease(t, s)
	if js, err := s.Take(t.Context(), l, 1); err != nil || js[0].Message.ID != id {
		t.Fatalf("a full disk stops delivery: %v, %v", js, err)
	}
	if err := s.Settle(t.Context(), l, queue.Result{ID: id, State: queue.Delivered}); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30})
	commit(t, s, []byte("x"), "a.example")
}

func TestDefaultMinFree(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		total, free uint64
		full        bool
	}{
		{1 * gib, 99 * mib, true},
		{1 * gib, 101 * mib, false},
		{10 * gib, 500 * mib, true},
		{10 * gib, 520 * mib, false},
		{2048 * gib, 1*gib - 1, true},
		{2048 * gib, 1 * gib, false},
	} {
		mem := vfs.NewMem()
		s := mustOpen(t, mem, "queue", Options{})
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.free, TotalBytes: c.total})
		if _, err := s.Create(t.Context()); errors.Is(err, queue.ErrFull) != c.full {
			t.Errorf("%d of %d free: %v", c.free, c.total, err)
		}
	}
}

// No ID is given twice, though the wall clock is put back and the messages are
// gone without a trace.
func TestIDsGoOn(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var last queue.ID
	deliver := func(s *Store) {
		t.Helper()
		id := commit(t, s, nil, "a.example")
		if id <= last || len(id) != idLen {
			t.Fatalf("ID %s after %s", id, last)
		}
		last = id
		l := lease(t, s)
		must(s.Take(t.Context(), l, 1))
		if err := errors.Join(s.Settle(t.Context(), l, queue.Result{ID: id, State: queue.Delivered}), s.Release(t.Context(), l, 0)); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, mem, "queue", Options{})
	for years := range uint64(3) {
		s.ids.seen((years + 2) << 57) // as if the wall clock had been so far ahead
		deliver(s)
		deliver(s)
		mem = kill(mem)
		s = mustOpen(t, mem, "queue", Options{})
		deliver(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, mem, "queue", Options{})
		deliver(s)
	}
}

// Starts in a row do not let the IDs run away from the time.
func TestIDsKeepToTheTime(t *testing.T) {
	mem := vfs.NewMem()
	for range 20 {
		s := mustOpen(t, mem, "queue", Options{})
		id := commit(t, s, nil, "a.example")
		if v, _ := parseID(string(id)); v > idAt(time.Now().Add(idsTime+time.Second)) {
			t.Fatalf("ID %s is ahead of the time", id)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A crash forgets no ID either, wherever the clock was when it was given and however
// little has been saved since.
func TestIDsGoOnAfterCrash(t *testing.T) {
	for _, ahead := range []uint64{0, 9_000 << 15, 3_600_000 << 15} {
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, mem, "queue", Options{})
		first := commit(t, s, nil, "a.example")
		v, _ := parseID(string(first))
		s.ids.seen(v + ahead) // the wall clock is put forward for a moment
		second := commit(t, s, nil, "a.example")
		l := lease(t, s)
		if _, err := s.Take(t.Context(), l, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context(), l, queue.Result{ID: first, State: queue.Delivered}, queue.Result{ID: second, State: queue.Delivered}); err != nil {
			t.Fatal(err)
		}
		left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if third := commit(t, mustOpen(t, left, "queue", Options{}), nil, "a.example"); third <= second {
			t.Errorf("%v ms ahead: IDs %s, %s and, after a crash, %s", ahead>>15, first, second, third)
		}
	}
}

func TestMaybeDuplicate(t *testing.T) {
	mem := vfs.NewMem() // a kill: what was written is there, synced or not
	var log journal
	s := mustOpen(t, mem, "queue", Options{})
	a, b := commit(t, s, nil, "a.example"), commit(t, s, nil, "a.example")
	l := lease(t, s)
	if _, err := s.Take(t.Context(), l, 2); err != nil {
		t.Fatal(err)
	}
	for _, id := range []queue.ID{a, b} {
		if err := s.Sending(t.Context(), l, id, 0); err != nil {
			t.Fatal(err)
		}
	}
	deferred := queue.Result{ID: b, State: queue.Waiting, Attempt: &queue.Attempt{Outcome: queue.Deferred}}
	if err := s.Settle(t.Context(), l, deferred); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, mem, "queue", Options{Log: log.logger()})
	if st, _ := s.Stat(t.Context()); st.Twice != 1 {
		t.Errorf("%d may be duplicates", st.Twice)
	}
	if got := log.String(); strings.Count(got, "maybe duplicate") != 1 || !strings.Contains(got, "id="+string(a)) {
		t.Fatalf("%s was being sent, %s was settled; the log says:\n%s", a, b, got)
	}
}

// While the marks are begun anew too: whenever the process is killed, all whom a
// message may reach twice are known.
func TestRenewedMarksOutliveAKill(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var disk watched
	s := mustOpen(t, disk.wrap(mem), "queue", Options{})
	const n = 3
	for range n {
		commit(t, s, nil, "a.example")
	}
	l := lease(t, s)
	for _, j := range must(s.Take(t.Context(), l, n)) {
		if err := s.Sending(t.Context(), l, j.Message.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	var killed []*vfs.MemFS
	disk.watch(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "sending") {
			killed = append(killed, kill(mem))
		}
		return nil
	})
	if err := s.renewMarks(); err != nil {
		t.Fatal(err)
	}
	disk.watch(nil)
	if len(killed) < 3 {
		t.Fatalf("only %d writes seen", len(killed))
	}
	for i, left := range append(killed, kill(mem)) {
		s := mustOpen(t, left, "queue", Options{})
		if st, err := s.Stat(t.Context()); err != nil || st.Twice != n {
			t.Errorf("killed before write %d: %d may be duplicates, want %d, %v", i, st.Twice, n, err)
		}
	}
}

func TestOrphansAreSwept(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem, "queue", Options{})
	id := commit(t, s, make([]byte, inline+1), "a.example")
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(make([]byte, 3*inline)); err != nil {
		t.Fatal(err)
	}
	orphan := d.(*draft).id
	stray := s.path("bodies", "README")
	if err := s.fs.MkdirAll(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := s.fs.Create(s.path("bodies", "README", "hello"), category)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, mem, "queue", Options{})
	if _, err := mem.Stat(s.bodyPath(orphan)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("orphan: %v", err)
	}
	if _, err := mem.Stat(s.bodyPath(id)); err != nil {
		t.Errorf("body of a message: %v", err)
	}
	if _, err := mem.Stat(s.path("bodies", "README", "hello")); err != nil {
		t.Errorf("foreign file: %v", err)
	}
}

// commit stores a message.
func commit(t *testing.T, s *Store, body []byte, domains ...string) queue.ID {
	t.Helper()
	id, err := tryCommit(s, body, domains...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryCommit(s *Store, body []byte, domains ...string) (queue.ID, error) {
	ctx := context.Background()
	d, err := s.Create(ctx)
	if err != nil {
		return "", err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return "", err
	}
	var rs []queue.Recipient
	for _, dom := range domains {
		rs = append(rs, queue.Recipient{Address: "u@" + dom, Domain: dom})
	}
	return d.Commit(ctx, &queue.Message{}, rs)
}

func lease(t *testing.T, s *Store) queue.Lease {
	t.Helper()
	ls, err := s.Claim(t.Context(), 1, time.Hour)
	if err != nil || len(ls) != 1 {
		t.Fatalf("claim: %v, %v", ls, err)
	}
	return ls[0]
}

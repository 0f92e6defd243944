package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"smtprelay/queue"
)

// watched is a file system on which each operation is asked for first.
type watched struct {
	mu  sync.Mutex
	ask func(op errorfs.Op) error
}

func (w *watched) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.ask == nil {
			return nil
		}
		return w.ask(op)
	}))
}

func (w *watched) watch(ask func(op errorfs.Op) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ask = ask
}

// A message that the disk does not give holds up neither its destination nor the
// notices about others, and is there when the disk gives it again.
func TestUnreadableMessageHoldsUpNoOther(t *testing.T) {
	type place struct {
		path   string
		offset int64
	}
	three := newThree(t, 50)
	var disk watched
	open := func(j *journal) *Store {
		disk.watch(nil)
		return mustOpen(t, disk.wrap(three.copy()), "queue", Options{Log: j.logger()})
	}
	var log journal
	s := open(&log)
	var bad place
	disk.watch(func(op errorfs.Op) error {
		// Records stand before the index, which Pebble may read beside us.
		if op.Kind == errorfs.OpFileReadAt && (bad.path == "" || op.Offset < bad.offset) {
			bad = place{op.Path, op.Offset}
		}
		return nil
	})
	value(t, s, messageKey(three.victim))
	if bad.path == "" {
		t.Fatal("the record was not read from the disk")
	}

	s = open(&log)
	disk.watch(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && bad == (place{op.Path, op.Offset}) {
			return errorfs.ErrInjected
		}
		return nil
	})
	for range 2 { // destinations
		l := lease(t, s)
		jobs, err := s.Take(t.Context(), l, 10)
		if err != nil || len(jobs) != 2 {
			t.Fatalf("took %d of the 2 that can be read: %v", len(jobs), err)
		}
		for _, j := range jobs {
			if err := s.Settle(t.Context(), l, queue.Result{ID: j.Message.ID, N: j.Recipients[0].N, State: queue.Failed}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Release(t.Context(), l, 0); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(log.String(), "message not readable") || !strings.Contains(log.String(), string(three.victim)) {
		t.Errorf("the log says\n%s", log.String())
	}
	if st, _ := s.Stat(t.Context()); st != (queue.Stat{Messages: 3, Waiting: 2, Failed: 4}) {
		t.Fatalf("%+v", st)
	}
	if n := len(failures(t, s)); n != 2 {
		t.Fatalf("%d messages with failures, want 2", n)
	}

	disk.watch(nil)
	s.ran.base += unreadable
	l := lease(t, s)
	if jobs, err := s.Take(t.Context(), l, 10); err != nil || len(jobs) != 1 || jobs[0].Message.ID != three.victim {
		t.Fatalf("once the disk gives it: %v, %v", jobs, err)
	}
}

func failures(t *testing.T, s *Store) (ids []queue.ID) {
	t.Helper()
	for j, err := range s.Unreported(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.Message.ID)
	}
	return ids
}

// What the operator removes takes its body file with it only when its records
// are gone for good: otherwise a crash would leave a message without a body.
func TestRemovalIsSyncedBeforeTheBodyGoes(t *testing.T) {
	var disk watched
	s := mustOpen(t, disk.wrap(vfs.NewMem()), "queue", Options{})
	for range 3 {
		commit(t, s, make([]byte, 2*inline), "a.example")
	}
	synced, removed := false, 0
	disk.watch(func(op errorfs.Op) error {
		switch {
		case strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData):
			synced = true
		case op.Kind == errorfs.OpRemove && strings.Contains(op.Path, "bodies"):
			if !synced {
				return errors.New("too early")
			}
			removed++
		}
		return nil
	})
	n, err := s.Update(t.Context(), queue.Filter{}, queue.Change{State: queue.Removed})
	if n != 3 || err != nil {
		t.Fatal(n, err)
	}
	disk.watch(nil)
	left := 0
	for _, d := range must(s.fs.List(s.path("bodies"))) {
		left += len(must(s.fs.List(s.path("bodies", d))))
	}
	if removed != 3 || left != 0 {
		t.Errorf("%d body files removed, %d left", removed, left)
	}
}

// Nor does the sweep after a start take it earlier.
func TestSweepSyncsTheRemovalFirst(t *testing.T) {
	var disk watched
	s := mustOpen(t, disk.wrap(vfs.NewMem()), "queue", Options{})
	id := commit(t, s, make([]byte, 2*inline), "a.example")
	for x, err := range s.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := s.update(x, queue.Change{State: queue.Removed}); n != 1 || err != nil { // not synced yet
			t.Fatal(n, err)
		}
	}
	synced := false
	disk.watch(func(op errorfs.Op) error {
		switch {
		case strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData):
			synced = true
		case op.Kind == errorfs.OpRemove && !synced:
			t.Errorf("%s is removed too early", op.Path)
		}
		return nil
	})
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	disk.watch(nil)
	if !s.missing(s.bodyPath(id)) {
		t.Error("it is still there")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A crash while the store recovers from a crash costs nothing either.
func TestCrashInRecovery(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c := &client{l: newLedger(), fs: mem, fatal: func(err error) { t.Error(err) }}
	step, points := 0, 0
	c.run(func() bool {
		if step++; step%6 != 0 {
			return false
		}
		for _, kept := range []int{0, 100} {
			left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(step), 1))})
			n, wrong := c.l.crashAgain(left, kept)
			points += n
			for _, w := range wrong {
				t.Errorf("step %d, %s", step, w)
			}
		}
		return t.Failed()
	})
	if points < 200 {
		t.Errorf("only %d crashes", points)
	}
}

// crashAgain opens what a crash left, and the power fails before every write and
// sync of that.
func (l *ledger) crashAgain(left *vfs.MemFS, kept int) (points int, wrong []string) {
	var w watched
	w.ask = func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		points++
		again := left.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(points), 2))})
		for _, x := range l.copy().check(again) {
			wrong = append(wrong, fmt.Sprintf("crash %d (op %d on %s), %d %% kept: %s", points, op.Kind, op.Path, kept, x))
		}
		return nil
	}
	for _, x := range l.copy().check(w.wrap(left)) {
		wrong = append(wrong, "after a crash: "+x)
	}
	return points, wrong
}

// A crash while a damaged table is written anew costs nothing more.
func TestCrashInRebuild(t *testing.T) {
	three := newThree(t, 2000)
	name := only(t, three.mem, ".sst")
	st, err := three.mem.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, st.Size() * 2 / 5, st.Size() * 3 / 5} { // a body, a message, a recipient
		mem, points := three.copy(), 0
		rewriteFile(t, mem, name, flip(int(at)))
		if at != st.Size()*3/5 { // a recipient is missed when the store is opened, the others when they are read
			s := mustOpen(t, mem, "queue", Options{})
			for id := range three.bodies {
				_ = readAll(s, id)
			}
			if err := s.Close(); err != nil || s.quarantined != 1 {
				t.Fatal(s.quarantined, err)
			}
		}
		var disk watched
		disk.watch(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			points++
			for _, kept := range []int{0, 100} {
				left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(points), 3))})
				again := mustOpen(t, left, "queue", Options{})
				if got := deliverAll(t, again); len(got)+again.quarantined != 3 || again.quarantined > 1 {
					t.Errorf("octet %d, crash %d (op %d on %s), %d %% kept: delivered %v, %d in quarantine",
						at, points, op.Kind, op.Path, kept, got, again.quarantined)
				}
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		s := mustOpen(t, disk.wrap(mem), "queue", Options{})
		disk.watch(nil)
		if points < 20 || !s.missing(s.hurtPath()) || s.missing(s.path("db.damaged")) || s.quarantined != 1 {
			t.Errorf("octet %d: %d crashes, %d in quarantine, was it written anew?", at, points, s.quarantined)
		}
	}
}

// The way to the queue is made by the first start, and is durable all the way.
func TestNewDirectoryIsDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, mem, "var/lib/relay/queue", Options{})
	commit(t, s, []byte("x"), "a.example")
	s = mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), "var/lib/relay/queue", Options{})
	if st, _ := s.Stat(t.Context()); st.Messages != 1 {
		t.Fatalf("after a power failure: %+v", st)
	}
}

// A disk that is full costs the message that found no room, and nothing else.
func TestFullDiskCostsOneMessage(t *testing.T) {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		t.Run(no.Error(), func(t *testing.T) {
			costsOneMessage(t, func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemove {
					return fmt.Errorf("write: %w", no)
				}
				return nil
			}, queue.ErrFull)
		})
	}
}

// Likewise a want of descriptors: no file is opened, and nothing failed that was
// written.
func TestNoDescriptorCostsOneMessage(t *testing.T) {
	costsOneMessage(t, func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpOpen, errorfs.OpOpenDir:
			return fmt.Errorf("open: %w", syscall.EMFILE)
		}
		return nil
	}, syscall.EMFILE)
}

// costsOneMessage has one thing after the other fail that is done for a body's
// file, where there is a failure for it; want is the error then.
func costsOneMessage(t *testing.T, failure func(errorfs.Op) error, want error) {
	var disk watched
	s := mustOpen(t, disk.wrap(vfs.NewMem()), "queue", Options{})
	large := make([]byte, 3*inline)
	for n := 0; ; n++ { // the n-th thing done for the body's file fails
		seen := 0
		disk.watch(func(op errorfs.Op) error {
			if !strings.Contains(op.Path, "bodies") || failure(op) == nil {
				return nil
			}
			if seen++; seen == n+1 {
				return failure(op)
			}
			return nil
		})
		_, err := tryCommit(s, large, "a.example")
		failed := seen > n
		disk.watch(nil)
		if err == nil && !failed {
			if n == 0 {
				t.Fatal("nothing failed")
			}
			break
		}
		if !errors.Is(err, want) && (want != queue.ErrFull || s.health() == nil) {
			t.Fatalf("operation %d: %v", n, err)
		}
		if s.health() != nil { // a sync that failed tells more than that the disk is full
			if want != queue.ErrFull {
				t.Fatalf("operation %d: the store has given up: %v", n, s.health())
			}
			s = mustOpen(t, disk.wrap(vfs.NewMem()), "queue", Options{})
			continue
		}
		commit(t, s, []byte("small"), "a.example")
		if st, _ := s.Stat(t.Context()); st.Messages != 1 {
			t.Fatalf("operation %d: %+v", n, st)
		}
		if n, err := s.Update(t.Context(), queue.Filter{}, queue.Change{State: queue.Removed}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
}

// What the disk does not give is neither the end of a body nor damage: nobody
// may take half a message for a whole one, and it is there when the disk is well.
func TestBodyThatCannotBeRead(t *testing.T) {
	var disk watched
	s := mustOpen(t, disk.wrap(vfs.NewMem()), "queue", Options{})
	id := commit(t, s, make([]byte, 3*inline), "a.example")
	for n, reads := 0, 1; n < reads; n++ {
		reads = 0
		disk.watch(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsRead || !strings.Contains(op.Path, "bodies") {
				return nil
			}
			if reads++; reads == n+1 {
				return errorfs.ErrInjected
			}
			return nil
		})
		err := readAll(s, id)
		if disk.watch(nil); err == nil || errors.Is(err, queue.ErrDamaged) {
			t.Errorf("read %d fails: %v", n, err)
		}
		disk.watch(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead && strings.Contains(op.Path, "bodies") {
				reads++
			}
			return nil
		})
		reads = 0
		err = readAll(s, id)
		if disk.watch(nil); err != nil || reads < 3 {
			t.Errorf("after read %d, with %d reads: %v", n, reads, err)
		}
	}
}

// A wall clock that jumps while we are down makes nobody wait longer than was
// planned, and ages nobody.
func TestClockJumps(t *testing.T) {
	const quarter = 15 * time.Minute
	wall := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, jump := range []time.Duration{0, time.Second, time.Hour, -time.Hour, 30 * 24 * time.Hour, -30 * 24 * time.Hour} {
		r := &recipient{Recipient: queue.Recipient{State: queue.Waiting, Age: time.Hour}, Since: time.Minute}
		now := 2 * time.Minute // by the clock of the time we ran
		due := due(nanos(wall.Add(quarter)), quarter, now, wall.Add(jump))
		if due < now || due > now+quarter {
			t.Errorf("a jump of %v: due %v from now", jump, due-now)
		}
		if r.accrue(now); r.Age != time.Hour+time.Minute {
			t.Errorf("a jump of %v: age %v", jump, r.Age)
		}
	}
}

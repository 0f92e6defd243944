package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"smtprelay/queue"
)

// old is a queue of many messages, as a store that was closed left it: one that
// waits for a gate, one that failed, one that was being sent, three with body
// files, and an orphan. Its newest message is the sent one.
type old struct {
	mem    *vfs.MemFS
	ids    []queue.ID
	gated  queue.ID
	failed queue.ID
	sent   queue.ID
	orphan string
}

const oldCount = 1500

func newOld(t *testing.T) *old {
	t.Helper()
	o := &old{mem: vfs.NewCrashableMem()}
	s := mustOpen(t, o.mem, "queue", Options{})
	for i := range oldCount - 3 {
		size := 10
		if i%500 == 0 {
			size = inline + 1
		}
		o.ids = append(o.ids, commit(t, s, make([]byte, size), fmt.Sprintf("d%d.example", i%7)))
	}
	settled := func(domain string, x queue.Result) queue.ID {
		x.ID = commit(t, s, nil, domain)
		o.ids = append(o.ids, x.ID)
		for {
			l := lease(t, s)
			if l.Destination != domain {
				defer func() { must(0, s.Release(t.Context(), l, 0)) }() // else it would be first again
				continue
			}
			must(s.Take(t.Context(), l, 1))
			if x.State == "" {
				if err := s.Sending(t.Context(), l, x.ID, 0); err != nil {
					t.Fatal(err)
				}
				return x.ID
			}
			if err := errors.Join(s.Settle(t.Context(), l, x), s.Release(t.Context(), l, 0)); err != nil {
				t.Fatal(err)
			}
			return x.ID
		}
	}
	o.gated = settled("gated.example", queue.Result{State: queue.Waiting, Delay: time.Hour, Attempt: &queue.Attempt{Outcome: queue.Deferred, Awaits: "gate"}})
	o.failed = settled("failed.example", queue.Result{State: queue.Failed, Attempt: &queue.Attempt{Outcome: queue.Refused}})
	o.sent = settled("sent.example", queue.Result{})
	d := must(s.Create(t.Context()))
	must(d.Write(make([]byte, 3*inline)))
	o.orphan = s.bodyPath(d.(*draft).id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return o
}

// halfway opens a store whose loading stops in the midst until on is called.
// The reads of tables that filling does from then on go through after.
func (o *old) halfway(t *testing.T, log *journal, after func(errorfs.Op) error) (s *Store, mem *vfs.MemFS, on func()) {
	t.Helper()
	mem = kill(o.mem)
	var mu sync.Mutex
	reads, gate := 0, make(chan struct{})
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileReadAt || !strings.HasSuffix(op.Path, ".sst") || !bytes.Contains(debug.Stack(), []byte("fillPart")) {
			return nil // not of the filling: who takes mail meanwhile must not wait for it
		}
		mu.Lock()
		reads++
		far := reads > oldCount/2
		mu.Unlock()
		if !far {
			return nil
		}
		<-gate
		return after(op)
	}))
	s, err := Open(disk, "queue", Options{Log: log.logger(), patience: time.Nanosecond, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	on = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(func() {
		on()
		_ = s.Close()
	})
	if s.isWhole() {
		t.Fatal("the index is whole already")
	}
	return s, mem, on
}

func noFault(errorfs.Op) error { return nil }

// While the index is being filled mail is taken in and handed out; whoever must
// know all waits; nothing is lost, forgotten or swept that must stay.
func TestWorkWhileLoading(t *testing.T) {
	o := newOld(t)
	var log journal
	s, mem, on := o.halfway(t, &log, noFault)

	fresh := commit(t, s, []byte("x"), "fresh.example")
	large := commit(t, s, make([]byte, 2*inline), "large.example")
	draft := must(s.Create(t.Context()))
	must(draft.Write(make([]byte, 2*inline)))
	took := map[string]queue.ID{}
	for took["fresh.example"] == "" {
		l := lease(t, s)
		js := must(s.Take(t.Context(), l, 1))
		took[l.Destination] = js[0].Message.ID
		if err := s.Sending(t.Context(), l, js[0].Message.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if took["fresh.example"] != fresh {
		t.Errorf("took %v", took)
	}

	type answer struct {
		stat   queue.Stat
		listed []queue.ID
		failed []queue.ID
		err    error
	}
	asked := make(chan answer)
	go func() {
		var a answer
		a.err = s.Wake(ctx, func(awaited string) bool { return awaited == "gate" })
		for e, err := range s.List(ctx, queue.Filter{}) {
			a.listed, a.err = append(a.listed, e.Message.ID), errors.Join(a.err, err)
		}
		for j, err := range s.Unreported(ctx) {
			a.failed, a.err = append(a.failed, j.Message.ID), errors.Join(a.err, err)
		}
		var err error
		a.stat, err = s.Stat(ctx)
		a.err = errors.Join(a.err, err)
		asked <- a
	}()

	// A crash now forgets nothing.
	again := mustOpen(t, kill(mem), "queue", Options{})
	st, _ := again.Stat(ctx)
	if want := oldCount + 2; st.Messages != want || st.Failed != 1 || st.Twice != 1+len(took) {
		t.Errorf("after crashes %+v, want %d messages, %d of them sent perhaps", st, want, 1+len(took))
	}

	on()
	a := <-asked
	if a.err != nil || len(a.listed) != oldCount+2 || len(a.failed) != 1 || a.failed[0] != o.failed {
		t.Errorf("listed %d, failed %v, %v", len(a.listed), a.failed, a.err)
	}
	for i, id := range append(append([]queue.ID(nil), o.ids...), fresh, large) {
		if i < len(a.listed) && a.listed[i] != id {
			t.Fatalf("listed %s as number %d, want %s", a.listed[i], i, id)
		}
	}
	if a.stat.Messages != oldCount+2 || a.stat.Failed != 1 || a.stat.Waiting != oldCount+1 || a.stat.Twice != 1 {
		t.Errorf("%+v", a.stat)
	}
	if !strings.Contains(log.String(), "maybe duplicate") || !strings.Contains(log.String(), string(o.sent)) {
		t.Errorf("the log says\n%s", log.String())
	}
	<-s.loading.over
	if s.loading.err != nil {
		t.Fatal(s.loading.err)
	}
	if _, err := mem.Stat(o.orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("orphan: %v", err)
	}
	id, err := draft.Commit(t.Context(), &queue.Message{}, []queue.Recipient{{Address: "a@b.example", Domain: "b.example"}})
	for _, id := range []queue.ID{id, large, o.ids[0], o.ids[500]} {
		if err := errors.Join(err, readAll(s, id)); err != nil {
			t.Errorf("body of %s: %v", id, err)
		}
	}
	for { // the gate has come
		l := lease(t, s)
		if l.Destination == "gated.example" {
			break
		}
	}
}

// A store that is closed while it is being filled loses nothing.
func TestCloseWhileLoading(t *testing.T) {
	o := newOld(t)
	s, mem, on := o.halfway(t, &journal{}, noFault)
	commit(t, s, nil, "fresh.example")
	waits := make(chan error)
	go func() {
		_, err := s.Stat(ctx)
		waits <- err
	}()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := <-waits; err == nil {
		t.Error("somebody was told how much there is")
	}
	on()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, mem, "queue", Options{})
	if st, _ := s.Stat(ctx); st.Messages != oldCount+1 || st.Twice != 1 {
		t.Fatalf("%+v", st)
	}
}

// Damage that is found while mail is accepted already costs one message.
func TestDamageWhileLoading(t *testing.T) {
	o := newOld(t)
	name := only(t, o.mem, ".sst")
	for _, i := range []int{oldCount/2 - 50, oldCount - 50} { // each the last that one of two parts comes to, or nearly
		damaged := &old{mem: kill(o.mem)}
		at := blockOf(t, kill(o.mem), rcptKey(o.ids[i], 0))
		rewriteFile(t, damaged.mem, name, flip(int(at)+20))
		s, mem, on := damaged.halfway(t, &journal{}, noFault)
		commit(t, s, nil, "fresh.example")
		on()
		<-s.loading.over
		if s.loading.err != nil {
			t.Fatal(s.loading.err)
		}
		want := queue.Stat{Messages: oldCount, Quarantined: 1, Failed: 1, Waiting: oldCount - 1, Twice: 1}
		if st, err := s.Stat(ctx); err != nil || st != want {
			t.Errorf("%+v, want %+v, %v", st, want, err)
		}
		if s.missing(s.hurtPath()) {
			t.Error("the next open does not know")
		}
		commit(t, s, nil, "fresh.example")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want.Messages++
		want.Waiting++
		s = mustOpen(t, mem, "queue", Options{})
		if st, err := s.Stat(ctx); err != nil || st.Messages != want.Messages || st.Quarantined != 1 || !s.missing(s.hurtPath()) {
			t.Errorf("after a restart %+v, want %+v, %v", st, want, err)
		}
	}
}

// blockOf is where in a table the block of a record is.
func blockOf(t *testing.T, mem vfs.FS, key []byte) int64 {
	t.Helper()
	at := int64(-1)
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		// Records stand before the index.
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && (at < 0 || op.Offset < at) {
			at = op.Offset
		}
		return nil
	}))
	db, err := pebble.Open("queue/db", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	at = -1
	_, c, err := db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}

// A disk that does not give the rest of the index ends the run, as a failed write
// does: there may be mail of which nobody would ever hear.
func TestReadErrorWhileLoading(t *testing.T) {
	o := newOld(t)
	s, mem, on := o.halfway(t, &journal{}, func(errorfs.Op) error { return errorfs.ErrInjected })
	commit(t, s, nil, "fresh.example")
	on()
	<-s.loading.over
	_, err := s.Create(ctx)
	_, err2 := s.Claim(ctx, 1, time.Hour)
	_, err3 := s.Stat(ctx)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, queue.ErrUnhealthy) {
			t.Errorf("not unhealthy: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, kill(mem), "queue", Options{})
	if st, _ := s.Stat(ctx); st.Messages != oldCount+1 {
		t.Fatalf("%+v", st)
	}
}

// However long Open waits, it or the store says what went wrong with the filling.
func TestReadErrorIsHeardWhenOpenReturns(t *testing.T) {
	w := newThree(t, 50)
	bad := blockOf(t, w.copy(), rcptKey(w.victim, 0))
	late := 0
	for i := range 300 {
		var disk watched
		disk.watch(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && op.Offset == bad {
				return errorfs.ErrInjected
			}
			return nil
		})
		s, err := Open(disk.wrap(w.copy()), "queue", Options{patience: time.Duration(i+1) * 500 * time.Nanosecond, Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			continue
		}
		late++
		<-s.loading.over
		if s.loading.err == nil || s.health() == nil {
			t.Fatalf("round %d: %v, but the store says %v", i, s.loading.err, s.health())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("Open had returned in %d rounds", late)
}

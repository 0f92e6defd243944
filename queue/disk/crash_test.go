package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"smtprelay/queue"
)

var ctx = context.Background()

// client uses a store as the relay does and keeps the ledger. After the first
// error it goes on: whoever gets an error may try again.
type client struct {
	fs    vfs.FS
	s     *Store
	l     *ledger
	fatal func(error)

	mu   sync.Mutex
	errs []error
}

func (c *client) failed(err error) bool {
	if err == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
	return true
}

func (c *client) open() bool {
	s, err := Open(c.fs, "queue", Options{Fatal: c.fatal, patience: time.Nanosecond}) // it works while it loads
	c.mu.Lock()
	c.s = s
	c.mu.Unlock()
	return !c.failed(err)
}

// commit sends a message of this size to these domains.
func (c *client) commit(tag string, size int, domains ...string) {
	body := bytes.Repeat([]byte(tag), size/len(tag)+1)[:size]
	d, err := c.s.Create(ctx)
	if c.failed(err) {
		return
	}
	defer d.Abort()
	if _, err := d.Write(body); c.failed(err) {
		return
	}
	var rs []queue.Recipient
	for _, dom := range domains {
		rs = append(rs, queue.Recipient{Address: "u@" + dom, Domain: dom})
	}
	c.l.begin(tag, body, len(rs), absent, queue.Waiting)
	if _, err := d.Commit(ctx, &queue.Message{MessageID: tag}, rs); !c.failed(err) {
		c.l.begin(tag, body, len(rs), queue.Waiting)
	}
}

// work settles all that is due at one destination.
func (c *client) work(outcome map[string]queue.State) {
	ls, err := c.s.Claim(ctx, 1, time.Hour)
	if c.failed(err) {
		return
	}
	defer func() { c.failed(c.s.Release(ctx, ls[0], 0)) }()
	jobs, err := c.s.Take(ctx, ls[0], 100)
	c.failed(err)
	for _, j := range jobs {
		tag := j.Message.MessageID
		for _, r := range j.Recipients {
			c.failed(c.s.Sending(ctx, ls[0], j.Message.ID, r.N))
			to := outcome[tag]
			if to == "" {
				to = queue.Waiting
			}
			c.settle(tag, r.N, to, func() error {
				return c.s.Settle(ctx, ls[0], queue.Result{ID: j.Message.ID, N: r.N, State: to, Delay: time.Hour, Attempt: &queue.Attempt{}})
			})
		}
	}
}

// settle notes both states while the change is under way, then the new one.
func (c *client) settle(tag string, n int, to queue.State, change func() error) {
	if to.Leaves() {
		to = absent
	}
	c.l.also(tag, n, to)
	if !c.failed(change()) {
		c.l.rcpt(tag, n, to)
	}
}

func (c *client) report() {
	for j, err := range c.s.Unreported(ctx) {
		if c.failed(err) {
			continue
		}
		for _, r := range j.Recipients {
			c.settle(j.Message.MessageID, r.N, queue.Reported, func() error {
				return c.s.Reported(ctx, queue.Result{ID: j.Message.ID, N: r.N, State: queue.Reported})
			})
		}
	}
}

// operate does what an operator does to all recipients of one message.
func (c *client) operate(tag string, to queue.State) {
	for e, err := range c.s.List(ctx, queue.Filter{}) {
		if c.failed(err) {
			return
		}
		if e.Message.MessageID != tag {
			continue
		}
		next := to
		if to.Leaves() {
			next = absent
		}
		for _, r := range e.Recipients {
			c.l.also(tag, r.N, next)
		}
		if _, err := c.s.Update(ctx, queue.Filter{ID: e.Message.ID}, queue.Change{State: to}); c.failed(err) {
			return
		}
		for _, r := range e.Recipients {
			c.l.rcpt(tag, r.N, next)
		}
		return
	}
}

// run is a short life with everything in it. stop ends it early.
func (c *client) run(stop func() bool) {
	steps := []func(){
		func() { c.commit("small", 100, "a.example") },
		func() { c.commit("three", 3000, "a.example", "b.example", "a.example") },
		func() { c.commit("large", 3*inline+17, "a.example") },
		func() {
			c.work(map[string]queue.State{"small": queue.Delivered, "three": queue.Failed, "large": queue.Waiting})
		},
		func() { c.flush() },
		func() { c.commit("empty", 0, "c.example") },
		func() { c.report() },
		func() { c.abort() },
		func() { c.operate("empty", queue.Held) },
		func() { c.commit("large2", inline+1, "a.example", "d.example") },
		func() { c.work(map[string]queue.State{"three": queue.Delivered, "large2": queue.Delivered}) },
		func() { c.together() },
		func() { c.operate("large", queue.Removed) },
		func() { c.reopen() },
		func() { c.commit("after", 500, "e.example") },
		func() { c.work(map[string]queue.State{"large2": queue.Delivered, "three": queue.Delivered}) },
		func() { c.flush() },
		func() { c.commit("last", 2*inline, "f.example") },
	}
	if !c.open() {
		return
	}
	for _, step := range steps {
		if stop() || c.s == nil {
			break
		}
		step()
	}
	if c.s != nil {
		c.failed(c.s.Close())
	}
}

// together commits from several connections at once.
func (c *client) together() {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { c.commit(fmt.Sprintf("together%d", i), 1000*i+1, "t.example") })
	}
	wg.Wait()
}

func (c *client) abort() {
	d, err := c.s.Create(ctx)
	if c.failed(err) {
		return
	}
	_, err = d.Write(make([]byte, 2*inline))
	c.failed(err)
	d.Abort()
}

func (c *client) flush() {
	if c.s.health() == nil {
		_ = c.s.until(c.s.flush) // what it would do by itself, later
	}
}

func (c *client) reopen() {
	if c.failed(c.s.Close()) {
		return // it takes a new process
	}
	c.open()
}

// crashes runs a client over disk, and the power fails before every write and
// sync, once with nothing kept of what was not synced, once with half, once
// with all of it. It returns what was wrong after which, and what errors the
// client heard without a crash.
func crashes(t *testing.T, mem *vfs.MemFS, disk vfs.FS) (points int, wrong []string, errs []error) {
	t.Helper()
	c := &client{l: newLedger(), fatal: func(err error) { t.Error(err) }}
	var mu sync.Mutex
	c.fs = errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		points++
		for _, kept := range []int{0, 50, 100} {
			at := c.l.copy()
			left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(points), 0))})
			for _, w := range at.check(left) {
				wrong = append(wrong, fmt.Sprintf("crash %d (op %d on %s), %d %% kept: %s", points, op.Kind, op.Path, kept, w))
			}
		}
		return nil
	}))
	c.run(func() bool { return len(wrong) > 20 })
	for _, w := range c.l.check(mem) {
		wrong = append(wrong, "in the end: "+w)
	}
	return points, wrong, c.errs
}

func TestCrashAtEveryWrite(t *testing.T) {
	mem := vfs.NewCrashableMem()
	points, wrong, errs := crashes(t, mem, mem)
	for _, w := range wrong {
		t.Error(w)
	}
	for _, err := range errs {
		t.Errorf("without a crash: %v", err)
	}
	if points < 150 {
		t.Errorf("only %d crashes: the client does too little", points)
	}
}

// A harness that finds nothing on a disk that lies proves nothing.
func TestCrashTestFindsALyingDisk(t *testing.T) {
	for name, lies := range map[string]func(path string, dir bool) bool{
		"no file is synced":           func(_ string, dir bool) bool { return !dir },
		"no directory is synced":      func(_ string, dir bool) bool { return dir },
		"the log is not synced":       func(path string, dir bool) bool { return strings.HasSuffix(path, ".log") },
		"no body is synced":           func(path string, dir bool) bool { return !dir && strings.Contains(path, "bodies") },
		"no body's name is synced":    func(path string, dir bool) bool { return dir && strings.Contains(path, "bodies/") },
		"no body's folder is synced":  func(path string, dir bool) bool { return dir && strings.HasSuffix(path, "bodies") },
		"the queue's name is dropped": func(path string, dir bool) bool { return dir && path == "queue" },
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			if _, wrong, _ := crashes(t, mem, liar{mem, lies}); len(wrong) == 0 {
				t.Fatal("nobody noticed")
			}
		})
	}
}

// TestErrorAtEveryWrite lets every write and sync in turn fail, once and for
// good: nothing is acknowledged that is not there after a crash, and the store
// takes nothing more once it has told anybody of a failure.
func TestErrorAtEveryWrite(t *testing.T) {
	for _, once := range []bool{true, false} {
		name := "for good"
		if once {
			name = "once"
		}
		t.Run(name, func(t *testing.T) {
			for k, hit := 0, true; hit; k++ {
				hit = errorAt(t, k, once)
			}
		})
	}
}

// errorAt lets operation k fail, and those after it too unless once. It says
// whether there was an operation k.
func errorAt(t *testing.T, k int, once bool) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex
	var where string
	n, hit := 0, false
	died := make(chan struct{})
	var end sync.Once
	c := &client{l: newLedger(), fatal: func(error) {
		end.Do(func() { close(died) })
		select {} // as if the process had ended here
	}}
	c.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		if n-1 < k || once && hit {
			return nil
		}
		if !hit {
			where = fmt.Sprintf("operation %d (%d on %s)", k, op.Kind, op.Path)
		}
		hit = true
		return errorfs.ErrInjected
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(func() bool {
			if c.s == nil || c.s.health() == nil {
				return false
			}
			// Unhealthy: whatever is asked of it now, the answer is no.
			_, err := c.s.Create(ctx)
			_, cerr := c.s.Claim(ctx, 1, time.Hour)
			if err == nil || cerr == nil {
				t.Errorf("operation %d: unhealthy, but it takes mail (%v) or hands it out (%v)", k, err, cerr)
			}
			return true
		})
	}()
	select {
	case <-done:
	case <-died:
		if _, err := c.s.Create(ctx); !errors.Is(err, queue.ErrUnhealthy) {
			t.Errorf("operation %d: the process ends, but Create says %v", k, err)
		}
		if _, err := c.s.Claim(ctx, 1, time.Hour); !errors.Is(err, queue.ErrUnhealthy) {
			t.Errorf("operation %d: the process ends, but Claim says %v", k, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("operation %d: hangs", k)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	mu.Lock() // what Pebble still does in the background waits
	defer mu.Unlock()
	if len(c.errs) > 0 && c.s != nil && c.s.health() == nil && !strings.Contains(c.errs[0].Error(), "open queue") {
		t.Errorf("%s: somebody was told %v, but the store is healthy", where, c.errs[0])
	}
	for _, kept := range []int{0, 100} {
		left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(1, 2))})
		for _, w := range c.l.copy().check(left) {
			t.Errorf("%s, %d %% kept: %s", where, kept, w)
		}
	}
	return hit
}

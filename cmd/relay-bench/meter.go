package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// group is the control group (cgroup2) that all processes of a system under test live
// in: what it counts, it counts of all of them, also of those that have ended.
type group struct {
	dir   string
	file  *os.File // for clone3
	syncs []int    // counters of fsync and fdatasync; empty: the kernel has none

	stop chan struct{} // ends the sampler
	done sync.WaitGroup
	mu   sync.Mutex
	peak int64 // octets of memory
}

// mountCounters makes the control groups and the kernel's trace points reachable below dir.
func mountCounters(dir string) error {
	for name, kind := range map[string]string{"cgroup": "cgroup2", "trace": "tracefs"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(kind, path, kind, 0, ""); err != nil && kind == "cgroup2" {
			return fmt.Errorf("mount %s: %w", kind, err)
		}
	}
	return nil
}

// newGroup makes one. mounts is where mountCounters put them, name a path in cgroup2.
func newGroup(mounts, name string) (*group, error) {
	g := &group{dir: filepath.Join(mounts, "cgroup", name), stop: make(chan struct{})}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if g.file, err = os.Open(g.dir); err != nil {
		return nil, err
	}
	for _, call := range []string{"fsync", "fdatasync"} {
		fds, err := countCalls(filepath.Join(mounts, "trace"), call, int(g.file.Fd()))
		if err != nil {
			g.dropCounters()
			break // told by the figure that is missing
		}
		g.syncs = append(g.syncs, fds...)
	}
	g.done.Go(g.sample)
	return g, nil
}

// countCalls opens a counter, on each processor, of a system call made in a group.
func countCalls(trace, call string, group int) (fds []int, err error) {
	text, err := os.ReadFile(filepath.Join(trace, "events/syscalls/sys_enter_"+call+"/id"))
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}
	attr.Size = uint32(unsafe.Sizeof(attr))
	for cpu := range runtime.NumCPU() {
		fd, err := unix.PerfEventOpen(&attr, group, cpu, -1, unix.PERF_FLAG_PID_CGROUP|unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (g *group) dropCounters() {
	for _, fd := range g.syncs {
		unix.Close(fd)
	}
	g.syncs = nil
}

// counts is what a group has used since it was made.
type counts struct {
	cpu   time.Duration
	syncs int64 // -1: not counted here
}

func (g *group) read() (c counts, err error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return c, err
	}
	used, err := statValue(string(text), "usage_usec")
	if err != nil {
		return c, err
	}
	c.cpu = time.Duration(used) * time.Microsecond
	if len(g.syncs) == 0 {
		c.syncs = -1
	}
	for _, fd := range g.syncs {
		var n uint64
		if _, err := unix.Read(fd, unsafe.Slice((*byte)(unsafe.Pointer(&n)), 8)); err != nil {
			return c, fmt.Errorf("read a counter of system calls: %w", err)
		}
		c.syncs += int64(n)
	}
	return c, nil
}

// statValue of a file of lines "name value".
func statValue(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in it", name)
}

// sample memory again and again, at the cost of a few hundredths of a processor.
func (g *group) sample() {
	for {
		began := time.Now()
		g.note()
		select {
		case <-time.After(min(max(100*time.Millisecond, 50*time.Since(began)), time.Second)):
		case <-g.stop:
			return
		}
	}
}

func (g *group) note() {
	n := g.memory()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.peak = max(g.peak, n)
}

// memory of all processes: each page that is in memory, shared ones once (PSS).
func (g *group) memory() (sum int64) {
	text, _ := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	for pid := range strings.FieldsSeq(string(text)) {
		text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}

// peakMemory since it was last asked.
func (g *group) peakMemory() int64 {
	g.note()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.peak
	g.peak = 0
	return n
}

// kill ends every process of the group and waits until they have.
func (g *group) kill() error {
	close(g.stop)
	g.done.Wait()
	defer g.file.Close()
	defer g.dropCounters()
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	for range 1000 {
		err := os.Remove(g.dir)
		if !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s is not empty 10 seconds after cgroup.kill", g.dir)
}

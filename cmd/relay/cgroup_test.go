//go:build torture

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// cgroup is a control group of our own, of version 1 or 2, whichever has the
// controller on this machine.
type cgroup struct {
	dir string
	two bool
}

// newGroup makes one for "memory" or "io", gone when the test ends.
func newGroup(t *testing.T, controller string) cgroup {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("relay-torture-%s-%d", controller, os.Getpid())
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		g := cgroup{filepath.Join(f[1], name), f[2] == "cgroup2"}
		old := map[string]string{"memory": "memory", "io": "blkio"}[controller]
		switch {
		case g.two:
			has, _ := os.ReadFile(filepath.Join(f[1], "cgroup.controllers"))
			if !slices.Contains(strings.Fields(string(has)), controller) {
				continue
			}
			if err := os.WriteFile(filepath.Join(f[1], "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
				t.Fatal(err)
			}
		case f[2] != "cgroup" || !slices.Contains(strings.Split(f[3], ","), old):
			continue
		}
		_ = os.Remove(g.dir) // of a run that was killed
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(g.dir); err != nil {
				t.Error(err)
			}
		})
		return g
	}
	t.Fatalf("no control group knows %s: run it by `make torture`, as root", controller)
	return cgroup{}
}

// join are commands of the shell that becomes a member.
func (g cgroup) join() string { return fmt.Sprintf("echo $$ >%s/cgroup.procs", g.dir) }

// set writes to the file of version 1 or that of version 2.
func (g cgroup) set(t *testing.T, one, two, value string) {
	t.Helper()
	if g.two {
		one = two
	}
	if err := os.WriteFile(filepath.Join(g.dir, one), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// memory limits what all in it may have, the kernel's memory of their files too.
func (g cgroup) memory(t *testing.T, octets int) {
	t.Helper()
	g.set(t, "memory.limit_in_bytes", "memory.max", strconv.Itoa(octets))
	g.set(t, "memory.swappiness", "memory.swap.max", "0")
}

// writes limits how often a second they may write to the device; 0: as they like.
func (g cgroup) writes(t *testing.T, device uint64, times int) {
	t.Helper()
	id, limit := fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device)), strconv.Itoa(times)
	if times == 0 && g.two {
		limit = "max"
	}
	if g.two {
		limit = "wiops=" + limit
	}
	g.set(t, "blkio.throttle.write_iops_device", "io.max", id+" "+limit)
}

// read is a number of the group's: a file's, or that beside a word in it.
func (g cgroup) read(t *testing.T, one, two, word string) int {
	t.Helper()
	if g.two {
		one = two
	}
	text, err := os.ReadFile(filepath.Join(g.dir, one))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	n, err := strconv.Atoi(fields[slices.Index(fields, word)+1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killed is how many the kernel killed for want of memory.
func (g cgroup) killed(t *testing.T) int {
	return g.read(t, "memory.oom_control", "memory.events", "oom_kill")
}

// peak is the most memory they had.
func (g cgroup) peak(t *testing.T) int {
	return g.read(t, "memory.max_usage_in_bytes", "memory.peak", "")
}

// rss is the memory of the process itself in octets, now or ("VmHWM") at most.
func (c *child) rss(t *testing.T, which string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), which+":")
	n, err := strconv.Atoi(strings.Fields(after + " x")[0])
	if err != nil {
		t.Errorf("%s of the relay: %v", which, err)
	}
	return n << 10
}

package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The garbage collector's pace. What is alive here is small, a few megabytes
// unless very much mail waits, and the runtime's own rule, to collect when the
// heap has doubled, would have it work many times a second, for a fifth of all
// processor time.
const (
	room    = 64 << 20         // octets the heap may grow by between two collections,
	plenty  = 160 << 20        // as long as it stays below this;
	atLeast = 25               // in any case so many percent of what is alive,
	atMost  = 1600             // and not more than these: of the runtime's least, 4 MiB, that is room
	usual   = 100              // percent, when there is little to do: what is not needed goes back to the system
	busy    = 10 * time.Second // collections that follow each other faster show that there is much
)

// holdMemory sets how the runtime deals with memory, and returns what gives the
// matter back to it. The operator's GOGC and GOMEMLIMIT (package runtime)
// prevail.
func holdMemory() (release func()) {
	limit := debug.SetMemoryLimit(-1)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit("/"))
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Getenv("GOGC") == "" {
			pace(ctx)
		}
	}()
	return func() {
		stop()
		<-done
		debug.SetMemoryLimit(limit)
	}
}

// pace sets after each collection when the next one is due, until ctx ends.
func pace(ctx context.Context) {
	before := debug.SetGCPercent(usual)
	defer func() { debug.SetGCPercent(before) }()
	for last := time.Now(); ; {
		select {
		case <-collected():
		case <-ctx.Done():
			return
		}
		now := time.Now()
		debug.SetGCPercent(growth(alive(), now.Sub(last)))
		last = now
	}
}

// growth is by how many percent of what is alive the heap may grow before the
// next collection.
func growth(alive uint64, sinceLast time.Duration) int {
	if sinceLast > busy {
		return usual
	}
	may := min(room, plenty-min(alive, plenty))
	return int(min(max(may*100/max(alive, 1), atLeast), atMost))
}

// alive is how many octets the last collection found in use.
func alive() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// collected is closed after the next collection: it finds an object that nobody
// holds any more.
func collected() <-chan struct{} {
	c := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, c)
	return c
}

// memoryLimit is what the heap and all around it should stay below: three
// quarters of what the control groups allow (cgroups(7)), since the kernel
// counts the program and the buffers of sockets and files to them; none where
// they allow all. The runtime then collects more often, rather than be killed.
// In a build with cgo the store's buffers, some 70 MiB, come on top.
func memoryLimit(root string) int64 {
	limit := int64(math.MaxInt64)
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		mount, names := "sys/fs/cgroup", []string{"memory.max", "memory.high"} // version 2
		switch {
		case slices.Contains(strings.Split(part[1], ","), "memory"): // version 1
			mount, names = "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		case part[1] != "":
			continue
		}
		for dir := filepath.Clean("/" + part[2]); ; dir = filepath.Dir(dir) {
			for _, name := range names {
				text, _ := os.ReadFile(filepath.Join(root, mount, dir, name))
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
					limit = min(limit, n/4*3)
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

package disk

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"smtprelay/queue"
)

var (
	scale     = flag.Int("scale", 0, "TestScale: how many messages wait")
	scaleDir  = flag.String("scale-dir", "", "TestScale: where; kept, and taken up if it is there")
	scalePart = flag.String("scale-part", "", "TestScale: what this process does: fill or measure (it starts itself so)")
	scaleProf = flag.String("scale-profile", "", "TestScale: write cpu and heap profiles of the opening to files that begin so")
)

// TestScale tells what a queue of -scale deferred messages costs: bodies of 1 to 4
// KiB, a recipient each, a third of them at one domain, the others at 10,000.
// Each part is done by a process of its own; the first ends as if it were killed.
func TestScale(t *testing.T) {
	switch {
	case *scalePart == "fill":
		fillScale(t, *scaleDir, *scale)
	case *scalePart == "measure":
		measureScale(t, *scaleDir)
	case *scale == 0:
		t.Skip("give -scale 100000")
	default:
		if *scaleDir == "" {
			*scaleDir = t.TempDir()
		}
		if _, err := os.Stat(filepath.Join(*scaleDir, "queue")); err != nil {
			scaleRun(t, "fill")
		}
		scaleRun(t, "measure")
	}
}

func scaleRun(t *testing.T, part string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(os.Args[1:], "-scale-dir="+*scaleDir, "-scale-part="+part, "-test.run=^TestScale$", "-test.v")
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

// fillScale makes the queue and leaves it as a kill would.
func fillScale(t *testing.T, dir string, n int) {
	from := time.Now()
	s, err := Open(vfs.Default, filepath.Join(dir, "queue"), Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	acceptScale(t, s, n, 64)
	t.Logf("%d accepted by 64 clients in %v", n, time.Since(from).Round(time.Millisecond))
	from = time.Now()
	for {
		if st, _ := s.Stat(ctx); st.Waiting == 0 || !deferScale(t, s) {
			break
		}
	}
	t.Logf("all tried once in %v", time.Since(from).Round(time.Millisecond))
	memory(t, "after filling")
}

// deferScale tries all that is due at one destination, and says whether there was any.
func deferScale(t *testing.T, s *Store) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ls, err := s.Claim(ctx, 1, time.Hour)
	if err != nil {
		return false
	}
	for {
		jobs, err := s.Take(t.Context(), ls[0], 200)
		if err != nil {
			t.Fatal(err)
		}
		var rs []queue.Result
		for _, j := range jobs {
			for _, r := range j.Recipients {
				rs = append(rs, queue.Result{
					ID: j.Message.ID, N: r.N, State: queue.Waiting, Delay: time.Hour, Reason: "451 4.7.1 from mx1.example.net",
					Attempt: &queue.Attempt{
						At: time.Now(), Outcome: queue.Deferred, Source: "wan4", Host: "mx1.example.net", TLS: "TLS1.3", Stage: "rcpt",
						Reply: queue.Reply{Code: 451, Status: "4.7.1", Text: "Greylisting in action, please come back later"},
					},
				})
			}
		}
		if len(rs) == 0 {
			break
		}
		if err := s.Settle(t.Context(), ls[0], rs...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Release(t.Context(), ls[0], 0); err != nil {
		t.Fatal(err)
	}
	return true
}

// acceptScale takes n messages in, from so many clients at once, and returns the last ID.
func acceptScale(t *testing.T, s *Store, n, clients int) (last queue.ID) {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 5))
			for i := c; i < n; i += clients {
				domain := "big.example"
				if i%3 != 0 {
					domain = fmt.Sprintf("d%d.example", i%10000)
				}
				id, err := tryCommit(s, prose(r, 1024+r.IntN(3072)), domain)
				if err != nil {
					t.Error(err)
					return
				}
				if c == 0 {
					last = id
				}
			}
		})
	}
	wg.Wait()
	return last
}

// prose is text that compresses as mail does.
func prose(r *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		for range 8 + r.IntN(4) {
			const letters = "etaoinshrdlucmfwypvbgkjqxz"
			for range 2 + r.IntN(8) {
				b = append(b, letters[min(r.IntN(26), r.IntN(26))])
			}
			b = append(b, ' ')
		}
		b = append(b, "\r\n"...)
	}
	return b[:n]
}

func measureScale(t *testing.T, dir string) {
	stop := func() {}
	if *scaleProf != "" {
		f, err := os.Create(*scaleProf + ".cpu")
		if err != nil {
			t.Fatal(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		stop = func() {
			pprof.StopCPUProfile()
			f.Close()
			h, err := os.Create(*scaleProf + ".heap")
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			if err := pprof.WriteHeapProfile(h); err != nil {
				t.Fatal(err)
			}
			h.Close()
		}
	}
	took := func(what string, do func()) {
		from, cpu := time.Now(), cpuTime(t)
		do()
		t.Logf("%-40s %v, %v of processor time", what, time.Since(from).Round(10*time.Microsecond), (cpuTime(t) - cpu).Round(10*time.Microsecond))
	}
	t.Logf("%-40s %d MiB", "disk", diskMiB(t, filepath.Join(dir, "queue")))
	var s *Store
	var err error
	took("open", func() { s, err = Open(vfs.Default, filepath.Join(dir, "queue"), Options{MinFree: 1}) })
	if err != nil {
		t.Fatal(err)
	}
	stop()
	memory(t, "after open")
	st, _ := s.Stat(ctx)
	t.Logf("%+v", st)
	list := func(f queue.Filter) (first queue.Entry) {
		n := 0
		for e, err := range s.List(ctx, f) {
			if err != nil {
				t.Fatal(err)
			}
			if first = e; n == 0 {
				n++
			}
		}
		return first
	}
	var last queue.Entry
	took("list, first 100", func() { last = list(queue.Filter{Limit: 100}) })
	took("show one", func() { list(queue.Filter{ID: last.Message.ID}) })
	took("list, first 100 of the large domain", func() { list(queue.Filter{Domain: "big.example", Limit: 100}) })
	took("list all of a small domain", func() { list(queue.Filter{Domain: "d7.example"}) })
	took("list all of a domain without mail", func() { list(queue.Filter{Domain: "none.example"}) })
	took("list all failed", func() { list(queue.Filter{State: queue.Failed}) })
	took("list 2000 of the large domain", func() { list(queue.Filter{Domain: "big.example", Limit: 2000}) })
	memory(t, "after listing")
	took("update: all of a small domain due", func() {
		n, err := s.Update(ctx, queue.Filter{Domain: "d7.example"}, queue.Change{State: queue.Waiting})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("  %d due", n)
	})
	took("claim and take of what is due", func() { l := lease(t, s); must(s.Take(t.Context(), l, 8)) })
	fresh, err := Open(vfs.Default, filepath.Join(t.TempDir(), "queue"), Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // turn by turn, for the machine has other things to do
		for _, clients := range []int{1, 16} {
			took(fmt.Sprintf("accept 1000 by %d", clients), func() { acceptScale(t, s, 1000, clients) })
			took(fmt.Sprintf("accept 1000 by %d, in an empty queue", clients), func() { acceptScale(t, fresh, 1000, clients) })
		}
	}
	memory(t, "after accepting")
	t.Logf("%v", s.db.Metrics())
	took("close", func() { err = s.Close() })
	if err != nil {
		t.Fatal(err)
	}
}

// cpuTime is what this process has used of the processors: what it took does not
// tell much on a machine that has other things to do.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func diskMiB(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			n += st.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n >> 20
}

// memory tells what the kernel says of this process.
func memory(t *testing.T, when string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			t.Logf("%-40s %s", when, strings.Join(strings.Fields(line), " "))
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%-40s Go heap %d MiB in use, %d from the OS", when, m.HeapAlloc>>20, m.Sys>>20)
}

//go:build torture

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// `make torture` runs this as root, in namespaces of its own: however it ends,
// the kernel takes the mounts, the loop devices and the processes away.

var powerCycles = map[string]*int{
	"ext4": flag.Int("ext4-cycles", 1000, "how often TestPower takes the power from ext4"),
	"xfs":  flag.Int("xfs-cycles", 300, "how often TestPower takes the power from xfs"),
}

// volume is a file system of its own, in a file in memory, on a loop device.
type volume struct {
	kind, image, dir string
	options          string // of mount
	fail             func(v *volume, t *testing.T)
}

// newVolume makes one of 400 MiB by mkfs with these arguments; what fails is the power.
func newVolume(t *testing.T, kind string, args ...string) *volume {
	t.Helper()
	return newVolumeOf(t, 400<<20, kind, args...)
}

// newVolumeOf makes one of so many octets. Those that are used are in memory.
func newVolumeOf(t *testing.T, size int64, kind string, args ...string) *volume {
	t.Helper()
	ram := t.TempDir()
	if err := unix.Mount("tmpfs", ram, "tmpfs", 0, "mode=0700,size=90%"); err != nil {
		t.Fatalf("a tmpfs for the disk image: %v: run it by `make torture`, as root", err)
	}
	v := &volume{kind: kind, image: filepath.Join(ram, "image"), dir: filepath.Join(ram, "mnt"), options: "loop", fail: (*volume).cut}
	t.Cleanup(func() {
		_ = unix.Unmount(v.dir, unix.MNT_DETACH)
		if err := unix.Unmount(ram, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Create(v.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Mkdir(v.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if kind == "ext4" {
		args = append(args, "-E", "lazy_itable_init=0,lazy_journal_init=0")
	}
	must(t, slices.Concat([]string{"mkfs." + kind, "-q"}, args, []string{v.image})...)
	return v
}

func must(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// mount replays the journal, as after a power failure.
func (v *volume) mount(t *testing.T) {
	t.Helper()
	must(t, "mount", "-o", v.options, "-t", v.kind, v.image, v.dir)
}

func (v *volume) unmount(t *testing.T) {
	t.Helper()
	must(t, "umount", v.dir)
}

// cut takes the power: what has not reached the disk is lost, its journal in
// memory too, and whatever is written from now on fails.
func (v *volume) cut(t *testing.T) {
	t.Helper()
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one: _IOR('X', 125, __u32)
		noLogFlush = 2
	)
	d, err := unix.Open(v.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(d)
	if err := unix.IoctlSetPointerInt(d, shutdown, noLogFlush); err != nil {
		t.Fatalf("shutdown of %s: %v", v.kind, err)
	}
}

// TestPower takes the power from the file system of the queue again and again,
// under load, while the relay lives on, and starts it anew on what is left.
// Nothing that was acknowledged may be lost, before the cut or after it.
func TestPower(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			v := newVolume(t, kind)
			k, book := newKillLab(t, v.dir), newLedger()
			from, cycles := time.Now(), *powerCycles[kind]
			for i := range cycles {
				k.cycle(t, book, v, i)
			}
			v.mount(t)
			f := k.end(t, book)
			v.unmount(t)
			t.Logf("%s, %d cycles in %v: %v", kind, cycles, time.Since(from).Round(time.Second), f)
			for _, w := range f.wrong {
				t.Error(w)
			}
			if f.never > 0 {
				t.Errorf("%d messages were acknowledged after the power had failed, and are lost: a sync that failed was called a success", f.never)
			}
			if f.acked < cycles {
				t.Errorf("only %d messages were acknowledged: the load was too small to show anything", f.acked)
			}
			if f.twice > cycles*inFlight {
				t.Errorf("%d copies too many in %d cuts: more than one for each connection", f.twice, cycles)
			}
		})
	}
}

// cycle is one life of the relay until the power fails. It must notice by
// itself, and end: whoever goes on would acknowledge what is not kept.
func (k *killLab) cycle(t *testing.T, book *ledger, v *volume, i int) {
	t.Helper()
	v.mount(t)
	c, stop := k.live(t, book, i)
	// The moment of the cut is random; there is no event to wait for.
	time.Sleep(20*time.Millisecond + time.Duration(rand.IntN(300))*time.Millisecond)
	book.note(func() { book.cut = true })
	v.fail(v, t)
	c.wait(t)
	c.kill()
	stop()
	book.note(func() { book.cut = false })
	k.hear(c)
	if code := c.cmd.ProcessState.ExitCode(); code <= 0 { // -1: by our signal
		text, _ := c.text()
		t.Errorf("cycle %d: the relay ended with %d, expected an error:\n%s", i, code, text[max(0, len(text)-4000):])
	}
	v.unmount(t)
	if t.Failed() {
		t.FailNow()
	}
}

// wait until it ends by itself.
func (c *child) wait(t *testing.T) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Error("the relay goes on without a disk")
	}
}

// findMutant runs cycles until the ledgers show what is wrong, and says in which.
func findMutant(t *testing.T, cycle func(i int, book *ledger), end func(book *ledger) findings) {
	t.Helper()
	book := newLedger()
	for i := range 20 {
		cycle(i, book)
		if f := end(book); len(f.wrong) > 0 {
			t.Logf("noticed in round %d: %v, such as: %s", i+1, f, f.wrong[0])
			return
		}
	}
	t.Error("nobody noticed in 20 rounds")
}

func powerMutant(t *testing.T, kind, mutant string) {
	t.Setenv("RELAY_MUTANT", mutant)
	v := newVolume(t, kind)
	k := newKillLab(t, v.dir)
	findMutant(t, func(i int, book *ledger) { k.cycle(t, book, v, i) }, func(book *ledger) findings {
		v.mount(t)
		defer v.unmount(t)
		return k.end(t, book)
	})
}

// TestMutants: what TestPower and TestKill do would find a relay that does not
// sync, or acknowledges first. One that does not sync directories only the model
// of TestCrashAtEveryWrite finds: ext4 and xfs keep the name of a new file with
// its content, which POSIX does not promise.
func TestMutants(t *testing.T) {
	if !withMutants {
		t.Skip("this is the relay as it is: built without the tag mutants")
	}
	for _, kind := range []string{"ext4", "xfs"} {
		for _, m := range []string{"nofsync", "ackfirst"} {
			t.Run(fmt.Sprintf("power/%s/%s", kind, m), func(t *testing.T) { powerMutant(t, kind, m) })
		}
	}
	t.Run("kill/ackfirst", func(t *testing.T) {
		t.Setenv("RELAY_MUTANT", "ackfirst")
		k := newKillLab(t, "")
		findMutant(t, func(i int, book *ledger) { k.round(t, book, 5*i) }, func(book *ledger) findings { return k.end(t, book) })
	})
}

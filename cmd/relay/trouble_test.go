//go:build torture

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadOnly: ext4 finds an error of its own and becomes read-only, again and
// again. It is a power failure that the relay lives through.
func TestReadOnly(t *testing.T) {
	v := newVolume(t, "ext4")
	v.options, v.fail = "loop,errors=remount-ro", (*volume).forbid
	k, book := newKillLab(t, v.dir), newLedger()
	for i := range 20 {
		k.cycle(t, book, v, i)
	}
	v.mount(t)
	f := k.end(t, book)
	v.unmount(t)
	t.Log(f)
	for _, w := range f.wrong {
		t.Error(w)
	}
}

// forbid has the kernel find an error.
func (v *volume) forbid(t *testing.T) {
	t.Helper()
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(mountedFrom(t, v.dir)), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("a test\n"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestNoSpace: something else fills the file system, or takes its inodes. Clients
// hear a 4xx; when there is room again all is well, within seconds, and nothing
// that was acknowledged is lost.
func TestNoSpace(t *testing.T) {
	for name, eat := range map[string]func(t *testing.T, dir string){"octets": eatSpace, "inodes": eatInodes} {
		t.Run(name, func(t *testing.T) {
			v := newVolume(t, "ext4", "-N", "4096")
			v.mount(t)
			k, book := newKillLab(t, v.dir), newLedger()
			for i := range 10 {
				c, stop := k.live(t, book, i)
				time.Sleep(50 * time.Millisecond) // some load; the moment does not matter
				food := k.food(t)
				eat(t, food)
				code := k.refused(t, c, fmt.Sprintf("full-%d", i))
				if err := os.RemoveAll(food); err != nil {
					t.Fatal(err)
				}
				stop()
				if code != 452 { // a write of the queue's own failed: it ends, and is started anew
					c.wait(t)
				} else if err := k.send(book, fmt.Sprintf("room-%d", i), "there is room again\r\n"); err != nil {
					t.Errorf("round %d: there is room again, but: %v", i, err)
				}
				t.Logf("round %d: %d", i, code)
				c.kill()
				k.hear(c)
			}
			f := k.end(t, book)
			v.unmount(t)
			t.Log(f)
			for _, w := range f.wrong {
				t.Error(w)
			}
		})
	}
}

// largeText is the text of a message that is a file in the queue.
var largeText = strings.Repeat("a large message\r\n", 20000)

// refused waits until a message is refused for want of room, or the relay ends.
func (k *killLab) refused(t *testing.T, c *child, name string) int {
	t.Helper()
	for late := time.After(patience); ; {
		var said *textproto.Error
		err := k.send(newLedger(), name, largeText)
		if errors.As(err, &said) && said.Code/100 == 4 {
			return said.Code
		}
		select {
		case <-c.done:
			return 0
		case <-late:
			t.Fatalf("no room, and it goes on: %v", err)
		default:
		}
	}
}

// TestNoRoom: there is still room, but little. No new mail is taken, by a 452; what
// is in the queue is delivered all the same; and when there is room again mail is
// taken, with nobody's help.
func TestNoRoom(t *testing.T) {
	for name, x := range map[string]struct {
		kind      string
		mkfs      []string
		eat, give func(t *testing.T, k *killLab, c *child)
	}{
		"octets": {eat: func(t *testing.T, k *killLab, _ *child) {
			eatSpace(t, k.food(t))
			st, err := os.Stat(filepath.Join(k.food(t), "all"))
			if err == nil {
				err = os.Truncate(filepath.Join(k.food(t), "all"), st.Size()-60<<20)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		"inodes": {mkfs: []string{"-N", "4096"}, eat: func(t *testing.T, k *killLab, _ *child) {
			eatInodes(t, k.food(t))
			for i := range 60 {
				if err := os.Remove(filepath.Join(k.food(t), fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"quota": {
			kind: "btrfs",
			eat:  func(t *testing.T, k *killLab, _ *child) { k.quota(t, "128K") },
			give: func(t *testing.T, k *killLab, _ *child) { k.quota(t, "none") },
		},
		"file size": {
			eat:  func(t *testing.T, _ *killLab, c *child) { c.fileSize(t, 128<<10) },
			give: func(t *testing.T, _ *killLab, c *child) { c.fileSize(t, unix.RLIM_INFINITY) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVolume(t, cmp.Or(x.kind, "ext4"), x.mkfs...)
			v.mount(t)
			k, book := newKillLab(t, v.dir), newLedger()
			if v.kind == "btrfs" {
				k.underQuota(t)
			}
			if err := k.sink.Set("MAIL 451 4.7.1 not now"); err != nil {
				t.Fatal(err)
			}
			c := k.start(t)
			defer c.kill()
			for i := range 20 {
				if err := k.send(book, fmt.Sprintf("before-%d", i), strings.Repeat("it waits\r\n", 100)); err != nil {
					t.Fatal(err)
				}
			}
			x.eat(t, k, c)
			if code := k.refused(t, c, "little-room"); code != 452 {
				t.Errorf("the answer was %d, expected 452", code)
			}
			if err := k.sink.Set(""); err != nil {
				t.Fatal(err)
			}
			k.drain(t, book, 0)
			if code := k.refused(t, c, "still-little"); code != 452 {
				t.Errorf("the answer was %d, expected 452", code)
			}
			if x.give != nil {
				x.give(t, k, c)
			} else if err := os.RemoveAll(k.food(t)); err != nil {
				t.Fatal(err)
			}
			room := time.Now()
			for k.send(book, "room", largeText) != nil {
				if time.Since(room) > 10*time.Second {
					t.Fatal("there is room again, and no mail is taken")
				}
				time.Sleep(10 * time.Millisecond)
			}
			f := k.settled(t, c, book)
			t.Logf("%v; mail was taken %v after there was room", f, time.Since(room).Round(time.Millisecond))
			for _, w := range f.wrong {
				t.Error(w)
			}
			if f.acked != 21 {
				t.Errorf("%d acknowledged, expected 21", f.acked)
			}
			c.kill()
			v.unmount(t)
		})
	}
}

// TestCrowdFillsDisk: many large messages come at once, together far more than
// there is room for. Some are taken, the others refused by a 452 before the room is
// used up that the queue's records need: it runs on, and delivers.
func TestCrowdFillsDisk(t *testing.T) {
	v := newVolume(t, "ext4")
	v.mount(t)
	k, book := newKillLab(t, v.dir), newLedger()
	c := k.start(t)
	defer c.kill()
	text := largeBody(20 << 20)
	var wg sync.WaitGroup
	var no atomic.Int32
	for i := range 50 {
		wg.Go(func() {
			s, err := k.begin(book, fmt.Sprintf("large-%d", i))
			if err == nil {
				if _, err = io.Copy(s.w, io.NewSectionReader(text, 0, text.size)); err == nil {
					err = s.end(text.hash())
				}
				defer s.c.Close()
			}
			var said *textproto.Error
			if errors.As(err, &said) && said.Code == 452 {
				no.Add(1)
			} else if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	f := k.settled(t, c, book)
	t.Logf("%v; %d refused", f, no.Load())
	for _, w := range f.wrong {
		t.Error(w)
	}
	if no.Load() == 0 || f.acked == 0 {
		t.Error("expected some of both")
	}
	c.kill()
	v.unmount(t)
}

// TestLogFillsItsDisk: the log is on a file system of 1 MiB, which it fills. Mail
// flows on, what is lost is counted, and when there is room again the log goes on
// and says how much is missing.
func TestLogFillsItsDisk(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, 0) //nolint:errcheck // the namespace ends
	k, book := newKillLab(t, ""), newLedger()
	eatSpace(t, small)
	if err := os.Truncate(filepath.Join(small, "all"), 1<<20-16<<10); err != nil { // what is left is for a few messages
		t.Fatal(err)
	}
	file := filepath.Join(small, "log")
	under(t, "exec >>"+file+" 2>&1")
	c := k.start(t)
	defer c.kill()
	for i := range 200 {
		if err := k.send(book, fmt.Sprintf("m%d", i), "hello\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	k.drain(t, book, 0)
	lost := k.linesLost(t)
	if err := os.Remove(filepath.Join(small, "all")); err != nil {
		t.Fatal(err)
	}
	f := k.settled(t, c, book)
	c.kill()
	t.Logf("%v; %d lines were lost", f, lost)
	for _, w := range f.wrong {
		t.Error(w)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, m := range regexp.MustCompile(`"msg":"lines of the log were lost","count":(\d+)`).FindAllSubmatch(text, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		told += n
	}
	if f.acked != 200 || lost < 200 || told < lost {
		t.Errorf("%d of 200 messages were acknowledged, %d lines lost, and the log says %d:\n%s", f.acked, lost, told, text[max(0, len(text)-1000):])
	}
}

// food is a directory for what eats the room.
func (k *killLab) food(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(k.state, "food")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// quota limits what the files of large messages may take ("none": not). statfs(2)
// does not tell of it.
func (k *killLab) quota(t *testing.T, limit string) {
	t.Helper()
	must(t, "btrfs", "qgroup", "limit", limit, filepath.Join(k.state, "state", "queue", "bodies"))
}

// underQuota makes the directory of these files one that a quota may be set for.
func (k *killLab) underQuota(t *testing.T) {
	t.Helper()
	queue := filepath.Join(k.state, "state", "queue")
	if err := os.MkdirAll(queue, 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, "btrfs", "-q", "subvolume", "create", filepath.Join(queue, "bodies"))
	must(t, "btrfs", "quota", "enable", k.state)
}

// mountedFrom is the device of a file system.
func mountedFrom(t *testing.T, dir string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == dir {
			return f[0]
		}
	}
	t.Fatal("not mounted")
	return ""
}

// fileSize limits the size of every file that the relay writes (RLIMIT_FSIZE).
func (c *child) fileSize(t *testing.T, octets uint64) {
	t.Helper()
	if err := unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: octets, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

func eatSpace(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "all"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := int64(64 << 20); size >= 1<<10; size /= 2 {
		for err = nil; err == nil; {
			st, _ := f.Stat()
			err = unix.Fallocate(int(f.Fd()), 0, st.Size(), size)
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func eatInodes(t *testing.T, dir string) {
	t.Helper()
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

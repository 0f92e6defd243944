//go:build torture

package main

import (
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
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
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == v.dir {
			trigger := filepath.Join("/sys/fs/ext4", filepath.Base(f[0]), "trigger_fs_error")
			if err := os.WriteFile(trigger, []byte("a test\n"), 0); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("not mounted")
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
				food := filepath.Join(v.dir, "food")
				if err := os.Mkdir(food, 0o700); err != nil {
					t.Fatal(err)
				}
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

// refused waits until a message is refused for want of room, or the relay ends.
func (k *killLab) refused(t *testing.T, c *child, name string) int {
	t.Helper()
	for late := time.After(patience); ; {
		var said *textproto.Error
		err := k.send(newLedger(), name, strings.Repeat("a large message\r\n", 20000))
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

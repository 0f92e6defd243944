//go:build torture

package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine of its own is needed for what cannot be given to one process: a clock
// that is set. It is a kernel and this very binary in memory, with no disk and no
// network but loopback.

var guestKernel = flag.String("guest-kernel", "../../bin/vmlinuz", "the kernel of the machine that TestClockJumps boots")

// By these names this binary is run in there: as the first process, and by that as a
// test.
const (
	guestInit = "/init"
	guestTest = "relay.guest"
	guestOK   = "guest: passed"
)

func inGuest() bool { return os.Args[0] == guestTest }

// bootGuest runs the calling test in a guest, where inGuest is true.
func bootGuest(t *testing.T, limit time.Duration) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the guest is a PC, and this binary is for " + runtime.GOARCH)
	}
	image := filepath.Join(t.TempDir(), "initramfs")
	if err := writeInitramfs(image); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	// The processor is emulated: KVM is not everywhere, and not everywhere whole.
	c := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1G",
		"-nodefaults", "-nic", "none", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", *guestKernel, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 -- -test.v -test.run ^"+t.Name()+"$ -test.timeout "+limit.String())
	c.Stderr = os.Stderr
	console, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("%v: run it by `make torture`, which installs qemu-system-x86", err)
	}
	passed := false
	for lines := bufio.NewScanner(console); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		t.Log(line)
		passed = passed || line == guestOK
	}
	if err := c.Wait(); err != nil || !passed {
		t.Errorf("the guest ended (%v, %v) and did not say %q", err, ctx.Err(), guestOK)
	}
}

// writeInitramfs puts this binary and its data into an archive that the kernel unpacks
// into memory as the root of all.
func writeInitramfs(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := elf.Open(self)
	if err != nil {
		return err
	}
	defer b.Close()
	if libs, _ := b.ImportedLibraries(); len(libs) > 0 {
		return fmt.Errorf("this binary needs %v, which the guest does not have: build it with CGO_ENABLED=0, as make torture does", libs)
	}
	var a cpio
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "testdata", "testdata/common"} {
		a.add(dir, unix.S_IFDIR|0o755, nil)
	}
	files, err := filepath.Glob("testdata/common/*")
	if err != nil {
		return err
	}
	for _, name := range append(files, self) {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if name == self {
			name = guestInit[1:]
		}
		a.add(name, unix.S_IFREG|0o755, data)
	}
	a.add("TRAILER!!!", 0, nil)
	return os.WriteFile(path, a.Bytes(), 0o600)
}

// cpio is an archive in the form "newc": Documentation/driver-api/early-userspace/buffer-format.rst
// of the kernel.
type cpio struct {
	bytes.Buffer
	n int
}

func (a *cpio) add(name string, mode int, data []byte) {
	a.n++
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", // magic, then
		a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0) // inode, mode, owner, group, links, time, size, 2+2 of devices, name, checksum
	a.pad(name + "\x00")
	a.pad(string(data))
}

// pad fills up to a multiple of four.
func (a *cpio) pad(s string) {
	a.WriteString(s)
	a.Write(make([]byte, -a.Len()&3))
}

func init() {
	if os.Args[0] == guestInit && os.Getpid() == 1 {
		runGuest()
	}
}

// runGuest is the first process of the guest. It does not return.
func runGuest() {
	err := furnish()
	if err == nil {
		c := &exec.Cmd{Path: guestInit, Args: append([]string{guestTest}, os.Args[1:]...), Stdout: os.Stdout, Stderr: os.Stdout}
		c.Env = []string{"TMPDIR=/tmp", "HOME=/tmp", "PATH=/"}
		err = c.Run()
	}
	if err == nil {
		fmt.Println(guestOK)
	} else {
		fmt.Println("guest:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// furnish makes the guest a place to live in: kernel file systems, a console, loopback.
func furnish() error {
	for _, kind := range []string{"devtmpfs /dev", "proc /proc", "sysfs /sys", "tmpfs /tmp"} {
		kind, at, _ := strings.Cut(kind, " ")
		if err := unix.Mount(kind, at, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

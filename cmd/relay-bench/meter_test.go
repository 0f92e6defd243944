package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestGroupCounts: what processes of a group use is counted, also of those that ended.
func TestGroupCounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups want root")
	}
	dir := t.TempDir()
	var g *group
	err := mountCounters(dir)
	t.Cleanup(func() {
		for _, name := range []string{"cgroup", "trace"} {
			if err := syscall.Unmount(filepath.Join(dir, name), 0); err != nil && !errors.Is(err, syscall.EINVAL) {
				t.Error(err)
			}
		}
	})
	if err == nil {
		g, err = newGroup(dir, fmt.Sprintf("bench-test-%d", os.Getpid()))
	}
	if lacking(err) {
		t.Skip("no control groups for us: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", "-c", "sync $0; sync --data $0; sync $0; kill -STOP $$", filepath.Join(dir, "file"))
	if err := os.WriteFile(c.Args[3], []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(g.file.Fd())}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(c.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Errorf("the process: %v, %v", status, err)
	}
	got, err := g.read()
	if err != nil || got.cpu <= 0 || got.syncs != 3 && got.syncs != -1 {
		t.Errorf("counted %+v, %v, want time and 3 syncs (-1: the kernel has no trace points)", got, err)
	}
	if n := g.peakMemory(); n <= 0 {
		t.Errorf("memory %d", n)
	}
	if err := errors.Join(g.kill(), c.Wait()); err == nil {
		t.Error("the process ended by itself, want it killed")
	}
	if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group is still there: %v", err)
	}
}

// lacking tells whether an error says that the kernel has no control groups (ENODEV), or
// that root may not have any, as in many a container. Every other is a defect.
func lacking(err error) bool {
	for _, one := range []error{syscall.EPERM, syscall.EACCES, syscall.EROFS, syscall.ENODEV} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

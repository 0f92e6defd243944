package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thisMachine tells where and when it was measured, and of what.
func thisMachine(work string, o others) string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	words := []string{
		fmt.Sprintf("%s, in %d minutes", o.began.UTC().Format("2 January 2006, 15:04 UTC"), int(time.Since(o.began).Minutes())+1),
		fmt.Sprintf("%d × %s, %s of memory", runtime.NumCPU(), valueOf("/proc/cpuinfo", "model name"), memory()),
		fmt.Sprintf("Linux %s, queues on %s", unix.ByteSliceToString(u.Release[:]), fileSystem(work)),
		fmt.Sprintf("relay %s by %s", revision(), runtime.Version()),
	}
	if v := packageVersions(postfixRoot.Path("postfix")); v != "" {
		words = append(words, v)
	}
	if out, err := exec.Command("pkg-config", "--modversion", "libcrypto").Output(); err == nil {
		words = append(words, "OpenSSL "+string(bytes.TrimSpace(out)))
	}
	if part, err := o.part(); err == nil {
		words = append(words, fmt.Sprintf("others on the machine had %.0f %% of its processors meanwhile", 100*part))
	}
	return strings.Join(words, "; ") + "."
}

// valueOf the first line "name : value" of a file.
func valueOf(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown processor"
}

func memory() string {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return "unknown size"
	}
	return fmt.Sprintf("%d GiB", (s.Totalram*uint64(s.Unit)+1<<29)>>30)
}

// fileSystem that a directory lies on, as /proc/self/mounts has it.
func fileSystem(dir string) string {
	kind, at := "an unknown file system", ""
	text, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < len(at) {
			continue
		}
		if rel, err := filepath.Rel(f[1], dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			kind, at = f[2], f[1]
		}
	}
	return kind
}

// revision of the tree that was measured.
func revision() string {
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		return string(bytes.TrimSpace(out))
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Version
	}
	return "unknown"
}

// packageVersions of a private root: those that are measured.
func packageVersions(root string) string {
	text, _ := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	var all []string
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		name, version := "", ""
		for line := range strings.Lines(stanza) {
			if v, ok := strings.CutPrefix(line, "Package: "); ok {
				name = strings.TrimSpace(v)
			}
			if v, ok := strings.CutPrefix(line, "Version: "); ok {
				version = strings.TrimSpace(v)
			}
		}
		if name == "postfix" || name == "opendkim" {
			all = append(all, name+" "+version)
		}
	}
	return strings.Join(all, ", ")
}

// others is what else goes on on the machine while we measure: it makes figures worse,
// and ratios uncertain.
type others struct {
	stat  string // of the control group that we and all that is measured are in
	began time.Time
	busy  time.Duration // of the machine's processors, when we began
}

// newOthers puts this process into the group of the run, name, which counts from now on.
func newOthers(mounts, name string) (o others, err error) {
	dir := filepath.Join(mounts, "cgroup", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return o, err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return o, err
	}
	o = others{stat: filepath.Join(dir, "cpu.stat"), began: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return o, err
	}
	o.busy, err = busy(string(text))
	return o, err
}

// part of the machine's processor time that was not ours, 0 to 1.
func (o others) part() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	now, err := busy(string(text))
	if err != nil {
		return 0, err
	}
	if text, err = os.ReadFile(o.stat); err != nil {
		return 0, err
	}
	used, err := statValue(string(text), "usage_usec")
	theirs := now - o.busy - time.Duration(used)*time.Microsecond
	return max(0, theirs.Seconds()) / time.Since(o.began).Seconds() / float64(runtime.NumCPU()), err
}

// busy is the time that the processors have worked, by the first line of /proc/stat:
// user, nice, system, idle, iowait, irq, softirq, steal in hundredths of a second. What a
// hypervisor stole counts: nobody here had it.
func busy(stat string) (sum time.Duration, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum, nil
}

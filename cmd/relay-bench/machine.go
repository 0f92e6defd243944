package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thisMachine tells where and when it was measured, and of what.
func thisMachine(work string, began time.Time) string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	words := []string{
		fmt.Sprintf("%s, in %d minutes", began.UTC().Format("2 January 2006, 15:04 UTC"), int(time.Since(began).Minutes())+1),
		fmt.Sprintf("%d × %s, %s of memory", runtime.NumCPU(), valueOf("/proc/cpuinfo", "model name"), memory()),
		fmt.Sprintf("Linux %s, queues on %s", unix.ByteSliceToString(u.Release[:]), fileSystem(work)),
		fmt.Sprintf("relay %s by %s", revision(), runtime.Version()),
	}
	if v := packageVersions(postfixRoot.Path("postfix")); v != "" {
		words = append(words, v)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		words = append(words, "load average at the end "+strings.Fields(string(load))[0])
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"smtprelay/cmd/sandbox"
)

// outside prepares what needs the network and the compiler, and goes on in namespaces.
func outside(ctx context.Context, c choices) (code int, err error) {
	dir := c.dir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return 0, err
		}
		dir = filepath.Join(cache, postfixRoot.Cache)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	if err := onDisk(dir); err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return 0, err
	}
	path := filepath.Join(work, "relay")
	if c.relay != "" {
		err = sandbox.Run("cp", c.relay, path)
	} else {
		err = build(ctx, path, "")
		if said := build(ctx, path+"-openssl", "openssl"); said != nil {
			fmt.Fprintf(os.Stderr, "relay-bench: no figures of relay with OpenSSL, which want gcc, pkg-config and libssl-dev: %v\n", said)
		}
	}
	if err != nil {
		return 0, err
	}
	if c.only != "relay" {
		if err := postfixRoot.Make(ctx); err != nil {
			return 0, err
		}
	}
	return sandbox.Enter(workEnv+"="+work, filepath.Base(work))
}

// build compiles relay as `make` does with these TAGS, with its symbols for the profiles.
func build(ctx context.Context, path, tags string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", tags, "-o", path, "smtprelay/cmd/relay")
	cgo := "CGO_ENABLED=0"
	if tags != "" {
		cgo = "CGO_ENABLED=1"
	}
	c.Env = append(os.Environ(), cgo)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build relay: %w\n%s", err, out)
	}
	return nil
}

// onDisk refuses a directory in memory: there durability costs nothing.
func onDisk(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is in memory: durability would cost nothing there; name a directory on a disk with -dir", dir)
	}
	return nil
}

// inside makes the lab and holds the tournament.
func inside(ctx context.Context, c choices, work string, out io.Writer) (err error) {
	debug.SetGCPercent(400) // what we take of the machine, the systems under test do not have
	var o others
	err = sandbox.InTurn(sandbox.Settle, func() error { return mountCounters(work) }, wireUp, openFiles, func() (err error) {
		o, err = newOthers(work, filepath.Base(work))
		return err
	})
	if err != nil {
		return fmt.Errorf("settle in: %w", err)
	}
	l, err := newLab(&lab{
		net: bench, smtp: netip.MustParseAddrPort("0.0.0.0:25"), source: bench(ours, 25),
		clients: netip.PrefixFrom(bench(ours, 0), 24), submission: netip.AddrPortFrom(bench(ours, 26), 2525),
	}, netip.AddrPortFrom(bench(ours, 53), 53))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	b := &tournament{choices: c, work: work, group: filepath.Base(work), lab: l, log: os.Stderr}
	relay := filepath.Join(work, "relay")
	systems := []system{&postfixSystem{relay: relay}, &relaySystem{path: relay}}
	if _, err := os.Stat(relay + "-openssl"); err == nil {
		systems = append(systems, &relaySystem{path: relay + "-openssl", label: opensslName})
	}
	for _, s := range systems {
		if strings.HasPrefix(s.name(), c.only) {
			b.systems = append(b.systems, s)
		}
	}
	err = b.hold(ctx)
	text := b.report(thisMachine(work, o))
	fmt.Fprint(out, text)
	if err != nil && !errors.Is(err, errFailed) {
		return err
	}
	if !c.whole() {
		fmt.Fprintf(os.Stderr, "relay-bench: %s is left as it is: only part of it was measured\n", c.page)
		return err
	}
	return errors.Join(err, writePage(c.page, text))
}

// openFiles lets us and what we start have as many as we want.
func openFiles() error {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	r.Cur = r.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &r)
}

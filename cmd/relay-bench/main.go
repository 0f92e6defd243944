// Command relay-bench measures how fast relay is, beside Postfix, at equal durability, in
// one run on one machine: `make bench`. It is a load generator, a sink that is every
// exchanger of a small internet, and what counts what the systems under test use.
//
// # What it makes, and takes away again
//
// It starts itself anew in namespaces of its own (package sandbox); nothing in there leads
// out. Postfix is Debian's package, in a private root. Each system has its queue in a
// directory of its own on the same file system, which must be on a disk, and its processes
// in a control group of their own, which counts the time of all of them; the kernel's trace
// points count their fsync and fdatasync. The systems take turns, each run begins with an
// empty queue, and no figure is given of a run in which a message was lost, doubled or
// changed.
//
//	relay-bench                    all of it; writes docs/benchmarks.md
//	relay-bench -workloads W1,W2 -scale 0.1 -only relay -profile DIR
//	relay-bench sink ADDR          a sink by itself; -journal FILE makes it durable
//	relay-bench send ADDR          the generator by itself
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"smtprelay/cmd/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "relay-bench: error: %v\n", err)
		os.Exit(max(code, 1))
	}
	os.Exit(code)
}

// workEnv names the directory of this run; that it is set says that we are in the
// namespaces.
const workEnv = "RELAY_BENCH_WORK"

// choices are what the command line says.
type choices struct {
	workloads, only, dir, page, profile, relay string
	scale                                      float64
	rounds                                     int
}

// whole tells whether all of it is measured.
func (c choices) whole() bool { return c.workloads == "" && c.only == "" && c.profile == "" }

func run(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) > 0 {
		switch args[0] {
		case "sink":
			return 0, sinkCommand(ctx, args[1:], out)
		case "send":
			return 0, sendCommand(ctx, args[1:], out)
		}
	}
	c, err := parse(args)
	if err != nil {
		return 64, err
	}
	if work := os.Getenv(workEnv); work != "" {
		return 0, inside(ctx, c, work, out)
	}
	return outside(ctx, c)
}

func parse(args []string) (c choices, err error) {
	f := flag.NewFlagSet("relay-bench", flag.ContinueOnError)
	f.StringVar(&c.workloads, "workloads", "", "names of workloads, with commas; left out: all")
	f.StringVar(&c.only, "only", "", "measure one system only: relay or Postfix")
	f.StringVar(&c.dir, "dir", "", "where queues lie, on a disk; left out: the user's cache directory")
	f.StringVar(&c.page, "page", "docs/benchmarks.md", "file that the measured part is written to when all of it was measured")
	f.StringVar(&c.profile, "profile", "", "directory for processor profiles of relay, one a second; go tool pprof takes several")
	f.StringVar(&c.relay, "relay", "", "relay's program; left out: it is built")
	f.Float64Var(&c.scale, "scale", 1, "part of the messages to send")
	f.IntVar(&c.rounds, "rounds", 2, "how often each system has its turn on each workload")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("no command %q: expected sink, send, or flags alone", f.Arg(0))
	}
	if c.only != "" && c.only != "relay" && c.only != "Postfix" {
		return c, fmt.Errorf("-only %q: expected relay or Postfix", c.only)
	}
	if c.scale <= 0 || c.scale > 1 || c.rounds < 1 {
		return c, fmt.Errorf("-scale %v -rounds %d: expected a scale above 0, up to 1, and at least one round", c.scale, c.rounds)
	}
	_, err = chosen(c)
	return c, err
}

// chosen workloads, scaled.
func chosen(c choices) (ws []workload, err error) {
	names := strings.Split(c.workloads, ",")
	for _, w := range workloads {
		if i := slices.Index(names, w.name); i >= 0 || c.workloads == "" {
			ws = append(ws, w.scaled(c.scale))
			if i >= 0 {
				names = slices.Delete(names, i, i+1)
			}
		}
	}
	if c.workloads != "" && len(names) > 0 {
		return nil, fmt.Errorf("no workload %q", strings.Join(names, ","))
	}
	return ws, nil
}

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
		err = build(ctx, path)
	}
	if err != nil {
		return 0, err
	}
	if c.only != "relay" {
		if err := postfixRoot.Make(); err != nil {
			return 0, err
		}
	}
	return sandbox.Enter(workEnv+"="+work, filepath.Base(work))
}

// build compiles relay as `make` does, with its symbols for the profiles.
func build(ctx context.Context, path string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "smtprelay/cmd/relay")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
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
	for _, s := range []system{&postfixSystem{relay: relay}, &relaySystem{path: relay}} {
		if c.only == "" || c.only == s.name() {
			b.systems = append(b.systems, s)
		}
	}
	err = b.hold(ctx)
	text := b.report(thisMachine(work, o))
	fmt.Fprint(out, text)
	if err != nil {
		return err
	}
	if !c.whole() {
		fmt.Fprintf(os.Stderr, "relay-bench: %s is left as it is: only part of it was measured\n", c.page)
		return nil
	}
	return writePage(c.page, text)
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

func sinkCommand(ctx context.Context, args []string, out io.Writer) (err error) {
	f := flag.NewFlagSet("relay-bench sink", flag.ContinueOnError)
	path := f.String("journal", "", "file that every message is on disk in before its 250")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("usage: relay-bench sink [-journal FILE] ADDR")
	}
	take := func([]byte) error { return nil }
	if *path != "" {
		j, err := newJournal(*path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, j.close()) }()
		take = j.keep
	}
	s, err := newSink(f.Arg(0))
	if err != nil {
		return err
	}
	s.taking(take)
	fmt.Fprintf(out, "taking mail at %s\n", s.ln.Addr())
	<-ctx.Done()
	return s.close()
}

func sendCommand(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("relay-bench send", flag.ContinueOnError)
	w := workload{}
	f.IntVar(&w.clients, "clients", 20, "at once")
	f.IntVar(&w.messages, "messages", 10000, "in all")
	f.IntVar(&w.size, "size", small, "octets of each")
	f.BoolVar(&w.kept, "keep", false, "keep connections")
	rcpt := f.String("to", workload{}.rcpt(0), "recipient")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("usage: relay-bench send [flags] ADDR")
	}
	book := newLedger(w.messages, func(int) bool { return false })
	err := load{to: f.Arg(0), clients: w.clients, kept: w.kept, mail: newMail(w.size), rcpt: func(int) string { return *rcpt }, book: book}.run(ctx)
	if err != nil {
		return err
	}
	r := ratings(book)
	fmt.Fprintf(out, "%d messages, %.0f a second; the 250 after %v, 99 of 100 within %v\n", w.messages, r.Accept, r.P50, r.P99)
	return nil
}

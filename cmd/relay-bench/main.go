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
// empty queue, and no figure is given of a run in which a message was doubled or changed;
// what does not arrive in time is counted.
//
//	relay-bench                    all of it; writes docs/benchmarks.md
//	relay-bench -workloads W1,W2 -scale 0.1 -only relay -profile DIR
//	relay-bench sink ADDR          a sink by itself; -journal FILE makes it durable
//	relay-bench send ADDR          the generator by itself
//	relay-bench fill DIR NUMBER    a queue of so many deferred messages
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
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
	within                                     time.Duration
}

// whole tells whether all of it is measured.
func (c choices) whole() bool {
	return c.workloads == "" && c.only == "" && c.profile == "" && c.scale == 1 && c.rounds == 0
}

func run(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) > 0 {
		switch args[0] {
		case "sink":
			return 0, sinkCommand(ctx, args[1:], out)
		case "send":
			return 0, sendCommand(ctx, args[1:], out)
		case "fill":
			return 0, fillCommand(ctx, args[1:])
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
	f.IntVar(&c.rounds, "rounds", 0, "how often each system has its turn on each workload; left out: 1 to 3 times, as the workload has it")
	f.DurationVar(&c.within, "within", 40*time.Minute, "after this, no second or third round is begun")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("no command %q: expected sink, send, fill, or flags alone", f.Arg(0))
	}
	if c.only != "" && c.only != "relay" && c.only != "Postfix" {
		return c, fmt.Errorf("-only %q: expected relay or Postfix", c.only)
	}
	if c.scale <= 0 || c.scale > 1 || c.rounds < 0 {
		return c, fmt.Errorf("-scale %v -rounds %d: expected a scale above 0, up to 1, and no negative number of rounds", c.scale, c.rounds)
	}
	_, err = chosen(c)
	return c, err
}

// chosen workloads, scaled.
func chosen(c choices) (ws []workload, err error) {
	names := strings.Split(c.workloads, ",")
	for _, w := range workloads {
		if i := slices.Index(names, w.name); i >= 0 || c.workloads == "" {
			w = w.scaled(c.scale)
			if c.rounds > 0 {
				w.rounds = c.rounds
			}
			ws = append(ws, w)
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

// Command demo is the newcomer's tour: in one minute, on loopback and without
// rights of any kind, it shows what relay is for.
//
// It starts a small internet (a DNS server with zones, the exchanger of a
// receiver, the smart host of a provider), builds the real relay and runs it
// on that as a child process with a real configuration. Then it takes the PTR
// record away and gives it back. It exits 0 only if every step was seen to
// happen, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader who has seen enough: we still clean up
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "demo: error: %v\n", err)
		os.Exit(1)
	}
}

// limit is how long the tour may take once relay is built.
const limit = 60 * time.Second

// run builds relay, makes the world, and walks through the steps.
func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "relay-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	t := &tour{out: out}
	t.say("This shows relay at work on a small internet of its own, on loopback.\nBuilding it first (the first time takes a minute or two) ...")
	binary, err := build(ctx, dir)
	if err != nil {
		return err
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	w, err := newWorld(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	t.world, t.relay = w, &program{path: binary, config: w.config}
	defer func() { err = errors.Join(err, t.relay.stop()) }()

	for i, s := range steps {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, s.title)
		if err := s.do(ctx, t); err != nil {
			return fmt.Errorf("step %d (%s): %w\n%s", i+1, s.title, err, t.relay.tail())
		}
	}
	t.say("\nAll of it was seen to happen, in %d seconds. Nothing is left behind.\nOn a real server the same takes a relay.toml and a handful of records: see README.md.", int(time.Since(started).Seconds())+1)
	return nil
}

// tour is what the steps share.
type tour struct {
	out   io.Writer
	world *world
	relay *program
}

func (t *tour) say(format string, args ...any) {
	fmt.Fprintf(t.out, format+"\n", args...)
}

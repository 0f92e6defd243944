package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// tournament has the systems take turns.
type tournament struct {
	choices
	work    string // directory of the run
	group   string // control group of the run
	lab     *lab
	systems []system
	log     io.Writer
	results []result

	profiles int // written
}

// result is what one contestant did on one workload, a run for each round.
type result struct {
	workload workload
	name     string
	runs     []figures
}

// The contestants that are no systems, and relay beside its own backlog.
const (
	ceilingName = "generator straight to the sink"
	durableName = "the same, durable"
	emptyName   = "relay, nothing waiting"
	opensslName = "relay, built with OpenSSL"
)

// contestant takes part on a workload.
type contestant struct {
	name string
	run  func(ctx context.Context) (figures, error)
}

func (b *tournament) contestants(w workload) (all []contestant) {
	add := func(name string, run func(ctx context.Context) (figures, error)) {
		all = append(all, contestant{name, run})
	}
	if w.ceiling() {
		add(ceilingName, func(ctx context.Context) (figures, error) { return b.straight(ctx, w, false) })
		add(durableName, func(ctx context.Context) (figures, error) { return b.straight(ctx, w, true) })
	}
	for _, s := range b.systems {
		if !w.takesPart(s.name()) {
			continue
		}
		add(s.name(), func(ctx context.Context) (figures, error) { return b.measured(ctx, s, w) })
		if w.backlog > 0 {
			empty := w
			empty.backlog = 0
			add(emptyName, func(ctx context.Context) (figures, error) { return b.measured(ctx, s, empty) })
		}
	}
	return all
}

// hold it: round by round all workloads, the order of the contestants turned with each
// round. The first round is always held whole; what time is left is for others.
func (b *tournament) hold(ctx context.Context) error {
	ws, err := chosen(b.choices)
	if err != nil {
		return err
	}
	at := map[string]int{} // workload and name -> place in the results
	most := 0
	for _, w := range ws {
		most = max(most, w.rounds)
		for _, c := range b.contestants(w) {
			at[w.name+c.name] = len(b.results)
			b.results = append(b.results, result{workload: w, name: c.name})
		}
	}
	failed, began := 0, time.Now()
	for round := range most {
		for _, w := range ws {
			if round >= w.rounds {
				continue
			}
			if round > 0 && time.Since(began) > b.within {
				fmt.Fprintf(b.log, "%v are over: round %d of %s is left out\n", b.within, round+1, w.name)
				continue
			}
			turn := b.contestants(w)
			if round%2 == 1 {
				slices.Reverse(turn)
			}
			for _, c := range turn {
				began := time.Now()
				f, err := c.run(ctx)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil { // the others go on
					fmt.Fprintf(b.log, "%s round %d, %s: %v\n", w.name, round+1, c.name, err)
					f.Fault = "the run failed"
					if errors.Is(err, errUnsound) {
						f.Fault = errUnsound.Error()
					}
					failed++
				}
				r := &b.results[at[w.name+c.name]]
				r.runs = append(r.runs, f)
				fmt.Fprintf(b.log, "%s round %d, %s: %s (%.0f s)\n", w.name, round+1, c.name, f.brief(), time.Since(began).Seconds())
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d; what they said stands above", errFailed, failed)
	}
	return nil
}

// errFailed: some runs have no figures; the report says so where they are missing.
var errFailed = errors.New("runs failed")

// brief is a run in one line.
func (f figures) brief() string {
	if f.Fault != "" {
		return f.Fault
	}
	text := fmt.Sprintf("accepts %.0f/s, end to end %.0f/s, 250 after %v (p99 %v), sink after %v (p99 %v), %v a message, %.2f syncs, %d MiB",
		f.Accept, f.Through, rounded(f.P50), rounded(f.P99), rounded(f.Sink50), rounded(f.Sink99), f.CPU.Round(time.Microsecond), f.Syncs, f.Memory>>20)
	if f.Missing > 0 {
		text += ", " + f.part()
	}
	if f.Waiting > 0 {
		text += fmt.Sprintf(", while %d waited", f.Waiting)
	}
	if b := f.Backlog; b != nil {
		text += fmt.Sprintf("; at rest %d MiB; ready after %v, first delivery after %v; list %v, %d lines in %v (%d MiB), show %v, a domain %v",
			f.Rest>>20, rounded(b.Ready), rounded(b.First), rounded(b.ListFirst), b.Listed, rounded(b.List), b.ListMemory>>20, rounded(b.Show), rounded(b.Domain))
	}
	return text
}

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// part of the messages that arrived in time.
func (f figures) part() string {
	return fmt.Sprintf("%d of %d within %v", f.Sent-f.Missing, f.Sent, runLimit)
}

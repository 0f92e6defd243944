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
}

// result is what one contestant did on one workload, a run for each round.
type result struct {
	workload workload
	name     string
	runs     []figures
}

// The contestants that are no systems.
const (
	ceilingName = "generator straight to the sink"
	durableName = "the same, durable"
)

// contestant takes part on a workload.
type contestant struct {
	name string
	run  func(ctx context.Context, w workload) (figures, error)
}

func (b *tournament) contestants(w workload) (all []contestant) {
	if w.ceiling() {
		all = append(all,
			contestant{ceilingName, func(ctx context.Context, w workload) (figures, error) { return b.straight(ctx, w, false) }},
			contestant{durableName, func(ctx context.Context, w workload) (figures, error) { return b.straight(ctx, w, true) }})
	}
	for _, s := range b.systems {
		all = append(all, contestant{s.name(), func(ctx context.Context, w workload) (figures, error) { return b.measured(ctx, s, w) }})
	}
	return all
}

// hold it: workload by workload, round by round, the order turned with each round.
func (b *tournament) hold(ctx context.Context) error {
	ws, err := chosen(b.choices)
	if err != nil {
		return err
	}
	failed := 0
	for _, w := range ws {
		all := b.contestants(w)
		runs := map[string][]figures{}
		for round := range b.rounds {
			turn := slices.Clone(all)
			if round%2 == 1 {
				slices.Reverse(turn)
			}
			for _, c := range turn {
				began := time.Now()
				f, err := c.run(ctx, w)
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
				runs[c.name] = append(runs[c.name], f)
				fmt.Fprintf(b.log, "%s round %d, %s: %s (%.0f s)\n", w.name, round+1, c.name, f.brief(), time.Since(began).Seconds())
			}
		}
		for _, c := range all {
			b.results = append(b.results, result{w, c.name, runs[c.name]})
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d runs failed; what they said stands above", failed)
	}
	return nil
}

// brief is a run in one line.
func (f figures) brief() string {
	if why := f.unfinished(); why != "" {
		return why
	}
	return fmt.Sprintf("accepts %.0f/s, end to end %.0f/s, 250 after %v (p99 %v), %v a message, %.2f syncs, %d MiB",
		f.Accept, f.Through, f.P50.Round(10*time.Microsecond), f.P99.Round(10*time.Microsecond), f.CPU.Round(time.Microsecond), f.Syncs, f.Memory>>20)
}

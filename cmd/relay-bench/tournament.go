package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// watch takes profiles of relay, if they are wanted, until stop is called.
func (b *tournament) watch(s system, w workload) (stop func() error) {
	r, ok := s.(*relaySystem)
	if !ok || b.profile == "" {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			err = r.profile(filepath.Join(b.profile, fmt.Sprintf("%s-%03d.pprof", w.name, i)))
		}
		done <- err
	}()
	return func() error { cancel(); return <-done }
}

// profile takes one of a second.
func (r *relaySystem) profile(path string) error {
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket)
		},
	}}
	resp, err := c.Get("http://relay/debug/pprof/profile?seconds=1")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("profile: %s", resp.Status), err)
	}
	return os.WriteFile(path, text, 0o644)
}

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// target is what relay is to reach, as a ratio within one run.
type target struct {
	words  string
	wanted float64
	most   bool // at most, not at least
	ratio  func(b *tournament) []float64
}

var targets = func() (all []target) {
	through := func(f figures) float64 { return f.Through }
	cpu := func(f figures) float64 { return float64(f.CPU) }
	add := func(words string, wanted float64, most bool, ratio func(b *tournament) []float64) {
		all = append(all, target{words, wanted, most, ratio})
	}
	beside := func(w, other string, pick func(figures) float64) func(b *tournament) []float64 {
		return func(b *tournament) []float64 { return ratios(b.runs(w, "relay"), b.runs(w, other), pick) }
	}
	for _, t := range []struct {
		workload string
		wanted   float64
	}{{"W1", 6}, {"W2", 6}, {"W3", 3}, {"W5", 6}, {"W8", 10}, {"D1", 3}, {"D2", 3}} {
		add("end to end on "+t.workload+", of Postfix", t.wanted, false, beside(t.workload, "Postfix", through))
	}
	for _, w := range []string{"W1", "W2", "W5", "W8"} {
		add("processor time a message on "+w+", of Postfix", 0.1, true, beside(w, "Postfix", cpu))
	}
	add("the 250 on W4 (p50), of Postfix", 1, true, beside("W4", "Postfix", func(f figures) float64 { return float64(f.P50) }))
	add("the good destinations on W6, of their rate on W5", 0.8, false, func(b *tournament) []float64 {
		// On W5 their part of the mail arrives at their part of the rate.
		return ratios(b.runs("W6", "relay"), b.runs("W5", "relay"), func(f figures) float64 { return f.Through / float64(f.Sent) })
	})
	for _, w := range []string{"W1", "W2"} {
		add("end to end on "+w+", of the durable ceiling", 0.6, false, beside(w, durableName, through))
	}
	return all
}()

// runs of a contestant on a workload; nil: it was not measured.
func (b *tournament) runs(workload, name string) []figures {
	for _, r := range b.results {
		if r.workload.name == workload && r.name == name {
			return r.runs
		}
	}
	return nil
}

// ratios of a figure, round by round; rounds that one of them did not finish have none.
func ratios(of, to []figures, pick func(figures) float64) (all []float64) {
	for i := range min(len(of), len(to)) {
		if of[i].done() && to[i].done() && pick(to[i]) != 0 {
			all = append(all, pick(of[i])/pick(to[i]))
		}
	}
	return all
}

// report of all that was measured, in Markdown.
func (b *tournament) report(machine string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s Rounds: %d.\n\n### Targets\n\n| ratio, in one run | wanted | measured (min–max) | |\n|---|---|---|---|\n", machine, b.rounds)
	for _, t := range targets {
		all := t.ratio(b)
		if len(all) == 0 {
			continue
		}
		s, sign := spreadOf(all), "≥"
		met := s.Median >= t.wanted
		if t.most {
			met, sign = s.Median <= t.wanted, "≤"
		}
		word := "**not met**"
		if met {
			word = "met"
		}
		fmt.Fprintf(&out, "| %s | %s %g | %.2f (%.2f–%.2f) | %s |\n", t.words, sign, t.wanted, s.Median, s.Min, s.Max, word)
	}
	last := ""
	for _, r := range b.results {
		if r.workload.name != last {
			last = r.workload.name
			fmt.Fprintf(&out, "\n### %s\n\n", r.workload.words())
			out.WriteString("| | accepts a second | end to end a second (min–max) | of Postfix | of the durable ceiling | processor ms a message | memory MiB | 250 after, p50 / p99 ms | syncs a message |\n|---|---|---|---|---|---|---|---|---|\n")
		}
		out.WriteString(b.row(r))
	}
	out.WriteString("\n### Settings\n\n")
	for _, s := range b.systems {
		fmt.Fprintf(&out, "%s:\n\n%s\n", s.name(), fenced(s.settings(b.lab, "/var/lib/relay-bench")))
	}
	return out.String()
}

// fenced is a text as Markdown shows it unchanged.
func fenced(text string) string { return "```\n" + strings.TrimSpace(text) + "\n```\n" }

// row of a contestant: medians of its rounds.
func (b *tournament) row(r result) string {
	for _, f := range r.runs {
		if why := f.unfinished(); why != "" {
			return fmt.Sprintf("| %s | | %s | | | | | | |\n", r.name, why)
		}
	}
	of := func(pick func(figures) float64) spread {
		var all []float64
		for _, f := range r.runs {
			all = append(all, pick(f))
		}
		return spreadOf(all)
	}
	ratio := func(to string) string {
		all := ratios(r.runs, b.runs(r.workload.name, to), func(f figures) float64 { return f.Through })
		if len(all) == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f", spreadOf(all).Median)
	}
	through := of(func(f figures) float64 { return f.Through })
	cpu, memory, syncs := "", "", ""
	if s := of(func(f figures) float64 { return float64(f.CPU) }); s.Median > 0 {
		cpu = fmt.Sprintf("%.2f", s.Median/float64(time.Millisecond))
	}
	if s := of(func(f figures) float64 { return float64(f.Memory) }); s.Median > 0 {
		memory = fmt.Sprintf("%.0f", s.Median/(1<<20))
	}
	if s := of(func(f figures) float64 { return f.Syncs }); s.Min >= 0 {
		syncs = fmt.Sprintf("%.2f", s.Median)
	}
	ms := func(pick func(figures) time.Duration) float64 {
		return of(func(f figures) float64 { return float64(pick(f)) }).Median / float64(time.Millisecond)
	}
	return fmt.Sprintf("| %s | %.0f | %.0f (%.0f–%.0f) | %s | %s | %s | %s | %.2f / %.2f | %s |\n", r.name,
		of(func(f figures) float64 { return f.Accept }).Median, through.Median, through.Min, through.Max,
		ratio("Postfix"), ratio(durableName), cpu, memory,
		ms(func(f figures) time.Duration { return f.P50 }), ms(func(f figures) time.Duration { return f.P99 }), syncs)
}

// unfinished says why a run has no figures; "" if it has.
func (f figures) unfinished() string {
	switch {
	case f.Fault != "":
		return f.Fault
	case f.Missing > 0:
		return fmt.Sprintf("not finished in %v: %d of %d missing", runLimit, f.Missing, f.Sent)
	}
	return ""
}

// Between these lines of the page stands what the program writes.
const (
	pageBegin = "<!-- measured: written by make bench -->"
	pageEnd   = "<!-- end of what was measured -->"
)

// writePage puts the report into the page and leaves all else there as it is.
func writePage(path, report string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), pageBegin)
	_, after, ended := strings.Cut(rest, pageEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no lines %q and %q, between which the report belongs", path, pageBegin, pageEnd)
	}
	return os.WriteFile(path, []byte(before+pageBegin+"\n\n"+report+"\n"+pageEnd+after), 0o644)
}

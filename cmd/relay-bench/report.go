package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"
)

// target is what relay is to reach: a ratio within one run, or an amount.
type target struct {
	of     string // workload
	name   string // of the contestant that is to reach it; "": relay
	words  string
	wanted float64
	most   bool   // at most, not at least
	unit   string // "" of a ratio
	ratio  func(b *tournament, name string) []float64
	self   bool // it has a meaning for Postfix by itself
}

var targets = func() (all []target) {
	through := func(f figures) float64 { return f.Through }
	of := func(w, other string, pick func(figures) float64) func(*tournament, string) []float64 {
		return func(b *tournament, name string) []float64 { return ratios(b.runs(w, name), b.runs(w, other), pick) }
	}
	own := func(w, other string, pick func(figures) float64) func(*tournament, string) []float64 {
		return func(b *tournament, name string) []float64 { return ratios(b.runs(w, name), b.runs(other, name), pick) }
	}
	for _, t := range []struct {
		workload string
		wanted   float64
	}{{"W1", 6}, {"W2", 6}, {"W5", 6}, {"W8", 10}, {"W3", 3}, {"D1", 3}, {"D2", 3}} {
		all = append(all, target{of: t.workload, words: "end to end, of Postfix's", wanted: t.wanted, ratio: of(t.workload, "Postfix", through)})
	}
	for _, w := range []string{"D1", "D2"} {
		all = append(all, target{of: w, name: opensslName, words: "likewise, " + opensslName, wanted: 3, ratio: of(w, "Postfix", through)})
	}
	for _, w := range []string{"W1", "W2", "W5", "W8"} {
		all = append(all, target{of: w, words: "processor time a message, of Postfix's", wanted: 0.1, most: true,
			ratio: of(w, "Postfix", func(f figures) float64 { return float64(f.CPU) })})
	}
	all = append(all, target{of: "W4", words: "half of the 250s within, of Postfix's time", wanted: 1, most: true,
		ratio: of("W4", "Postfix", func(f figures) float64 { return float64(f.P50) })})
	for _, w := range []string{"W1", "W2"} {
		all = append(all, target{of: w, words: "end to end, of the durable ceiling", wanted: 0.6, self: true, ratio: of(w, durableName, through)})
	}
	amount := func(pick func(figures) float64) func(*tournament, string) []float64 {
		return func(b *tournament, name string) (all []float64) {
			for _, f := range b.runs("M", name) {
				if f.counts() && f.Backlog != nil {
					all = append(all, pick(f))
				}
			}
			return all
		}
	}
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	return append(all,
		target{of: "W6", words: "end to end to the good destinations, of that on W5", wanted: 0.8, self: true,
			// On W5 their part of the mail arrives at their part of the rate.
			ratio: own("W6", "W5", func(f figures) float64 { return f.Through / float64(f.Sent) })},
		target{of: "W7", words: "end to end, of that on W2", wanted: 0.9, self: true, ratio: own("W7", "W2", through)},
		target{of: "W7", words: "99 of 100 at the sink within, of the time on W2", wanted: 2, most: true, self: true,
			ratio: own("W7", "W2", func(f figures) float64 { return float64(f.Sink99) })},
		target{of: "M", words: "accepts, of what it does with nothing waiting", wanted: 0.9,
			ratio: of("M", emptyName, func(f figures) float64 { return f.Accept })},
		target{of: "M", words: "end to end, likewise", wanted: 0.9, ratio: of("M", emptyName, through)},
		target{of: "M", name: emptyName, words: "memory at rest, nothing waiting", wanted: 40, most: true, unit: " MiB", ratio: func(b *tournament, name string) (all []float64) {
			for _, f := range b.runs("M", name) {
				if f.counts() {
					all = append(all, mib(f.Rest))
				}
			}
			return all
		}},
		target{of: "M", words: "memory at the most", wanted: 256, most: true, unit: " MiB", ratio: amount(func(f figures) float64 { return mib(max(f.Memory, f.Backlog.ListMemory)) })},
		target{of: "M", words: "accepts mail after its start within", wanted: 2, most: true, unit: " s", ratio: amount(func(f figures) float64 { return f.Backlog.Ready.Seconds() })},
		target{of: "M", words: "delivers new mail after its start within", wanted: 5, most: true, unit: " s", ratio: amount(func(f figures) float64 { return f.Backlog.First.Seconds() })},
		target{of: "M", words: "`queue list`, its first line within", wanted: 1, most: true, unit: " s", ratio: amount(func(f figures) float64 { return f.Backlog.ListFirst.Seconds() })},
		target{of: "M", words: "`queue show` within", wanted: 1, most: true, unit: " s", ratio: amount(func(f figures) float64 { return f.Backlog.Show.Seconds() })},
		target{of: "M", words: "`queue list --domain` (one in a thousand) within", wanted: 1, most: true, unit: " s", ratio: amount(func(f figures) float64 { return f.Backlog.Domain.Seconds() })},
	)
}()

// row of a target; "" if it was not measured.
func (t target) row(b *tournament) string {
	name := cmp.Or(t.name, "relay")
	all := t.ratio(b, name)
	if len(all) == 0 {
		return ""
	}
	s, sign := spreadOf(all), "≥"
	met := s.Median >= t.wanted
	if t.most {
		met, sign = s.Median <= t.wanted, "≤"
	}
	for _, f := range b.runs(t.of, name) {
		met = met && f.done()
	}
	word := "**not met**"
	if met {
		word = "met"
	}
	postfix := ""
	if theirs := t.ratio(b, "Postfix"); t.self && len(theirs) > 0 {
		postfix = fmt.Sprintf("%.2f", spreadOf(theirs).Median)
	}
	return fmt.Sprintf("| %s | %s | %s %g%s | %.2f (%.2f–%.2f) | %s | %s |\n", t.of, t.words, sign, t.wanted, t.unit, s.Median, s.Min, s.Max, word, postfix)
}

// runs of a contestant on a workload; nil: it was not measured.
func (b *tournament) runs(workload, name string) []figures {
	for _, r := range b.results {
		if r.workload.name == workload && r.name == name {
			return r.runs
		}
	}
	return nil
}

// ratios of a figure, round by round; rounds of which one of them has none are left out.
func ratios(of, to []figures, pick func(figures) float64) (all []float64) {
	for i := range min(len(of), len(to)) {
		if of[i].counts() && to[i].counts() && pick(of[i]) != 0 && pick(to[i]) != 0 {
			all = append(all, pick(of[i])/pick(to[i]))
		}
	}
	return all
}

// report of all that was measured, in Markdown.
func (b *tournament) report(machine string) string {
	var out strings.Builder
	var ws []workload
	for i, r := range b.results {
		if i == 0 || r.workload.name != b.results[i-1].workload.name {
			r.workload.rounds = len(r.runs)
			ws = append(ws, r.workload)
		}
	}
	fmt.Fprintf(&out, "%s Rounds: %s.\n\n### Targets\n\n| | what | wanted | relay (min–max) | | Postfix, likewise |\n|---|---|---|---|---|---|\n", machine, roundsOf(ws))
	for _, t := range targets {
		out.WriteString(t.row(b))
	}
	for _, w := range ws {
		fmt.Fprintf(&out, "\n### %s\n\n", w.words())
		out.WriteString("| | accepts a second | end to end a second (min–max) | of Postfix | of the durable ceiling | processor ms a message | memory MiB, at rest / most | 250 after, p50 / p99 ms | at the sink after, p50 / p99 ms | syncs a message |\n|---|---|---|---|---|---|---|---|---|---|\n")
		for _, r := range b.results {
			if r.workload.name == w.name {
				out.WriteString(b.row(r))
			}
		}
		for _, r := range b.results {
			if r.workload.name == w.name {
				out.WriteString(r.looks())
			}
		}
	}
	out.WriteString("\n### Settings\n\n")
	for _, s := range b.systems {
		if s.name() == opensslName {
			continue // the same
		}
		fmt.Fprintf(&out, "%s:\n\n%s\n", s.name(), fenced(s.settings(b.lab, "/var/lib/relay-bench")))
	}
	return out.String()
}

// fenced is a text as Markdown shows it unchanged.
func fenced(text string) string { return "```\n" + strings.TrimSpace(text) + "\n```\n" }

// row of a contestant: medians of its rounds.
func (b *tournament) row(r result) string {
	var runs []figures
	remarks := ""
	for _, f := range r.runs {
		switch {
		case f.Fault != "":
			remarks += "; " + f.Fault
		case f.Missing > 0:
			remarks += "; " + f.part()
		}
		if f.Waiting > 0 {
			remarks += fmt.Sprintf("; %d waited", f.Waiting)
		}
		if f.counts() {
			runs = append(runs, f)
		}
	}
	name := strings.TrimSuffix(r.name+" ("+strings.TrimPrefix(remarks, "; ")+")", " ()")
	if len(runs) == 0 {
		return fmt.Sprintf("| %s | | | | | | | | | |\n", name)
	}
	of := func(pick func(figures) float64) spread {
		var all []float64
		for _, f := range runs {
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
		memory = fmt.Sprintf("%.0f / %.0f", of(func(f figures) float64 { return float64(f.Rest) }).Median/(1<<20), s.Median/(1<<20))
	}
	if s := of(func(f figures) float64 { return f.Syncs }); s.Min >= 0 {
		syncs = fmt.Sprintf("%.2f", s.Median)
	}
	ms := func(pick func(figures) time.Duration) float64 {
		return of(func(f figures) float64 { return float64(pick(f)) }).Median / float64(time.Millisecond)
	}
	return fmt.Sprintf("| %s | %.0f | %.0f (%.0f–%.0f) | %s | %s | %s | %s | %.2f / %.2f | %.1f / %.1f | %s |\n", name,
		of(func(f figures) float64 { return f.Accept }).Median, through.Median, through.Min, through.Max,
		ratio("Postfix"), ratio(durableName), cpu, memory,
		ms(func(f figures) time.Duration { return f.P50 }), ms(func(f figures) time.Duration { return f.P99 }),
		ms(func(f figures) time.Duration { return f.Sink50 }), ms(func(f figures) time.Duration { return f.Sink99 }), syncs)
}

// looks are what a list of the whole backlog cost, in words; "" without one.
func (r result) looks() (text string) {
	for _, f := range r.runs {
		if k := f.Backlog; k != nil && f.counts() {
			text += fmt.Sprintf("\n`relay queue list --json` printed %d lines in %.1f s, the first after %.2f s; the daemon had %d MiB at the most meanwhile.\n",
				k.Listed, k.List.Seconds(), k.ListFirst.Seconds(), k.ListMemory>>20)
		}
	}
	return text
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

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	var ms []time.Duration
	for i := range 200 {
		ms = append(ms, time.Duration(i+1))
	}
	if p50, p99, none := percentile(ms, 50), percentile(ms, 99), percentile[int](nil, 50); p50 != 100 || p99 != 198 || none != 0 {
		t.Errorf("percentiles %v, %v, %v", p50, p99, none)
	}
	if s := spreadOf([]float64{4, 1, 3, 2}); s != (spread{2.5, 1, 4}) {
		t.Errorf("spread of four: %+v", s)
	}
	if s := spreadOf([]float64{3, 1, 2}); s != (spread{2, 1, 3}) {
		t.Errorf("spread of three: %+v", s)
	}
	if s := spreadOf(nil); s != (spread{}) {
		t.Errorf("spread of none: %+v", s)
	}
}

func TestBusyProcessors(t *testing.T) {
	got, err := busy("cpu  100 1 20 9999 50 0 3 6 0 0\ncpu0 1 2 3 4 5 6 7 8\n")
	if want := 1300 * time.Millisecond; err != nil || got != want {
		t.Errorf("busy %v, %v, want %v", got, err, want)
	}
	if _, err := busy("intr 5"); err == nil {
		t.Error("no error of a file that is another")
	}
}

func TestCommandLine(t *testing.T) {
	c, err := parse([]string{"-workloads", "W1,W7", "-scale", "0.01"})
	if err != nil {
		t.Fatal(err)
	}
	ws, err := chosen(c)
	if err != nil || len(ws) != 2 || ws[0].messages != 100 || ws[1].waiting != 1000 || c.whole() {
		t.Errorf("%+v, %v", ws, err)
	}
	for _, args := range [][]string{{"-workloads", "W9"}, {"-only", "exim"}, {"-scale", "2"}, {"-rounds", "0"}, {"nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// The report tells ratios within rounds, and gives no figure of a run that lost mail.
func TestReport(t *testing.T) {
	w1, w6 := workloads[0], workloads[5]
	b := &tournament{choices: choices{rounds: 2}, results: []result{
		{w1, durableName, []figures{{Through: 4000, Accept: 4000}, {Through: 3000, Accept: 3000}}},
		{w1, "Postfix", []figures{{Through: 500, CPU: 3 * time.Millisecond}, {Through: 250, CPU: 3 * time.Millisecond}}},
		{w1, "relay", []figures{{Through: 3000, CPU: 200 * time.Microsecond, Memory: 50 << 20}, {Through: 2000, CPU: 400 * time.Microsecond, Memory: 50 << 20, Syncs: 0.5}}},
		{w6, "relay", []figures{{Through: 1000}, {Missing: 7, Sent: 6667}}},
	}}
	text := b.report("A machine.")
	for _, want := range []string{
		"A machine. Rounds: 2.",
		"| end to end on W1, of Postfix | ≥ 6 | 7.00 (6.00–8.00) | met |",
		"| processor time a message on W1, of Postfix | ≤ 0.1 | 0.10 (0.07–0.13) | met |",
		"| end to end on W1, of the durable ceiling | ≥ 0.6 | 0.71 (0.67–0.75) | met |",
		"| relay | 0 | 2500 (2000–3000) | 7.00 | 0.71 | 0.30 | 50 | 0.00 / 0.00 | 0.25 |",
		"| relay | | not finished in 3m0s: 7 of 6667 missing |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no line %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "W8") {
		t.Errorf("the report speaks of what was not measured:\n%s", text)
	}
}

func TestPageKeepsWhatPeopleWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("by hand\n"+pageBegin+"\nold\n"+pageEnd+"\nalso by hand\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePage(path, "new"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "by hand\n" + pageBegin + "\n\nnew\n" + pageEnd + "\nalso by hand\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte("no place\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if writePage(path, "new") == nil {
		t.Error("no error of a page without a place for the report")
	}
}

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
	for _, args := range [][]string{{"-workloads", "W9"}, {"-only", "exim"}, {"-scale", "2"}, {"-rounds", "-1"}, {"nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// The report tells ratios within rounds, marks what did not finish, and gives no figure of
// a run that lost mail.
func TestReport(t *testing.T) {
	w := map[string]workload{}
	for _, x := range workloads {
		w[x.name] = x
	}
	ms, us := time.Millisecond, time.Microsecond
	b := &tournament{results: []result{
		{w["W1"], durableName, []figures{{Sent: 1, Through: 4000, Accept: 4000}, {Sent: 1, Through: 3000, Accept: 3000}}},
		{w["W1"], "Postfix", []figures{{Sent: 1, Through: 500, CPU: 3 * ms}, {Sent: 1, Through: 250, CPU: 3 * ms}}},
		{w["W1"], "relay", []figures{{Sent: 1, Through: 3000, CPU: 200 * us, Memory: 50 << 20, Rest: 20 << 20}, {Sent: 1, Through: 2000, CPU: 400 * us, Memory: 50 << 20, Rest: 20 << 20, Syncs: 0.5}}},
		{w["W2"], "Postfix", []figures{{Fault: errUnsound.Error()}}},
		{w["W2"], "relay", []figures{{Sent: 10, Through: 5000}}},
		{w["W5"], "relay", []figures{{Sent: 10000, Through: 3000}}},
		{w["W6"], "Postfix", []figures{{Sent: 6667, Through: 20, Missing: 4867, Syncs: -1}}},
		{w["W6"], "relay", []figures{{Sent: 6667, Through: 1900, Missing: 7, Syncs: -1}}},
		{w["M"], "relay", []figures{{Sent: 100, Through: 3000, Memory: 200 << 20, Backlog: &backlog{Ready: time.Second, First: 6 * time.Second, Listed: 5}}}},
		{w["M"], emptyName, []figures{{Sent: 100, Through: 3000, Rest: 30 << 20}}},
	}}
	text := b.report("A machine.")
	for _, want := range []string{
		"A machine. Rounds: 2 (W2, W5, W6, M: 1).",
		"| W1 | end to end, of Postfix's | ≥ 6 | 7.00 (6.00–8.00) | met |  |",
		"| W1 | processor time a message, of Postfix's | ≤ 0.1 | 0.10 (0.07–0.13) | met |  |",
		"| W1 | end to end, of the durable ceiling | ≥ 0.6 | 0.71 (0.67–0.75) | met | 0.10 |",
		"| relay | 0 | 2500 (2000–3000) | 7.00 | 0.71 | 0.30 | 20 / 50 | 0.00 / 0.00 | 0.0 / 0.0 | 0.25 |",
		"| Postfix (mail was doubled or changed) | | |",
		"| W6 | end to end to the good destinations, of that on W5 | ≥ 0.8 | 0.95 (0.95–0.95) | **not met** |  |",
		"| Postfix (1800 of 6667 within 1m30s) | 0 | 20 (20–20) |",
		"| relay (6660 of 6667 within 1m30s) | 0 | 1900 (1900–1900) | 95.00 |",
		"| M | memory at rest, nothing waiting | ≤ 40 MiB | 30.00 (30.00–30.00) | met |  |",
		"| M | delivers new mail after its start within | ≤ 5 s | 6.00 (6.00–6.00) | **not met** |  |",
		"`relay queue list --json` printed 5 lines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no line %q:\n%s", want, text)
		}
	}
	for _, not := range []string{"W8", "| W2 | end to end, of Postfix's"} {
		if strings.Contains(text, not) {
			t.Errorf("the report speaks of what was not measured, %q:\n%s", not, text)
		}
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

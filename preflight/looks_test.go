package preflight_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
)

// Cases with a clock are those of relay serve: its gate lives through them in fake
// time, before the DNS server of every other case. What they may say of it:
//
//	@ history pass -7h        a run 7 hours ago saw the world as the baseline has it, and passed
//	@ runtime: fail, SERVFAIL, then pass at +0 +60s
//	                          what the PTR question of the first source is answered with: at the
//	                          start, at the next look, and at looks so long after the first of them
//	@ runtime wan6: ...       of that source
//
// The answers are pass (or "PTR present"), fail (or NXDOMAIN), and what dnstest can do
// besides. Without a time a look comes when the gate's own schedule says so; with one
// it has to be then.

// script is what a case has happen.
type script struct {
	past   time.Duration // of the run before; 0: none
	looks  []lookAt
	before int    // looks that stand before "then"
	source string // whose PTR it is; "": the first one's
}

// lookAt is one look; after is negative where the time is the gate's affair.
type lookAt struct {
	how   string // for dnstest.Server.Behave
	after time.Duration
}

var (
	historyStep = regexp.MustCompile(`^history pass -(\w+)$`)
	runtimeStep = regexp.MustCompile(`^runtime(?: (\w+))?: *(.*)$`)
	lookTimes   = regexp.MustCompile(`^(.*?) at (\+.*)$`)
)

// read takes a step that speaks of the past or of looks.
func (s *script) read(text string) (ours bool, err error) {
	if m := historyStep.FindStringSubmatch(text); m != nil {
		s.past, err = time.ParseDuration(m[1])
		return true, err
	}
	m := runtimeStep.FindStringSubmatch(text)
	if m == nil {
		return false, nil
	}
	s.source = m[1]
	for part := range strings.SplitSeq(m[2], ",") {
		part, then := strings.CutPrefix(strings.TrimSpace(part), "then ")
		if then {
			s.before = len(s.looks)
		}
		times := []string{""}
		if at := lookTimes.FindStringSubmatch(part); at != nil {
			part, times = at[1], strings.Fields(at[2])
		}
		how, ok := map[string]string{"pass": "", "PTR present": "", "fail": "nxdomain"}[part]
		if !ok {
			how = strings.ToLower(part)
		}
		if !slices.Contains(dnstest.Behaviours, how) {
			return true, fmt.Errorf("@ %s: no answer is %q", text, part)
		}
		for _, after := range times {
			look := lookAt{how, -1}
			if after != "" {
				if look.after, err = time.ParseDuration(after); err != nil {
					return true, err
				}
			}
			s.looks = append(s.looks, look)
		}
	}
	return true, nil
}

// clocked is a gate under way.
type clocked struct {
	o      *outcome
	memory preflight.Memory
	gate   *preflight.Gate
	log    bytes.Buffer // read while nothing happens
	stop   func()
	seen   []string // verdicts of the source, a look each
	before int
	late   []error // looks at another time than the case has it
}

// clockedCase plays the script of a world and hands the outcome over.
func clockedCase(t *testing.T, w, baseline *world, check func(o *outcome)) {
	o := &outcome{t: t, world: w}
	o.server, o.out = w.start(t)
	c := &clocked{o: o, memory: preflight.FileMemory(filepath.Join(t.TempDir(), "preflight.json")), stop: func() {}, before: w.script.before}
	o.clock = c
	now := time.Now().Round(0)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(now)) // certificates and the like are of today
		o.t = t
		defer func() { c.stop() }()
		if w.script.past > 0 {
			c.history(baseline)
		}
		if len(w.script.looks) == 0 {
			c.start()
		}
		c.play()
		o.report = c.gate.Report()
		o.findings = findingsOf(o.report)
		check(o)
	})
}

// history is a run of the gate that found the baseline, and ended.
func (c *clocked) history(baseline *world) {
	c.become(baseline)
	c.start()
	if s := c.verdict().Status; s != preflight.Pass {
		c.o.t.Fatalf("the history is one of %s", s)
	}
	c.stop()
	time.Sleep(c.o.world.script.past)
	c.become(c.o.world)
}

// become has the server serve a world.
func (c *clocked) become(w *world) {
	if err := c.o.server.Set(w.texts()...); err != nil {
		c.o.t.Fatal(err)
	}
	for zone := range c.o.world.behave {
		if err := c.o.server.Behave(zone, w.behave[zone]); err != nil {
			c.o.t.Fatal(err)
		}
	}
}

// start the gate with what it remembers.
func (c *clocked) start() {
	c.stop()
	c.log.Reset()
	c.gate = preflight.NewGate(c.o.world.plan, c.o.out, c.memory, slog.New(slog.NewJSONHandler(&c.log, nil)))
	c.gate.Start(c.o.t.Context())
	ctx, cancel := context.WithCancel(c.o.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.gate.Watch(ctx) }()
	c.stop = func() { cancel(); <-done; c.stop = func() {} }
	synctest.Wait()
}

// play the looks.
func (c *clocked) play() {
	s := c.o.world.script
	var from time.Time
	for i, look := range s.looks {
		if err := c.o.server.Behave(reverse(c.source()), look.how); err != nil {
			c.o.t.Fatal(err)
		}
		if i == 0 {
			c.start()
			c.log.Reset()
		} else {
			time.Sleep(time.Until(preflight.NextLook(c.gate)))
			synctest.Wait()
		}
		if look.after == 0 {
			from = time.Now()
		}
		if d := time.Since(from); look.after > 0 && d != look.after {
			c.late = append(c.late, fmt.Errorf("look %d was at +%s, want +%s", i+1, d, look.after))
		}
		c.seen = append(c.seen, string(c.verdict().Status))
	}
}

func (c *clocked) source() preflight.Source {
	sources := c.o.world.plan.Sources
	i := slices.IndexFunc(sources, func(s preflight.Source) bool { return s.Name == cmp.Or(c.o.world.script.source, sources[0].Name) })
	if i < 0 {
		c.o.t.Fatalf("there is no source %s", c.o.world.script.source)
	}
	return sources[i]
}

func (c *clocked) verdict() preflight.Verdict {
	name := c.source().Name
	all := c.gate.Report().Sources
	return all[slices.IndexFunc(all, func(v preflight.Verdict) bool { return v.Name == name })]
}

// findingsOf a report, each once.
func findingsOf(r *preflight.Report) []preflight.Finding {
	fs := slices.Clone(r.HostFindings)
	for _, v := range slices.Concat(r.Sources, r.Senders, r.SmartHosts) {
		for _, f := range v.Findings {
			if !slices.ContainsFunc(fs, func(o preflight.Finding) bool {
				return o.Check == f.Check && o.Source == f.Source && o.Sender == f.Sender && o.SmartHost == f.SmartHost
			}) {
				fs = append(fs, f)
			}
		}
	}
	return fs
}

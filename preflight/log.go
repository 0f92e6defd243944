package preflight

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// journal writes what changed, and nothing twice: a line for each finding that
// changed, one for each verdict that did, one for the run if anything did. Once
// a day it repeats what is open.
type journal struct {
	log *slog.Logger

	mu       sync.Mutex
	findings map[string]told
	verdicts map[string]told
	daily    time.Time // when open findings are repeated next
}

// told is what the log said last of a finding or verdict.
type told struct{ status, detail string }

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, findings: map[string]told{}, verdicts: map[string]told{}}
}

// recall takes what an earlier run of the program believed as told already.
func (j *journal) recall(before *Report, hs []held) {
	if len(hs) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, h := range hs {
		j.newFinding(h)
	}
	for _, v := range slices.Concat(before.Sources, before.Senders, before.SmartHosts) {
		j.newVerdict(before, v)
	}
}

// write what a run changed.
func (j *journal) write(r *Report, hs []held) {
	j.mu.Lock()
	defer j.mu.Unlock()
	repeat := j.daily.IsZero() || !r.At.Before(j.daily)
	first := j.daily.IsZero()
	if repeat {
		j.daily = r.At.Add(24 * time.Hour)
	}
	changed := false
	for _, h := range hs {
		switch {
		case j.newFinding(h):
			j.finding(r, h, level(h))
			changed = true
		case repeat && !first && open(h.Finding):
			j.finding(r, h, slog.LevelInfo)
		}
	}
	for _, v := range slices.Concat(r.Sources, r.Senders, r.SmartHosts) {
		changed = j.verdict(r, v) || changed
	}
	if changed || repeat {
		j.run(r, hs)
	}
}

func (j *journal) newFinding(h held) bool {
	status := string(h.Status)
	if h.Stale && h.seen.Status == Unknown {
		status = "stale" // the others wait for one that is
	}
	now := told{status, h.Found}
	was, known := j.findings[h.key()]
	j.findings[h.key()] = now
	if h.Status == Pass || h.Status == Skip {
		return !known || was.status != now.status // the wording of a pass may vary
	}
	return !known || was.status != now.status || was.detail != now.detail
}

func open(f Finding) bool {
	return f.Severity != Informational && (f.Status == Fail || f.Status == Unknown)
}

func level(h held) slog.Level {
	switch {
	case h.Severity == Informational || h.Status == Skip:
		return slog.LevelDebug
	case h.Status == Fail && h.Severity == Mandatory:
		return slog.LevelError
	case h.Status == Fail || h.Status == Unknown || h.Stale:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (j *journal) finding(r *Report, h held, at slog.Level) {
	result := h.Result
	if h.Stale {
		result = h.seen
		result.Severity = h.Severity
	}
	as := []slog.Attr{slog.String("run", r.Run)}
	as = append(as, r.subject(h.Finding)...)
	as = append(as, slog.String("check", h.Check.ID), slog.String("severity", string(result.Severity)),
		slog.String("result", string(result.Status)), slog.String("found", result.Found))
	if result.Expected != "" {
		as = append(as, slog.String("expected", result.Expected))
	}
	if h.WaitsFor != "" || result.Because != "" {
		as = append(as, slog.String("reason", h.WaitsFor+result.Because))
	}
	if text := result.Remedy.line(); text != "" && result.Status == Fail {
		as = append(as, slog.String("remedy", text))
	}
	if len(h.Evidence) > 0 {
		as = append(as, h.Evidence[len(h.Evidence)-1].attr())
	}
	as = append(as, slog.Bool("stale", h.Stale), slog.Time("since", h.Since))
	j.log.LogAttrs(context.Background(), at, "preflight finding", as...)
}

// subject of a finding, as attributes.
func (r *Report) subject(f Finding) (as []slog.Attr) {
	for i := range r.Plan.Sources {
		if s := &r.Plan.Sources[i]; s.Name == f.Source {
			as = append(as, slog.String("source", s.Name), slog.String("addr", s.shown()), slog.String("ehlo", s.EHLO))
		}
	}
	if f.Sender != "" {
		as = append(as, slog.String("domain", f.Sender))
	}
	if f.SmartHost != "" {
		as = append(as, slog.String("smarthost", f.SmartHost))
	}
	return as
}

func (e Evidence) attr() slog.Attr {
	return slog.Group("dns", slog.String("q", e.Question), slog.String("answer", e.Answer),
		slog.Int64("neg_ttl", int64(e.NegTTL/time.Second)), slog.String("server", e.Server), slog.Int64("ms", e.Took.Milliseconds()))
}

// newVerdict notes a verdict, and tells whether it is new and what it was.
func (j *journal) newVerdict(r *Report, v Verdict) (was told, changed bool) {
	kind, name := r.kind(v)
	now := told{status: string(v.Status), detail: v.Action}
	was = j.verdicts[kind+" "+name]
	j.verdicts[kind+" "+name] = now
	return was, was != now
}

func (j *journal) verdict(r *Report, v Verdict) bool {
	was, changed := j.newVerdict(r, v)
	if !changed {
		return false
	}
	kind, name := r.kind(v)
	at := slog.LevelInfo
	if rank(v.Status) > rank(Degraded) {
		at = slog.LevelWarn
	}
	as := []slog.Attr{slog.String("run", r.Run), slog.String(kind, name), slog.String("verdict", string(v.Status))}
	if was.status != "" {
		as = append(as, slog.String("was", was.status))
	}
	as = append(as, slog.Any("because", v.Because), slog.String("action", v.Action))
	if v.Action == string(ActSmartHost) && len(r.Plan.SmartHosts) > 0 {
		as = append(as, slog.String("smarthost", r.Plan.SmartHosts[0].Name))
	}
	if !r.Next.IsZero() {
		as = append(as, slog.Time("next", r.Next))
	}
	j.log.LogAttrs(context.Background(), at, "preflight verdict", as...)
	return true
}

// kind says what a verdict of this report is about, by the key it is logged under.
func (r *Report) kind(v Verdict) (key, name string) {
	for _, s := range r.Sources {
		if s.Name == v.Name {
			return "source", v.Name
		}
	}
	for _, s := range r.Senders {
		if s.Name == v.Name {
			return "domain", v.Name
		}
	}
	return "smarthost", v.Name
}

func (j *journal) run(r *Report, hs []held) {
	count, stale := map[Status]int{}, false
	for _, h := range hs {
		count[h.Status]++
		stale = stale || h.Stale
	}
	at := slog.LevelInfo
	if r.Overall != Pass {
		at = slog.LevelWarn
	}
	j.log.LogAttrs(context.Background(), at, "preflight run", slog.String("run", r.Run),
		slog.String("overall", string(r.Overall)), slog.String("action", r.Action),
		slog.Int("pass", count[Pass]), slog.Int("fail", count[Fail]), slog.Int("unknown", count[Unknown]), slog.Int("skip", count[Skip]),
		slog.Bool("stale", stale), slog.Int64("ms", r.Took.Milliseconds()), slog.Int("questions", r.Questions))
}

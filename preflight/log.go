package preflight

import (
	"context"
	"hash/fnv"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"
)

// journal writes what changed, and nothing twice: a line for each finding that
// changed, one for each verdict that did, one for the run if anything did. At a
// start and once a day it repeats what is open.
type journal struct {
	log  *slog.Logger
	rest func() []held // all that is open; nil: nothing but what is written

	mu       sync.Mutex
	findings map[uint64]uint64 // by key: both as hashes, for there may be very many
	verdicts map[string]told
	daily    time.Time // when open findings are repeated next
}

// told is what the log said last of a verdict.
type told struct{ status, detail string }

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, findings: map[uint64]uint64{}, verdicts: map[string]told{}}
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
	for kind, v := range before.verdicts() {
		j.newVerdict(kind, v)
	}
}

func (j *journal) recallFindings(hs []held) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, h := range hs {
		j.newFinding(h)
	}
}

// write what a run changed.
func (j *journal) write(r *Report, hs []held) {
	j.mu.Lock()
	defer j.mu.Unlock()
	repeat, changed := !r.At.Before(j.daily), false
	if repeat {
		j.daily = r.At.Add(24 * time.Hour)
	}
	told := map[string]bool{}
	for _, h := range hs {
		h.Finding = h.told()
		switch {
		case j.newFinding(h):
			j.finding(r, h, level(h))
			changed = true
		case repeat && open(h.Finding):
			j.finding(r, h, slog.LevelInfo)
		}
		told[h.key()] = true
	}
	if repeat && j.rest != nil {
		for _, h := range j.rest() {
			if !told[h.key()] {
				j.finding(r, h, slog.LevelInfo)
			}
		}
	}
	for kind, v := range r.verdicts() {
		changed = j.verdict(r, kind, v) || changed
	}
	j.run(r, hs, changed || repeat)
}

func (j *journal) newFinding(h held) bool {
	status := string(h.Status)
	if h.Stale && h.seen.Status == Unknown {
		status = "stale" // the others wait for one that is
	}
	if len(h.ContradictedBy) > 0 {
		status = "contradicted"
	}
	if h.Status == Fail {
		status += " " + gist(h.Found) // the wording of the rest may vary
	}
	key, now := hash(h.key()), hash(status)
	was, known := j.findings[key]
	j.findings[key] = now
	return !known || was != now
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, s)
	return h.Sum64()
}

func open(f Finding) bool {
	return f.Severity != Informational && (f.Status == Fail || f.Status == Unknown || len(f.ContradictedBy) > 0)
}

func level(h held) slog.Level {
	switch {
	case h.Severity == Informational || h.Status == Skip:
		return slog.LevelDebug
	case h.Status == Fail && h.Severity == Mandatory:
		return slog.LevelError
	case h.Status == Fail || h.Status == Unknown || h.Stale || len(h.ContradictedBy) > 0:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (j *journal) finding(r *Report, h held, at slog.Level) {
	result := h.Result
	if h.Stale {
		result = *h.seen
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
		if zone, servers := result.Remedy.owner(); zone != "" {
			as = append(as, slog.String("owner_zone", zone), slog.Any("owner_ns", servers))
		}
	}
	if len(h.ContradictedBy) > 0 {
		as = append(as, slog.Any("contradicted_by", h.ContradictedBy))
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
	as := []any{slog.String("q", e.Question), slog.String("rcode", e.Rcode), slog.String("answer", e.Answer),
		slog.Int64("neg_ttl", int64(e.NegTTL/time.Second)), slog.String("server", e.Server), slog.Int64("ms", e.Took.Milliseconds())}
	if e.Second != "" {
		as = append(as, slog.String("second_opinion", e.Second))
	}
	return slog.Group("dns", as...)
}

// newVerdict notes a verdict, and tells whether it is new and what it was.
func (j *journal) newVerdict(kind string, v Verdict) (was told, changed bool) {
	now := told{status: string(v.Status), detail: v.Action}
	was = j.verdicts[kind+" "+v.Name]
	j.verdicts[kind+" "+v.Name] = now
	return was, was != now
}

func (j *journal) verdict(r *Report, kind string, v Verdict) bool {
	was, changed := j.newVerdict(kind, v)
	if !changed {
		return false
	}
	at := slog.LevelInfo
	if rank(v.Status) > rank(Degraded) {
		at = slog.LevelWarn
	}
	as := []slog.Attr{slog.String("run", r.Run), slog.String(kind, v.Name), slog.String("verdict", string(v.Status))}
	if was.status != "" {
		as = append(as, slog.String("was", was.status))
	}
	as = append(as, slog.Any("because", append([]string{}, v.Because...)), slog.String("action", v.Action))
	if v.Action == string(ActSmartHost) && len(r.Plan.SmartHosts) > 0 {
		as = append(as, slog.String("smarthost", r.Plan.SmartHosts[0].Name))
	}
	if !r.Next.IsZero() {
		as = append(as, slog.Time("next", r.Next))
	}
	j.log.LogAttrs(context.Background(), at, "preflight verdict", as...)
	return true
}

// verdicts of a report, each with the key it is logged under.
func (r *Report) verdicts() iter.Seq2[string, Verdict] {
	return func(yield func(string, Verdict) bool) {
		for i, vs := range [][]Verdict{r.Sources, r.Senders, r.SmartHosts} {
			for _, v := range vs {
				if v.blank {
					continue
				}
				if !yield([]string{"source", "domain", "smarthost"}[i], v) {
					return
				}
			}
		}
	}
}

// run is the summary. Of a run that changed nothing it is only worth a look,
// unless mail is sent in spite of what was found.
func (j *journal) run(r *Report, hs []held, news bool) {
	count, stale := map[Status]int{}, false
	for _, h := range hs {
		count[h.Status]++
		stale = stale || h.Stale
	}
	at := slog.LevelDebug
	switch action := Action(r.Action); {
	case action == ActWarn || action == ActSend || news && r.Overall != Pass:
		at = slog.LevelWarn
	case news:
		at = slog.LevelInfo
	}
	j.log.LogAttrs(context.Background(), at, "preflight run", slog.String("run", r.Run),
		slog.String("overall", string(r.Overall)), slog.String("action", r.Action),
		slog.Int("pass", count[Pass]), slog.Int("fail", count[Fail]), slog.Int("unknown", count[Unknown]), slog.Int("skip", count[Skip]),
		slog.Bool("stale", stale), slog.Int64("ms", r.Took.Milliseconds()), slog.Int("questions", r.Questions))
}

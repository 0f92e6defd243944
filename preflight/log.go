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
// changed, one for each verdict that did, and one for the run. At a start and once a
// day it repeats what is open. Where very many sender domains have the same to say,
// it is said once for all of them.
type journal struct {
	log  *slog.Logger
	rest iter.Seq[held] // all that is open; nil: nothing but what is written

	mu       sync.Mutex
	findings map[uint64]uint64 // that are worth a line, by key: both as hashes, for there may be very many
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

// write what a run changed; whole: it was about the host and the sources, too.
func (j *journal) write(r *Report, hs []held, whole bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	repeat, changed := !r.At.Before(j.daily), false
	told := map[string]bool{}
	var old digest
	for _, h := range hs {
		h.Finding = h.told()
		switch {
		case j.newFinding(h):
			j.finding(r, h, level(h))
			changed = true
		case repeat && open(h.Finding):
			old.add(h)
		}
		told[h.key()] = true
	}
	if repeat {
		j.daily = r.At.Add(24 * time.Hour)
		if j.rest != nil {
			for h := range j.rest {
				if !told[h.key()] {
					old.add(h)
				}
			}
		}
		for _, h := range old.lines() {
			j.finding(r, h, slog.LevelInfo)
		}
	}
	changed = j.changes(r) || changed
	j.run(r, hs, whole, changed || repeat)
}

// changes writes the verdicts that changed, and tells whether there are any.
func (j *journal) changes(r *Report) (any bool) {
	var turns []turned
	for kind, v := range r.verdicts() {
		if was, changed := j.newVerdict(kind, v); changed {
			turns, any = append(turns, turned{kind, v, was.status}), true
		}
	}
	for _, t := range together(turns) {
		j.verdict(r, t)
	}
	return any
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
	if h.Severity == Informational || status == string(Pass) || status == string(Skip) {
		delete(j.findings, key) // as if it had never been told of: most findings are so
		return known
	}
	j.findings[key] = now
	return was != now
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

func (j *journal) verdict(r *Report, t turned) {
	v, at := t.Verdict, slog.LevelInfo
	if rank(v.Status) > rank(Degraded) {
		at = slog.LevelWarn
	}
	as := []slog.Attr{slog.String("run", r.Run), slog.String(t.kind, v.Name), slog.String("verdict", string(v.Status))}
	if t.was != "" {
		as = append(as, slog.String("was", t.was))
	}
	as = append(as, slog.Any("because", append([]string{}, v.Because...)), slog.String("action", v.Action))
	if v.Action == string(ActSmartHost) && len(r.Plan.SmartHosts) > 0 {
		as = append(as, slog.String("smarthost", r.Plan.SmartHosts[0].Name))
	}
	if !r.Next.IsZero() {
		as = append(as, slog.Time("next", r.Next))
	}
	j.log.LogAttrs(context.Background(), at, "preflight verdict", as...)
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

// run is the summary. That of a look at a few sender domains which changed nothing
// is only worth a look: with many of them there is one every other second. A warning
// is a change for the worse, or that mail is sent in spite of what was found.
func (j *journal) run(r *Report, hs []held, whole, news bool) {
	count, stale := map[Status]int{}, false
	for _, h := range hs {
		count[h.Status]++
		stale = stale || h.Stale
	}
	at := slog.LevelDebug
	switch action := Action(r.Action); {
	case !whole && !news:
	case action == ActWarn || action == ActSend || news && r.Overall != Pass:
		at = slog.LevelWarn
	default:
		at = slog.LevelInfo
	}
	j.log.LogAttrs(context.Background(), at, "preflight run", slog.String("run", r.Run),
		slog.String("overall", string(r.Overall)), slog.String("action", r.Action),
		slog.Int("pass", count[Pass]), slog.Int("fail", count[Fail]), slog.Int("unknown", count[Unknown]), slog.Int("skip", count[Skip]),
		slog.Bool("stale", stale), slog.Int64("ms", r.Took.Milliseconds()), slog.Int("questions", r.Questions))
}

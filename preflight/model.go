package preflight

import (
	"slices"
	"strings"
	"time"
)

// The model stands between what one look finds and what is believed. A pass
// that turns into a fail at run time must be seen several times, a temporary
// error is covered by the last good answer for a while, and what turned good
// again waits until receivers have forgotten the bad answer. All of it is a
// function of (history, findings, now).

// History is what is remembered between looks.
type History struct {
	Entries map[string]Entry  `json:"entries"`
	Past    []Past            `json:"past,omitempty"`
	Live    map[string]string `json:"live,omitempty"` // DKIM records looked for, by name: their p=, empty where it is known not to be there

	Observed Observed `json:"observed,omitzero"`
}

// Entry is the memory of one finding. Times that lie in the future, after a
// clock was set back, count as now.
type Entry struct {
	Inputs   string    `json:"inputs"` // what it rests on in the configuration; another value drops the entry
	Result   Result    `json:"result"` // the one believed, evidence left out
	WaitsFor string    `json:"waits_for,omitempty"`
	Since    time.Time `json:"since"`         // its status stands since then
	Good     time.Time `json:"good,omitzero"` // last seen to pass

	Doubt  string        `json:"doubt,omitempty"`  // the failure seen against what is believed
	First  time.Time     `json:"first,omitzero"`   // when it was first seen
	Looks  int           `json:"looks,omitempty"`  // how often
	Silent int           `json:"silent,omitempty"` // temporary errors in a row
	Cached time.Duration `json:"cached,omitempty"` // how long receivers may keep the bad answer
	Settle time.Time     `json:"settle,omitzero"`  // direct delivery resumes
}

// held is a finding as it is believed.
type held struct {
	Finding
	Stale  bool
	Settle time.Time
	seen   *Result // what the look itself said
}

// believed takes every finding as it stands.
func believed(fs []Finding) []held {
	hs := make([]held, len(fs))
	for i, f := range fs {
		hs[i] = held{Finding: f, seen: &fs[i].Result}
	}
	return hs
}

// key of a finding in the history.
func (f Finding) key() string {
	return strings.Join([]string{f.Check.ID, f.Source, f.Sender, f.SmartHost}, "|")
}

// recall turns a history back into what was believed.
func (h History) recall() (hs []held) {
	h = h.unfold()
	for k, e := range h.Entries {
		part := strings.Split(k, "|")
		if c := byID(part[0]); c != nil && len(part) == 4 {
			f := Finding{Check: c, Result: e.Result, Source: part[1], Sender: part[2], SmartHost: part[3], WaitsFor: e.WaitsFor, Since: e.Since, Good: e.Good}
			hs = append(hs, held{Finding: f, Settle: e.Settle, seen: &e.Result})
		}
	}
	return hs
}

// observe believes what may be believed of a look at now. At a start a failure
// is believed at once. The history is not changed; what it knows of findings
// that are no longer made is forgotten.
func observe(h History, p *Plan, fs []Finding, now time.Time, start bool) (History, []held) {
	return observeUnder(nil, h, p, fs, now, start)
}

// observeUnder likewise, where fs may wait for what is believed already.
func observeUnder(base []held, h History, p *Plan, fs []Finding, now time.Time, start bool) (History, []held) {
	h = h.unfold()
	pol := p.Policy.Defaults(len(p.SmartHosts) > 0)
	in := inputs(p)
	next := History{Entries: make(map[string]Entry, len(fs))}
	hs := make([]held, 0, len(fs))
	o := observer{policy: pol, now: now, start: start, causes: make(map[string]held, len(base)+len(fs))}
	for _, b := range base {
		o.causes[b.key()] = b
	}
	for _, f := range fs {
		f.Severity = pol.severity(f)
		e := h.Entries[f.key()]
		if e.Inputs != in.of(f) {
			e = Entry{Inputs: in.of(f)}
		}
		o.look(&e, f)
		e.Result.Evidence = nil
		x := f
		x.Result, x.WaitsFor, x.Since, x.Good = e.Result, e.WaitsFor, e.Since, e.Good
		x.Evidence = f.Evidence
		hd := held{Finding: x, Stale: e.Result.Status == Pass && o.unsure(f), Settle: e.Settle, seen: &f.Result}
		next.Entries[f.key()] = e
		o.causes[f.key()] = hd
		hs = append(hs, hd)
	}
	return next, hs
}

// observer is one call of observe under way.
type observer struct {
	policy Policy
	now    time.Time
	start  bool
	causes map[string]held // by key: findings done, for those that wait for them
}

// look updates the entry of one finding.
func (o *observer) look(e *Entry, f Finding) {
	e.Good, e.First, e.Since = earlier(e.Good, o.now), earlier(e.First, o.now), earlier(e.Since, o.now)
	e.Settle = earlier(e.Settle, o.now.Add(maxSettle))
	if !e.Settle.After(o.now) {
		e.Settle = time.Time{}
	}
	if f.Status != Unknown {
		e.Silent = 0
	}
	switch f.Status {
	case Pass:
		o.pass(e, f)
	case Fail:
		o.fail(e, f)
	case Unknown:
		o.unknown(e, f)
	default:
		o.skip(e, f)
	}
}

func (o *observer) pass(e *Entry, f Finding) {
	if blocks(e.Result) {
		e.Settle = o.now.Add(o.settle(*e))
	}
	e.Good = o.now
	o.believe(e, f)
}

func (o *observer) fail(e *Entry, f Finding) {
	calm := e.Result.Status == Pass || e.Result.Status == Fail && !blocks(e.Result) && blocks(f.Result)
	if calm && !o.start {
		if value := gist(f.Found); e.Doubt != value || e.Looks == 0 {
			// Another value than last time: someone is editing the zone.
			e.Doubt, e.First, e.Looks = value, o.now, 0
		}
		e.Looks++
		if e.Looks < o.policy.Looks || o.now.Sub(e.First) < o.policy.Span {
			return
		}
	}
	if blocks(e.Result) && !blocks(f.Result) {
		e.Settle = o.now.Add(o.settle(*e))
	}
	e.Cached = f.NegTTL
	if e.Cached == 0 {
		e.Cached = f.TTL // a wrong answer is kept as long as a right one
	}
	if blocks(f.Result) {
		e.Settle = time.Time{}
	}
	o.believe(e, f)
}

// gist is what was found, whatever order the records came in: resolvers hand
// them out in turn.
func gist(found string) string {
	words := strings.Fields(strings.ReplaceAll(found, ",", " "))
	slices.Sort(words)
	return strings.Join(words, " ")
}

// unknown never fails a pass inside the grace and never heals a fail.
func (o *observer) unknown(e *Entry, f Finding) {
	e.Silent++
	switch {
	case e.Result.Status == Fail:
	case e.Result.Status == Pass && o.now.Sub(e.Good) <= o.policy.Grace:
	default:
		o.believe(e, f)
	}
}

// skip follows the finding that is waited for: while that one is still
// believed, so is this; and where it is only unknown, a fail stays a fail. The
// grace of what is waited for is not a second one for what waits.
func (o *observer) skip(e *Entry, f Finding) {
	root, waits := o.cause(f)
	known := e.Result.Status != "" && e.Result.Status != Skip
	switch {
	case waits && root.Stale && e.Result.Status == Pass && o.now.Sub(e.Good) > o.policy.Grace:
		f.Result, f.WaitsFor = Result{Status: Unknown, Severity: f.Severity, Found: "no answer: " + root.Check.ID + " has none"}, ""
		o.believe(e, f)
	case waits && known && root.Status == Pass:
	case waits && e.Result.Status == Fail && root.Status == Unknown:
	default:
		o.believe(e, f)
	}
}

func (o *observer) believe(e *Entry, f Finding) {
	if e.Result.Status != f.Status || e.Since.IsZero() {
		e.Since = o.now
	}
	e.Result, e.WaitsFor = f.Result, f.WaitsFor
	e.Doubt, e.First, e.Looks = "", time.Time{}, 0
}

// settle is how long the world may still hold the bad answer.
func (o *observer) settle(e Entry) time.Duration {
	if o.policy.Settle == SettleAuto {
		return min(max(e.Cached, 0), maxSettleAuto)
	}
	return o.policy.Settle
}

// blocks tells whether a result stops direct delivery by itself.
func blocks(r Result) bool { return r.Status == Fail && r.Severity == Mandatory }

func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}

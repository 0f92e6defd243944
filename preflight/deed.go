package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// deed is one thing to do, for one finding or several.
type deed struct {
	Remedy
	findings []Finding
	lines    []string
}

// refer is the number of the finding's remedy, 0 if there is nothing to do.
func (t *text) refer(f Finding) int {
	if f.Severity == Informational || f.Remedy.empty() {
		return 0
	}
	for i, d := range t.deeds {
		if d.take(f) {
			return i + 1
		}
	}
	d := &deed{Remedy: f.Remedy, findings: []Finding{f}}
	for _, r := range f.Remedy.Records {
		d.lines = append(d.lines, r.String())
	}
	t.deeds = append(t.deeds, d)
	return len(t.deeds)
}

func (r Remedy) empty() bool {
	return r.Title == "" && len(r.Records) == 0 && r.Message == "" && r.Setting == "" && len(r.Steps) == 0
}

// take joins a finding whose remedy is this deed: they share a record, or both
// need none and have one title and setting.
func (d *deed) take(f Finding) bool {
	r := f.Remedy
	shared := slices.ContainsFunc(r.Records, func(rec Record) bool { return slices.Contains(d.lines, rec.String()) })
	if !shared && (len(r.Records)+len(d.lines) > 0 || r.Title == "" || r.Title != d.Title || r.Setting != d.Setting) {
		return false
	}
	d.findings = append(d.findings, f)
	for _, rec := range r.Records {
		if !slices.Contains(d.lines, rec.String()) {
			d.lines = append(d.lines, rec.String())
			d.Records = append(slices.Clip(d.Records), rec)
		}
	}
	d.Message, d.Who = cmp.Or(d.Message, r.Message), cmp.Or(d.Who, r.Who)
	if d.Setting == "" {
		d.Setting, d.Under, d.Instead = r.Setting, r.Under, r.Instead
	}
	d.Steps = union(d.Steps, r.Steps)
	d.Steps = d.Steps[:min(len(d.Steps), maxSteps)]
	return true
}

// maxSteps of a deed: who has silent zones by the hundred needs no hundred commands.
const maxSteps = 12

// worth says what depends on the deed.
func (t *text) worth(d *deed) string {
	w := "recommended"
	if !slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Status == Fail || len(f.ContradictedBy) > 0 }) {
		w = "unknown for now"
	}
	for _, f := range d.findings {
		switch {
		case !blocks(f.Result):
		case f.SmartHost != "":
			w = "stops the smart host"
		case f.Sender == "" && t.othersUsable(f.Source):
			w = "stops mail from " + f.Source
		case f.Sender == "":
			return "stops direct delivery"
		case f.Source != "" && t.usable(f.Sender):
			w = "keeps " + f.Sender + " off " + f.Source
		default:
			w = "stops mail of " + f.Sender
		}
	}
	return w
}

// usable tells whether a sender has a source left.
func (t *text) usable(sender string) bool {
	return slices.ContainsFunc(t.r.Senders, func(v Verdict) bool { return v.Name == sender && rank(v.Status) <= rank(Degraded) })
}

// number of a deed.
func (t *text) number(d *deed) string { return fmt.Sprintf("[%d]", slices.Index(t.deeds, d)+1) }

// deed prints one remedy.
func (t *text) deed(d *deed) {
	t.gap()
	t.right(" "+t.number(d)+" "+clean(cmp.Or(d.Title, d.findings[0].Check.Title), t.o.ASCII), t.worth(d))
	if i := slices.IndexFunc(d.findings, func(f Finding) bool { return f.Status == Fail && f.Check.Why != "" }); i >= 0 {
		t.para(5, sentence(d.findings[i].Check.Why))
	}
	t.instructions(d.Remedy)
}

// instructions: what can be copied stands alone and is never wrapped.
func (t *text) instructions(r Remedy) {
	if len(r.Records) == 0 && r.Who != "" && !strings.HasPrefix(r.Who, "you") {
		t.para(5, "It is for "+sentenceEnd(r.Who))
	}
	t.records(r)
	if r.Message != "" {
		t.para(5, "Send them this:")
		t.gap()
		t.para(7, r.Message)
		t.gap()
	}
	runs, steps := byRun(r.Steps)
	t.steps(runs)
	if r.Instead != "" { // the other way comes last
		t.steps(steps)
		steps = nil
	}
	if r.Setting != "" {
		if len(runs) > 0 || r.Instead != "" {
			t.gap()
		}
		t.para(5, t.settingWords(r))
		t.gap()
		for l := range strings.Lines(r.Setting) {
			t.line("       " + clean(strings.TrimRight(l, "\n"), t.o.ASCII))
		}
		t.gap()
	}
	t.steps(steps)
}

// byRun takes the commands that change something from the steps: they come before
// the setting that relies on them.
func byRun(steps []string) (runs, others []string) {
	for _, s := range steps {
		if leads(s) == runLead {
			runs = append(runs, s)
		} else {
			others = append(others, s)
		}
	}
	return runs, others
}

func (t *text) records(r Remedy) {
	who := ""
	if r.Who != "" {
		who = ", for " + r.Who
	}
	for _, do := range []Change{Remove, Replace, Add} {
		var lines []string
		for _, rec := range r.Records {
			if rec.Do == do || do == Add && rec.Do == "" {
				lines = append(lines, rec.String())
			}
		}
		if len(lines) == 0 {
			continue
		}
		t.para(5, recordWords(do, len(lines))+who+":")
		who = ""
		t.gap()
		for _, l := range lines {
			t.line("       " + clean(l, t.o.ASCII))
		}
		t.gap()
	}
}

func recordWords(do Change, n int) string {
	one := map[Change]string{Remove: "Delete this record", Replace: "The record, instead of what stands there", Add: "The record"}[do]
	many := map[Change]string{Remove: "Delete these records", Replace: "The records, instead of what stands there", Add: "The records"}[do]
	if n == 1 {
		return one
	}
	return many
}

// steps: commands line up under one heading, other steps are sentences.
func (t *text) steps(steps []string) {
	last := ""
	for _, s := range steps {
		lead := leads(s)
		if lead == "" {
			t.para(5, sentence(s))
			continue
		}
		if lead == last {
			lead = strings.Repeat(" ", len(lead))
		} else {
			last = lead
		}
		t.line("     " + lead + clean(s, t.o.ASCII))
	}
}

// leads names what a command is for; "" if the step is none.
func leads(step string) string {
	switch first, _, _ := strings.Cut(step, " "); first {
	case "dig", "nslookup", "host", "openssl", "ip":
		return "Look yourself:  "
	case "relay", "systemctl":
		return runLead
	}
	return ""
}

const runLead = "Run:  "

// sentence starts with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if first, _, _ := strings.Cut(s, " "); strings.ToLower(first) == first && !strings.ContainsAny(first, "._=0123456789") {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?:\"") {
		s += "."
	}
	return s
}

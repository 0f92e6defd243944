package preflight

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The report for people: what is wrong comes first, each fault is one line that
// leads by its number to one remedy, and what can be pasted stands alone.

// TextOptions say what the reader's screen can show.
type TextOptions struct {
	Colour bool
	ASCII  bool      // no marks beyond ASCII
	Width  int       // columns; 0 is 80
	Now    time.Time // zero: the moment of the report
	Exit   int       // the exit code to tell; 0: that of relay preflight
	Watch  bool      // it is looked on: no exit code is told yet
}

// WriteText prints the report.
func WriteText(w io.Writer, r *Report, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	if o.Now.IsZero() {
		o.Now = r.At
	}
	t := &text{r: r, o: o}
	t.right(" Preflight", r.At.UTC().Format("Mon 2006-01-02 15:04:05")+" UTC")
	t.gap()
	t.supposed()
	if down, ok := t.dnsDown(); ok {
		t.silence(down)
	} else {
		t.subjects()
		for _, d := range t.deeds {
			t.deed(d)
		}
	}
	t.ending()
	_, err := w.Write(t.b.Bytes())
	return err
}

// text is one report being written.
type text struct {
	r     *Report
	o     TextOptions
	b     bytes.Buffer
	deeds []*deed
}

// dnsDown: without a resolver nothing else is worth a line.
func (t *text) dnsDown() (Finding, bool) {
	for _, f := range t.r.HostFindings {
		if f.Check.ID == "DNS-REACHABLE" && f.Status == Unknown {
			return f, true
		}
	}
	return Finding{}, false
}

func (t *text) silence(f Finding) {
	t.head(Unknown, "DNS does not answer", "")
	t.gap()
	t.para(5, fmt.Sprintf("%s: %s. Nothing can be said of any source or sender domain, good or bad: this is no failure, and nothing is judged by it.",
		f.Check.ID, strings.TrimSuffix(f.Found, ".")))
	t.gap()
	t.instructions(f.Remedy)
}

func (t *text) subjects() {
	if fs := t.r.HostFindings; slices.ContainsFunc(fs, func(f Finding) bool { return problem(f) || len(f.ContradictedBy) > 0 }) {
		t.head(stand(believed(fs)).Status, "host", "")
		t.findings(fs, "")
	}
	t.group(t.r.Sources, "sources", t.source)
	if len(t.r.Senders) > 0 && len(t.r.Sources) > 0 && !t.r.Plan.SmartHostOnly {
		t.gap()
	}
	if !t.r.Plan.SmartHostOnly {
		t.group(t.r.Senders, "sender domains", t.sender)
	}
	if len(t.r.SmartHosts) > 0 {
		t.gap()
	}
	t.group(t.r.SmartHosts, "smart hosts", t.smartHost)
}

// fewGood is how many good ones of a kind are named where there are more.
const fewGood = 3

// group prints the worst first, and of many good ones a few: a long list of them
// hides no fault.
func (t *text) group(vs []Verdict, kind string, one func(Verdict)) {
	vs = slices.Clone(vs)
	slices.SortStableFunc(vs, func(a, b Verdict) int { return rank(b.Status) - rank(a.Status) })
	good := len(vs)
	if i := slices.IndexFunc(vs, func(v Verdict) bool { return v.Status == Pass }); i >= 0 {
		good = i
	}
	more := len(vs) - good - fewGood
	if more <= 1 || !worse(slices.Concat(t.r.Sources, t.r.Senders, t.r.SmartHosts), Pass) {
		more = 0
	}
	for _, v := range vs[:len(vs)-more] {
		one(v)
	}
	if more > 0 {
		t.head(Pass, fmt.Sprintf("%d more %s", more, kind), "")
	}
}

func (t *text) source(v Verdict) {
	var s Source
	for _, x := range t.r.Plan.Sources {
		if x.Name == v.Name {
			s = x
		}
	}
	about := fmt.Sprintf("%-*s  %-*s", t.widest(t.r.Sources), v.Name, t.widestAddr(), cmp.Or(s.shown(), "no address"))
	own := slices.DeleteFunc(slices.Clone(v.Findings), func(f Finding) bool { return f.Sender != "" })
	switch {
	case t.r.Plan.SmartHostOnly:
		t.line(" --        " + about + "   not used: everything goes to the smart host")
		return
	case v.Status == Fail && s.v6() && t.othersUsable(v.Name):
		t.mark("off", about+"   IPv6 stays off: "+few(v.Because), "")
	case !slices.ContainsFunc(own, notable):
		t.head(v.Status, fmt.Sprintf("%s  %s", about, s.EHLO), checks(passing(own))+t.note(v))
		t.learnt(s)
		return
	default:
		t.head(v.Status, about+"   EHLO "+cmp.Or(s.EHLO, "not set"), strings.TrimPrefix(t.note(v), ", "))
	}
	t.learnt(s)
	t.findings(own, v.Name)
}

// learnt says of an address that nobody configured where it is from, and how to keep it.
func (t *text) learnt(s Source) {
	if s.learned != nil {
		t.item("i", "EGRESS-KNOWN", fmt.Sprintf("seen by %s; to pin it: public = %q", both(s.learned), s.Public), "")
	}
}

// few names the first of several ids: they all stand below.
func few(ids []string) string {
	if len(ids) > 2 {
		return fmt.Sprintf("%s and %d more", ids[0], len(ids)-1)
	}
	return strings.Join(ids, ", ")
}

// othersUsable tells whether mail can leave without this source.
func (t *text) othersUsable(name string) bool {
	return name != "" && slices.ContainsFunc(t.r.Sources, func(o Verdict) bool { return o.Name != name && rank(o.Status) <= rank(Degraded) })
}

// note says what the status alone does not.
func (t *text) note(v Verdict) (s string) {
	if v.Stale {
		s += ", by the last good answer"
	}
	if v.Action == "settling" {
		s += ", settling"
	}
	return s
}

func (t *text) sender(v Verdict) {
	line := fmt.Sprintf("%-*s  %s", t.widest(t.r.Senders), v.Name, t.words(v))
	t.head(v.Status, line, strings.TrimPrefix(t.note(v), ", "))
	if slices.ContainsFunc(v.Findings, notable) {
		t.findings(v.Findings, "")
	}
}

func (t *text) smartHost(v Verdict) {
	t.head(v.Status, v.Name+"   smart host", "")
	if slices.ContainsFunc(v.Findings, notable) {
		t.findings(v.Findings, "")
	}
}

func (t *text) widest(vs []Verdict) (n int) {
	for _, v := range vs {
		n = max(n, len(v.Name))
	}
	return n
}

func (t *text) widestAddr() (n int) {
	for _, s := range t.r.Plan.Sources {
		n = max(n, len(s.shown()))
	}
	return n
}

func checks(n int) string {
	if n == 1 {
		return "1 check"
	}
	return fmt.Sprintf("%d checks", n)
}

// problem is a finding that counts; notable is one worth a line.
func problem(f Finding) bool {
	return f.Severity != Informational && (f.Status == Fail || f.Status == Unknown)
}

func notable(f Finding) bool {
	return problem(f) || f.Status == Fail && f.Check.ID != "IPV6-SOURCE" || len(f.ContradictedBy) > 0
}

func passing(fs []Finding) (n int) {
	for _, f := range fs {
		if f.Status == Pass && len(f.ContradictedBy) == 0 {
			n++
		}
	}
	return n
}

// findings lists what is wrong, then what waits for it, then how many are fine.
func (t *text) findings(fs []Finding, source string) {
	waiting := map[string][]string{}
	var causes []string
	for _, f := range fs {
		switch {
		case notable(f):
			t.finding(f, source)
		case f.Status == Skip && f.WaitsFor != "":
			if waiting[f.WaitsFor] == nil {
				causes = append(causes, f.WaitsFor)
			}
			if !slices.Contains(waiting[f.WaitsFor], f.Check.ID) {
				waiting[f.WaitsFor] = append(waiting[f.WaitsFor], f.Check.ID)
			}
		}
	}
	for _, id := range causes {
		if ids := waiting[id]; len(ids) > 3 {
			t.item("·", fmt.Sprintf("%d more", len(ids)), "wait for "+id, "")
		} else {
			for _, one := range ids {
				t.item("·", one, "waits for "+id, "")
			}
		}
	}
	if n := passing(fs); n > 0 {
		t.item("✓", fmt.Sprintf("%d more", n), "pass", "")
	}
}

func (t *text) finding(f Finding, source string) {
	mark := map[Status]string{Fail: "✗", Unknown: "?"}[f.Status]
	if f.Status == Fail && f.Severity == Recommended {
		mark = "!"
	}
	if f.Severity == Informational && f.Status == Fail {
		mark = "i"
	}
	found := f.Found
	if n := len(f.ContradictedBy); n > 0 {
		mark = "!"
		found += ", but receivers say otherwise: " + strings.Join(f.ContradictedBy[max(0, n-3):], ", ")
	}
	if f.Source != "" && source == "" && len(t.r.Plan.Sources) > 1 {
		found = "from " + f.Source + ": " + found
	}
	ref := ""
	if n := t.refer(f); n > 0 {
		ref = fmt.Sprintf("[%d]", n)
	}
	t.item(mark, f.Check.ID, found, ref)
}

// words sums a sender domain up.
func (t *text) words(v Verdict) string {
	by := map[string]Status{}
	found := map[string]string{}
	for _, f := range v.Findings {
		if was, ok := by[f.Check.ID]; !ok || f.Status == Fail || f.Status == Unknown && was != Fail {
			by[f.Check.ID], found[f.Check.ID] = f.Status, f.Found
		}
	}
	spf := word(by["SPF-SENDER-PASS"], "SPF pass", "SPF fails", "SPF unknown")
	switch {
	case by["SPF-SENDER-PRESENT"] == Fail:
		spf = "SPF missing"
	case by["SPF-SENDER-PRESENT"] == Unknown:
		spf = "SPF unknown"
	case by["SPF-SENDER-PASS"] == Fail && rank(v.Status) <= rank(Degraded):
		spf = "SPF pass in part"
	}
	dkim := word(by["DKIM-MATCHES-KEY"], "DKIM "+t.selectors(v.Name)+"ok", "DKIM key differs", "DKIM unknown")
	switch {
	case by["DKIM-CONFIGURED"] == Fail:
		dkim = "DKIM not set up"
	case by["DKIM-PUBLISHED"] == Fail:
		dkim = "DKIM not published"
	case by["DKIM-PUBLISHED"] == Unknown:
		dkim = "DKIM unknown"
	case t.r.Plan.Foreign && by["DKIM-PUBLISHED"] == Pass: // of its keys no more can be seen
		dkim = "DKIM " + t.selectors(v.Name) + "published"
	}
	dmarc := word(by["DMARC-PRESENT"], "DMARC ok", "DMARC missing", "DMARC unknown")
	if p := tag(found["DMARC-PRESENT"], "p"); by["DMARC-PRESENT"] == Pass && p != "" {
		dmarc = "DMARC p=" + p
	}
	return strings.Join(slices.DeleteFunc([]string{spf, dkim, dmarc}, func(s string) bool { return s == "" }), "   ")
}

func word(s Status, good, bad, open string) string {
	return map[Status]string{Pass: good, Fail: bad, Unknown: open}[s]
}

func (t *text) selectors(domain string) (s string) {
	for _, d := range t.r.Plan.Senders {
		if d.Name() == domain {
			for _, k := range d.Keys {
				s += k.Selector + " "
			}
		}
	}
	return s
}

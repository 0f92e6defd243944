package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ending says what mail does until the faults are mended, when we look again,
// and the exit code.
func (t *text) ending() {
	t.gap()
	ss := t.fates()
	if t.alone() {
		ss = append(ss, "No authoritative server could be reached, so there is no second opinion: what the resolver holds may be old.")
	}
	ss = append(ss, t.again()...)
	lines := wrap(clean(strings.Join(ss, " "), t.o.ASCII), t.o.Width-2)
	for _, l := range lines[:max(len(lines)-1, 0)] {
		t.line(" " + l)
	}
	exit := fmt.Sprintf("exit %d", cmp.Or(t.o.Exit, t.r.Exit()))
	if t.o.Watch {
		exit = ""
	}
	if len(lines) == 0 {
		t.right("", exit)
		return
	}
	t.right(" "+lines[len(lines)-1], exit)
}

// alone tells whether the resolver's word had to do for all that failed, because
// nobody else could be asked.
func (t *text) alone() (yes bool) {
	r := t.r
	for _, v := range slices.Concat(r.Sources, r.Senders) {
		for _, f := range v.Findings {
			for _, e := range f.Evidence {
				if e.Second != "" && e.Second != notReached {
					return false
				}
				yes = yes || f.Status == Fail && e.Second == notReached
			}
		}
	}
	return yes
}

// fates is what happens to mail, one sentence for each that is not sent as usual.
func (t *text) fates() (ss []string) {
	r := t.r
	switch {
	case r.Plan.Foreign:
		return t.others([]string{t.foreignFate()})
	case r.Plan.SmartHostOnly:
		return []string{"Everything goes to " + t.relayName() + "; the checks of direct sending do not apply."}
	case rank(r.Overall) > rank(Degraded):
		return t.others([]string{t.fate(t.until(r.Overall, ""), "mail", r.Action)})
	}
	for _, v := range r.Sources {
		if rank(v.Status) > rank(Degraded) {
			ss = append(ss, t.until(v.Status, v.Name)+" nothing leaves from "+v.Name+".")
		}
	}
	for _, v := range r.Senders {
		if rank(v.Status) > rank(Degraded) {
			ss = append(ss, t.fate(t.until(v.Status, v.Name), "mail of "+v.Name, v.Action))
		}
	}
	ss = t.others(ss)
	switch {
	case r.Action == "settling":
		ss = append(ss, "All is well again; direct delivery resumes when the old answers have left everyone's cache.")
	case len(ss) > 0:
		ss = append(ss, "Other mail goes direct.")
	default:
		ss = append(ss, "Mail goes direct.")
	}
	return ss
}

// others adds to what was said the deeds that stop some mail and were not named:
// they are for another source or sender domain.
func (t *text) others(ss []string) []string {
	var whose []string
	by := map[string][]string{}
	for _, d := range t.deeds {
		what := t.holds(d)
		if n := t.number(d); what != "" && !strings.Contains(strings.Join(ss, " "), n) {
			if by[what] == nil {
				whose = append(whose, what)
			}
			by[what] = append(by[what], n)
		}
	}
	for i, what := range whose {
		verb := " stops "
		if len(by[what]) > 1 {
			verb = " stop "
		}
		lead := ""
		if i == 0 && t.r.Overall == Fail {
			lead, verb = "After that ", " still"+verb
		}
		ss = append(ss, lead+and(by[what])+verb+what+".")
	}
	return ss
}

// holds says which mail cannot leave before a deed is done, "" if all can.
func (t *text) holds(d *deed) (mail string) {
	for _, f := range d.findings {
		switch {
		case !blocks(f.Result) || f.SmartHost != "":
		case f.Sender == "" && f.Source != "":
			return "mail from " + f.Source
		case f.Sender != "" && f.Source != "" && len(t.r.Plan.Sources) > 1:
			mail = "mail of " + f.Sender + " from " + f.Source
		case f.Sender != "":
			mail = "mail of " + f.Sender
		}
	}
	return mail
}

// until opens the sentence: which deeds it depends on. Those of one subject, or
// of "", the whole: one source and one sender domain in order are enough for
// that, so the ones with the least to do are named.
func (t *text) until(s Status, subject string) string {
	if s == Unknown {
		return "Until DNS answers"
	}
	subjects := []string{subject}
	if subject == "" {
		subjects = []string{t.nearest(t.r.Sources), t.nearest(t.r.Senders)}
	}
	var ns []string
	for i := range t.deeds {
		if slices.ContainsFunc(subjects, func(s string) bool { return t.stops(i, s) }) {
			ns = append(ns, t.number(t.deeds[i]))
		}
	}
	switch len(ns) {
	case 0:
		return "Until that is mended"
	case 1:
		return "Until " + ns[0] + " is done"
	}
	return "Until " + and(ns) + " are done"
}

// and joins "[1]", "[2]" and "[3]" as one says it.
func and(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// stops tells whether a source or sender cannot send before a deed is done.
func (t *text) stops(deed int, subject string) bool {
	return subject != "" && slices.ContainsFunc(t.deeds[deed].findings, func(f Finding) bool {
		return blocks(f.Result) && (f.Sender == subject || f.Source == subject && f.Sender == "" || f.Check.Scope == ScopeHost)
	})
}

// nearest is the subject with the least to do where all of them fail, else "".
func (t *text) nearest(vs []Verdict) (name string) {
	if len(vs) == 0 || bestStatus(vs) != Fail {
		return ""
	}
	least := len(t.deeds) + 1
	for _, v := range vs {
		n := 0
		for i := range t.deeds {
			if t.stops(i, v.Name) {
				n++
			}
		}
		if n < least {
			least, name = n, v.Name
		}
	}
	return name
}

func (t *text) fate(until, mail, action string) string {
	switch Action(action) {
	case ActSmartHost:
		return until + " " + mail + " leaves through " + t.relayName() + "."
	case ActRefuse:
		return until + " relay serve does not start, and one that runs already holds its " + mail + "."
	case ActReject:
		return until + " " + mail + " is rejected at submission."
	case ActWarn, ActSend:
		return until + " " + mail + " is sent all the same, and some receivers will refuse it."
	}
	return until + " " + mail + " is accepted and waits in the queue."
}

func (t *text) relayName() string {
	var names []string
	for _, s := range t.r.Plan.SmartHosts {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return "the smart host"
	}
	return strings.Join(names, ", then ")
}

// again says when the next look is, and what happens after the mending.
func (t *text) again() []string {
	if t.o.Watch {
		return nil
	}
	if len(t.r.Supposed) > 0 {
		return []string{"All this holds only once DNS is as supposed at the top."}
	}
	failed := t.r.Overall == Fail
	if t.r.Next.IsZero() || Action(t.r.Action) == ActRefuse {
		switch t.r.Overall {
		case Pass:
			return nil
		case Unknown:
			return []string{"Try relay preflight again in a while."}
		}
		return []string{"Done? Run relay preflight again."}
	}
	ss := []string{"Looking again in " + spoken(t.r.Next.Sub(t.o.Now)) + "."}
	if settle := t.settle(); failed && settle > 0 && Action(t.r.Action) != ActWarn {
		ss = append(ss, "Once that passes we resume "+spoken(settle)+" later, when the old answer has left everyone's cache.")
	}
	return ss
}

func (t *text) settle() (d time.Duration) {
	if s := t.r.Plan.Policy.Settle; s != SettleAuto {
		return s
	}
	for _, deed := range t.deeds {
		for _, f := range deed.findings {
			if blocks(f.Result) {
				d = max(d, min(f.NegTTL, maxSettleAuto))
			}
		}
	}
	return d
}

// spoken is a duration as one says it.
func spoken(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
}

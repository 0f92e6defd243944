package preflight

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// What a watch shows: the whole report when there is something new to do, and
// below it a line for each thing that was wrong, which turns good.

// maxVigil is how many lines are shown in one place; a screen has not many more.
const maxVigil = 15

// WriteReport prints the report of the last look.
func (v *Vigil) WriteReport(w io.Writer, o TextOptions) error {
	o.Watch = true
	for _, i := range v.items {
		for _, do := range i.Remedy.deeds() {
			v.told[do] = true
		}
	}
	return WriteText(w, v.report, o)
}

// News tells whether the last look changed anything, and whether there is
// something to do that no report before said.
func (v *Vigil) News() (changed, todo bool) {
	for _, i := range v.items {
		changed = changed || i.changed
		for _, do := range i.Remedy.deeds() {
			todo = todo || i.Status == Fail && problem(i.Finding) && !v.told[do]
		}
	}
	return changed, todo
}

// deeds are the single things that a remedy says to do.
func (r Remedy) deeds() (all []string) {
	for _, rec := range r.Records {
		all = append(all, string(rec.Do)+" "+rec.String())
	}
	if len(all) == 0 && !r.empty() {
		all = append(all, r.Title+r.Setting)
	}
	return all
}

// WriteChanges prints what the last look changed, a line for each; nothing if
// that is nothing.
func (v *Vigil) WriteChanges(w io.Writer, o TextOptions) error {
	t := v.text(o)
	changed := slices.DeleteFunc(slices.Clone(v.items), func(i *vigilItem) bool { return !i.changed })
	if len(changed) > 0 {
		t.gap()
		t.head(v.report.Overall, clock(v.report.At), "")
		for _, i := range changed {
			t.change(i)
		}
	}
	_, err := w.Write(t.b.Bytes())
	return err
}

// WriteState prints how all stands that was ever wrong, and when the next look
// is. It returns how many lines that were, so that they can be drawn over.
func (v *Vigil) WriteState(w io.Writer, o TextOptions, next time.Duration) (lines int, err error) {
	t := v.text(o)
	when := ""
	if next > 0 {
		when = fmt.Sprintf("looking again in %s; Ctrl-C ends it", spoken(next))
	}
	t.head(v.report.Overall, clock(v.report.At), when)
	shown := v.rows(t)
	all := len(shown)
	if all > maxVigil { // what is open comes first then
		well := func(r vigilRow) bool { return r.mark == "✓" }
		open := slices.DeleteFunc(slices.Clone(shown), well)
		shown = append(open, slices.DeleteFunc(shown, func(r vigilRow) bool { return !well(r) })...)
		shown = shown[:maxVigil]
	}
	for _, r := range shown {
		t.item(r.mark, r.id, r.found, r.kept)
	}
	if more := all - len(shown); more > 0 {
		t.line(fmt.Sprintf("     and %d more", more))
	}
	_, err = w.Write(t.b.Bytes())
	return strings.Count(t.b.String(), "\n"), err
}

// vigilRow is a line of the state.
type vigilRow struct{ mark, id, found, kept string }

// rows are a line for each thing that was ever wrong, one for all that wait for
// the same, and one for all that waited and are well.
func (v *Vigil) rows(t *text) (rows []vigilRow) {
	waiting := map[string][]*vigilItem{}
	var causes []string
	var well []*vigilItem
	for _, i := range v.items {
		switch cause := i.WaitsFor; {
		case i.Status == Skip && cause != "":
			if waiting[cause] == nil {
				causes = append(causes, cause)
			}
			waiting[cause] = append(waiting[cause], i)
		case i.wrong:
			rows = append(rows, t.state(i))
		case i.Status == Pass:
			well = append(well, i)
		}
	}
	together := func(is []*vigilItem, mark, found string) {
		switch len(is) {
		case 0:
		case 1:
			rows = append(rows, t.state(is[0]))
		default:
			rows = append(rows, vigilRow{mark, fmt.Sprintf("%d more", len(is)), found, ""})
		}
	}
	for _, id := range causes {
		together(waiting[id], "·", "wait for "+id)
	}
	together(well, "✓", "pass")
	return rows
}

// WriteEnd says that mail may go direct, and who does not know it yet.
func (v *Vigil) WriteEnd(w io.Writer, o TextOptions) error {
	t := v.text(o)
	said := "Mail may go direct now."
	if v.plan.Foreign {
		said = "Receivers have nothing against its mail now that stops it."
	}
	if until := v.until(); until.After(v.report.At) {
		said += " Receivers that asked before may keep the old answer until " + clock(until)
		if v.plan.Foreign {
			said += "."
		} else {
			said += "; a relay that runs resumes by itself when it has settled."
		}
	}
	t.gap()
	t.para(1, said)
	_, err := w.Write(t.b.Bytes())
	return err
}

// until is when the last old answer is forgotten.
func (v *Vigil) until() (last time.Time) {
	for _, i := range v.items {
		if u := i.until(); u.After(last) {
			last = u
		}
	}
	return last
}

func (v *Vigil) text(o TextOptions) *text {
	o.Width = cmp.Or(o.Width, 80)
	return &text{r: v.report, o: o}
}

// change is an item whole, with how long its old answer lives on.
func (t *text) change(i *vigilItem) {
	found := t.said(i)
	if until := i.until(); until.After(t.r.At) {
		found += "; receivers may keep the old answer until " + clock(until)
	}
	t.item(vigilMark(i.Finding), i.Check.ID, found, "")
}

// state is an item on one line, so that many have room and can be drawn over.
func (t *text) state(i *vigilItem) vigilRow {
	kept := ""
	if until := i.until(); until.After(t.r.At) {
		kept = "cached to " + until.UTC().Format("15:04:05")
	}
	room := t.o.Width - idWidth - 9 - max(5, width(kept)+1)
	found := []rune(clean(t.said(i), t.o.ASCII))
	if len(found) > room {
		found = append(found[:max(room-3, 0)], []rune("...")...)
	}
	return vigilRow{vigilMark(i.Finding), i.Check.ID, string(found), kept}
}

// said is what is found, and of whom.
func (t *text) said(i *vigilItem) string {
	found := i.Found
	if i.Status == Skip {
		found = cmp.Or(i.Because, "waits for "+i.WaitsFor)
	}
	if s := t.whom(i.Finding); s != "" {
		found = s + ": " + found
	}
	return found
}

// whom a finding speaks of, where there are several.
func (t *text) whom(f Finding) string {
	var all []string
	if f.Sender != "" && len(t.r.Plan.Senders) > 1 {
		all = append(all, f.Sender)
	}
	if f.Source != "" && len(t.r.Plan.Sources) > 1 {
		all = append(all, f.Source)
	}
	return strings.Join(all, " from ")
}

func vigilMark(f Finding) string {
	switch {
	case f.Status == Pass:
		return "✓"
	case f.Status == Unknown:
		return "?"
	case f.Status == Fail && f.Severity == Mandatory:
		return "✗"
	case f.Status == Fail && f.Severity == Recommended:
		return "!"
	case f.Status == Fail:
		return "i"
	}
	return "·"
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

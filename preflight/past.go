package preflight

import (
	"slices"
	"strings"
	"time"
	"unique"
)

// Most findings of most sender domains simply pass. With many domains an Entry
// for each of those would be most of what is remembered, so what passed together
// is remembered together.

// Past is the memory of checks that passed for one subject at one moment.
type Past struct {
	Source string    `json:"source,omitempty"`
	Sender string    `json:"sender,omitempty"`
	Inputs string    `json:"inputs"`
	Checks string    `json:"checks"`        // ids with a space between them
	Since  time.Time `json:"since"`         // all of them pass at least since then
	Good   time.Time `json:"good,omitzero"` // last seen to pass
	Silent int       `json:"silent,omitempty"`
}

// simple entries say no more than a Past does.
func (e Entry) simple(now time.Time) bool {
	return e.Result.Status == Pass && e.Looks == 0 && !e.Settle.After(now)
}

// fold puts what simply passes into Past. What is skipped is not worth
// remembering: that comes to the same as never having been looked at.
func (h History) fold(now time.Time) History {
	n := History{Live: h.Live}
	for _, k := range sorted(h.Entries) {
		e := h.Entries[k]
		part := strings.Split(k, "|")
		switch {
		case e.Result.Status == Skip:
		case len(part) == 4 && part[3] == "" && e.simple(now):
			n.pass(part, e)
		default:
			if n.Entries == nil {
				n.Entries = map[string]Entry{}
			}
			n.Entries[k] = e
		}
	}
	for i := range n.Past {
		n.Past[i].Checks = unique.Make(n.Past[i].Checks).Value() // mostly the same for all
	}
	return n
}

func (h *History) pass(part []string, e Entry) {
	p := Past{Source: part[1], Sender: part[2], Inputs: e.Inputs, Checks: part[0], Since: e.Since, Good: e.Good, Silent: e.Silent}
	i := slices.IndexFunc(h.Past, func(o Past) bool {
		return o.Source == p.Source && o.Sender == p.Sender && o.Inputs == p.Inputs && o.Good.Equal(p.Good) && o.Silent == p.Silent
	})
	if i < 0 {
		h.Past = append(h.Past, p)
		return
	}
	h.Past[i].Checks += " " + p.Checks
	if p.Since.After(h.Past[i].Since) {
		h.Past[i].Since = p.Since
	}
}

// unfold is the history with an entry for each finding.
func (h History) unfold() History {
	if len(h.Past) == 0 {
		return h
	}
	n := History{Entries: make(map[string]Entry, len(h.Entries)+32), Live: h.Live}
	for _, p := range h.Past {
		for id := range strings.FieldsSeq(p.Checks) {
			c := byID(id)
			if c == nil {
				continue // of a later program
			}
			f := Finding{Check: c, Source: p.Source, Sender: p.Sender}
			n.Entries[f.key()] = Entry{
				Inputs: p.Inputs, Since: p.Since, Good: p.Good, Silent: max(p.Silent, 0),
				Result: Result{Status: Pass, Severity: c.Severity, Found: "passed when it was last answered"},
			}
		}
	}
	for k, e := range h.Entries {
		n.Entries[k] = e
	}
	return n
}

// bySender takes a history apart; "" is what is no sender's.
func (h History) bySender() map[string]History {
	all := map[string]History{"": {Live: h.Live}}
	for k, e := range h.Entries {
		sender := ""
		if part := strings.Split(k, "|"); len(part) == 4 {
			sender = part[2]
		}
		of := all[sender]
		if of.Entries == nil {
			of.Entries = map[string]Entry{}
		}
		of.Entries[k] = e
		all[sender] = of
	}
	for _, p := range h.Past {
		of := all[p.Sender]
		of.Past = append(of.Past, p)
		all[p.Sender] = of
	}
	return all
}

func sorted(m map[string]Entry) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

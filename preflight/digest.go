package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A log in which ten thousand sender domains each say the same says nothing.

// digest are findings to be told of again: of more than a few sender domains one
// for each check, and for what it found.
type digest struct {
	rest    []held // that are of no sender, or of few
	senders int    // among rest, until there are too many
	groups  map[group]*held
	count   map[group]int
}

type group struct {
	check  *Check
	status Status
}

func (d *digest) add(h held) {
	if h.Sender == "" {
		d.rest = append(d.rest, h)
		return
	}
	if d.groups == nil {
		d.groups, d.count = map[group]*held{}, map[group]int{}
	}
	of := group{h.Check, h.Status}
	if d.count[of]++; d.groups[of] == nil {
		d.groups[of] = &h
	}
	switch d.senders++; {
	case d.senders <= wholeReport:
		d.rest = append(d.rest, h)
	case d.senders == wholeReport+1:
		d.rest = slices.DeleteFunc(d.rest, func(h held) bool { return h.Sender != "" })
	}
}

func (d *digest) lines() []held {
	if d.senders <= wholeReport {
		return d.rest
	}
	var all []held
	for of, h := range d.groups {
		if n := d.count[of]; n > 1 {
			h.Sender, h.Remedy, h.Evidence = andMore(h.Sender, n-1), Remedy{}, nil // those are of one of them
		}
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b held) int {
		return cmp.Or(strings.Compare(a.Check.ID, b.Check.ID), strings.Compare(string(a.Status), string(b.Status)))
	})
	return append(d.rest, all...)
}

// turned is a verdict that changed, with the key it is logged under.
type turned struct {
	kind string
	Verdict
	was string
}

// together are changes as they are told of: of more than a few sender domains one
// for all that went the same way.
func together(turns []turned) []turned {
	senders := 0
	for _, t := range turns {
		if t.kind == "domain" {
			senders++
		}
	}
	if senders <= wholeReport {
		return turns
	}
	var all []turned
	count, first := map[string]int{}, map[string]int{}
	for _, t := range turns {
		way := strings.Join(append([]string{string(t.Status), t.was, t.Action}, t.Because...), " ")
		if t.kind != "domain" || count[way] == 0 {
			first[way] = len(all)
			all = append(all, t)
		}
		if t.kind == "domain" {
			count[way]++
		}
	}
	for way, n := range count {
		if t := &all[first[way]]; n > 1 {
			t.Name = andMore(t.Name, n-1)
		}
	}
	return all
}

func andMore(name string, n int) string { return fmt.Sprintf("%s and %d more", name, n) }

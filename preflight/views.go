package preflight

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// view is an address and who sees a source by it.
type view struct {
	addr      netip.Addr
	operators []string // in alphabetical order
	asked     bool     // one of them is a witness of our choice
	mail      bool     // seen on the way that mail takes
	since     time.Time
}

// believed: two parties who know nothing of each other say the same. One alone
// may be mistaken or lie, and so may any number of those who chose us.
func (v view) believed() bool { return len(v.operators) >= 2 && v.asked }

// views of a source today, the one with most witnesses first. Those by UDP count
// only while nobody has seen a connection of the kind that mail uses. What was
// seen before two witnesses agreed on another address belongs to the past.
func (o *Observations) views(source string, now time.Time) []view {
	o.mu.Lock()
	var all []Observation
	for _, x := range o.kept.Seen {
		if x.Source == source && now.Sub(x.At) <= fresh {
			all = append(all, x)
		}
	}
	o.mu.Unlock()
	if slices.ContainsFunc(all, Observation.mail) {
		all = slices.DeleteFunc(all, func(x Observation) bool { return !x.mail() })
	}
	vs := grouped(all)
	var turn time.Time
	for _, v := range vs {
		if v.believed() && v.since.After(turn) {
			turn = v.since
		}
	}
	return grouped(slices.DeleteFunc(all, func(x Observation) bool { return x.At.Before(turn) && !latest(vs, x, turn) }))
}

// latest tells whether an observation is one of those that made the turn.
func latest(vs []view, x Observation, turn time.Time) bool {
	return slices.ContainsFunc(vs, func(v view) bool { return v.addr == x.Addr && v.believed() && v.since.Equal(turn) })
}

func grouped(all []Observation) (vs []view) {
	slices.SortStableFunc(all, func(a, b Observation) int { return b.At.Compare(a.At) })
	for _, x := range all {
		i := slices.IndexFunc(vs, func(v view) bool { return v.addr == x.Addr })
		if i < 0 {
			vs, i = append(vs, view{addr: x.Addr, mail: x.mail()}), len(vs)
		}
		v := &vs[i]
		v.asked = v.asked || x.asked()
		if !slices.Contains(v.operators, x.Operator) {
			if v.operators = append(v.operators, x.Operator); len(v.operators) == 2 {
				v.since = x.At // since then two had seen it
			}
		}
	}
	for i := range vs {
		slices.Sort(vs[i].operators)
	}
	slices.SortStableFunc(vs, func(a, b view) int {
		return cmp.Or(len(b.operators)-len(a.operators), a.addr.Compare(b.addr))
	})
	return vs
}

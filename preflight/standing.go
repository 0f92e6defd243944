package preflight

import (
	"cmp"
	"slices"
	"time"
)

// standing of a subject.
type standing struct {
	Status  Status
	Because []string
	Stale   bool
	Settle  time.Time // direct delivery waits until then
}

// rank orders verdicts; the higher the worse.
func rank(s Status) int { return slices.Index(ranks, s) }

var ranks = []Status{Pass, Degraded, Unknown, Fail}

func (s standing) usable() bool { return rank(s.Status) <= rank(Degraded) }

func (s standing) settling(at time.Time) bool { return s.usable() && s.Settle.After(at) }

// stand weighs findings that count for one subject together.
func stand(groups ...[]held) standing {
	s := standing{Status: Pass}
	for _, hs := range groups {
		for i := range hs {
			s.take(&hs[i].Finding, hs[i].Stale, hs[i].Settle)
		}
	}
	return s
}

// take in what one more finding says. What s was copied from is left as it is.
func (s *standing) take(f *Finding, stale bool, settle time.Time) {
	verdict := weight(f)
	switch r := rank(verdict); {
	case r > rank(s.Status):
		s.Status, s.Because = verdict, []string{f.Check.ID}
	case r == rank(s.Status) && verdict != Pass && !slices.Contains(s.Because, f.Check.ID):
		s.Because = append(slices.Clip(s.Because), f.Check.ID)
	}
	if f.Severity != Mandatory {
		return
	}
	s.Stale = s.Stale || stale
	if settle.After(s.Settle) {
		s.Settle = settle
	}
}

// weight is the verdict that one finding alone would make.
func weight(f *Finding) Status {
	switch {
	case f.Severity == Mandatory && (f.Status == Fail || f.Status == Unknown):
		return f.Status
	case f.Severity == Recommended && f.Status == Fail:
		return Degraded
	}
	return Pass
}

// best of several, of equals one that need not settle; pass when there is none
// to ask.
func best(ss []standing) standing {
	if len(ss) == 0 {
		return standing{Status: Pass}
	}
	return slices.MinFunc(ss, func(a, b standing) int {
		return cmp.Or(rank(a.Status)-rank(b.Status), a.Settle.Compare(b.Settle))
	})
}

// lower makes a pass degraded when another stands worse, and says why.
func lower(s standing, others []standing) standing {
	for _, o := range others {
		if rank(o.Status) > rank(s.Status) {
			s.Status = worst(s.Status, Degraded)
			s.Because = union(s.Because, o.Because)
		}
		s.Stale = s.Stale || o.Stale
	}
	return s
}

// merge is the worse of both, with the reasons of both when they are equal.
func merge(a, b standing) standing {
	if rank(b.Status) > rank(a.Status) {
		a, b = b, a
	}
	if a.Status == b.Status {
		a.Because = union(a.Because, b.Because)
	}
	a.Stale = a.Stale || b.Stale
	if b.Settle.After(a.Settle) {
		a.Settle = b.Settle
	}
	return a
}

func worst(a, b Status) Status {
	if rank(a) > rank(b) {
		return a
	}
	return b
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

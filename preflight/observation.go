package preflight

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Nobody inside a network can tell for sure by which address the world sees it:
// that takes somebody outside who says so. What such witnesses said is kept here.

// Ways to learn an address, from the weightiest to the least: TCP to port 25 takes
// the way that mail takes; UDP may be led another way, or be answered on the way.
const (
	byProbe    = "probe"     // a mail server that we asked, as NET-PORT25 does
	byMail     = "ehlo"      // one that took mail of ours: whoever gets our mail may run it
	byRefusal  = "rejection" // likewise, in a refusal
	bySTUN     = "stun"
	byWhoami   = "dns"
	fresh      = 24 * time.Hour      // an observation speaks of the present that long
	remembered = 30 * 24 * time.Hour // what was used counts as a habit that long
)

// Observation is an address of ours as somebody else saw it.
type Observation struct {
	Source   string     `json:"source"` // Source.key
	Method   string     `json:"method"`
	Operator string     `json:"operator"` // who runs the machine that saw it: its registered domain
	Addr     netip.Addr `json:"addr"`
	At       time.Time  `json:"at"`
}

// mail tells whether it was seen on the way that mail takes.
func (o Observation) mail() bool { return o.Method != bySTUN && o.Method != byWhoami }

// asked tells whether the operator of this relay chose the witness, be it by
// leaving the default. Of the others anybody can become one, by having mail sent
// to himself, and two domains are cheap.
func (o Observation) asked() bool { return o.Method != byMail && o.Method != byRefusal }

// Use is a greeting that mail left with, and the address it was seen by.
type Use struct {
	Source string     `json:"source"` // Source.configured
	Addr   netip.Addr `json:"addr"`
	EHLO   string     `json:"ehlo"`
	Last   time.Time  `json:"last"`
}

// Observed is what is kept from one run of the program to the next.
type Observed struct {
	Seen   []Observation    `json:"seen,omitempty"`
	Rounds map[string]Round `json:"rounds,omitempty"` // the last inquiry, by Source.key
	Used   []Use            `json:"used,omitempty"`
}

const (
	maxSeen = 256 // observations of a source; a stranger's is forgotten first
	maxUsed = 256
)

// Observations is the memory of what others saw of us. Use NewObservations.
type Observations struct {
	mu       sync.Mutex
	kept     Observed
	begun    map[string]bool      // sources inquired of since the program started
	wanted   map[string]bool      // an inquiry is due before its time
	timeouts map[string]int       // connects that timed out, in a row
	heard    map[string]time.Time // a mail server answered a delivery
	asking   singleflight.Group
}

// NewObservations has seen nothing yet.
func NewObservations() *Observations {
	return &Observations{
		kept:  Observed{Rounds: map[string]Round{}},
		begun: map[string]bool{}, wanted: map[string]bool{}, timeouts: map[string]int{}, heard: map[string]time.Time{},
	}
}

// key of a source in the memory: another bind address is another way out.
func (s *Source) key() string { return s.Name + " " + s.Bind }

// configured is what the operator wrote of a source's address.
func (s *Source) configured() string {
	if s.learned != nil {
		return s.key()
	}
	return s.key() + " " + s.Public
}

// add takes an observation in: the latest of each operator and kind of way counts.
// What a witness says unasked, though, takes no place of what he answered.
func (o *Observations) add(n Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Seen = slices.DeleteFunc(o.kept.Seen, func(x Observation) bool {
		return n.At.Sub(x.At) > fresh ||
			x.Source == n.Source && x.Operator == n.Operator && x.mail() == n.mail() && x.asked() == n.asked()
	})
	o.kept.Seen = append(o.kept.Seen, n)
	o.bound(n.Source)
}

// bound forgets the oldest observation of a source that has too many.
func (o *Observations) bound(source string) {
	count, victim := 0, -1
	for i, x := range o.kept.Seen {
		if x.Source != source {
			continue
		}
		count++
		if victim < 0 || before(x, o.kept.Seen[victim]) {
			victim = i
		}
	}
	if count > maxSeen {
		o.kept.Seen = slices.Delete(o.kept.Seen, victim, victim+1)
	}
}

// before orders what is to be forgotten: strangers first, then by age.
func before(a, b Observation) bool {
	if a.asked() != b.asked() {
		return b.asked()
	}
	return a.At.Before(b.At)
}

// use notes a greeting.
func (o *Observations) use(u Use) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Used = slices.DeleteFunc(o.kept.Used, func(x Use) bool {
		return x.Source == u.Source && x.Addr == u.Addr && x.EHLO == u.EHLO || u.Last.Sub(x.Last) > remembered
	})
	o.kept.Used = append(o.kept.Used, u)
	if extra := len(o.kept.Used) - maxUsed; extra > 0 {
		slices.SortFunc(o.kept.Used, func(a, b Use) int { return a.Last.Compare(b.Last) })
		o.kept.Used = slices.Delete(o.kept.Used, 0, extra)
	}
}

// used are the greetings of the last month, latest first.
func (o *Observations) used(now time.Time) (all []Use) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.kept.Used {
		if now.Sub(u.Last) <= remembered {
			all = append(all, u)
		}
	}
	slices.SortStableFunc(all, func(a, b Use) int { return b.Last.Compare(a.Last) })
	return all
}

// state is a copy to be kept.
func (o *Observations) state() Observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Observed{Seen: slices.Clone(o.kept.Seen), Used: slices.Clone(o.kept.Used), Rounds: make(map[string]Round, len(o.kept.Rounds))}
	for k, r := range o.kept.Rounds {
		s.Rounds[k] = r
	}
	return s
}

// recall takes up what an earlier run of the program kept, as far as it speaks
// of sources that are there and of a time that has been.
func (o *Observations) recall(s Observed, p *Plan, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := map[string]bool{}
	for i := range p.Sources {
		keys[p.Sources[i].key()] = true
	}
	past := func(t time.Time, max time.Duration) bool { return !t.After(now) && now.Sub(t) <= max }
	for _, x := range s.Seen {
		if keys[x.Source] && x.Addr.IsValid() && past(x.At, fresh) && len(o.kept.Seen) < maxSeen*len(keys) {
			o.kept.Seen = append(o.kept.Seen, x)
		}
	}
	for _, u := range s.Used {
		if u.Addr.IsValid() && past(u.Last, remembered) && len(o.kept.Used) < maxUsed {
			o.kept.Used = append(o.kept.Used, u)
		}
	}
	for k, r := range s.Rounds {
		if keys[k] && past(r.At, fresh) && len(r.Witnesses) <= MaxProbes {
			o.kept.Rounds[k] = r
		}
	}
}

package preflight

import (
	"net/netip"
	"time"
)

// NoteUse has it that mail left so.
func NoteUse(o *Observations, s *Source, a netip.Addr, ehlo string, at time.Time) {
	o.use(Use{Source: s.configured(), Addr: a, EHLO: ehlo, Last: at})
}

// NoteSTUN has it that services asked over UDP saw a source by an address.
func NoteSTUN(o *Observations, s *Source, a netip.Addr, operators ...string) {
	for _, by := range operators {
		o.add(Observation{Source: s.key(), Method: bySTUN, Operator: by, Addr: a, At: time.Now()})
	}
}

// NextLook is when the gate looks at host, sources and smart hosts again.
func NextLook(g *Gate) time.Time {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.due()
}

// Registries is what a nil list stands for, to take something out of it.
func Registries() Special { return Special{Prefixes: specialPrefixes, Names: specialNames} }

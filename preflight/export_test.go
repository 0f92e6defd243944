package preflight

import (
	"net/netip"
	"time"
)

// NoteUse has it that mail left so.
func NoteUse(o *Observations, s *Source, a netip.Addr, ehlo string, at time.Time) {
	o.use(Use{Source: s.configured(), Addr: a, EHLO: ehlo, Last: at})
}

// OfThisMachine are the checks that have nothing to say of another one.
var OfThisMachine = ofThisMachine

// NextLook is when the gate looks at host, sources and smart hosts again.
func NextLook(g *Gate) time.Time {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.due()
}

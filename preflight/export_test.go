package preflight

import (
	"net/netip"
	"time"
)

// NoteUse has it that mail left so.
func NoteUse(o *Observations, s *Source, a netip.Addr, ehlo string, at time.Time) {
	o.use(Use{Source: s.configured(), Addr: a, EHLO: ehlo, Last: at})
}

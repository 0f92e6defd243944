package preflight

import (
	"fmt"

	"smtprelay/preflight/dns"
)

// Suppose is the outside as if edits had been made to the zones, for the
// resolver and for the authoritative servers alike.
func Suppose(o Outside, edits []dns.Edit) Outside {
	if len(edits) == 0 {
		return o
	}
	over := dns.NewOverlay(o.DNS, o.Asker, edits)
	o.DNS = over
	if o.Asker != nil {
		o.Asker = over
	}
	return o
}

// fewSupposed are shown at the head of a report; the faults are to stay near the top.
const fewSupposed = 4

// supposed says first of all that the report is of a world that is not so.
func (t *text) supposed() {
	all := t.r.Supposed
	if len(all) == 0 {
		return
	}
	t.line(" As if this were so in DNS:")
	shown := min(len(all), fewSupposed)
	if len(all) == fewSupposed+1 {
		shown++
	}
	for _, s := range all[:shown] {
		t.line("   " + clean(s, t.o.ASCII))
	}
	if len(all) > shown {
		t.line(fmt.Sprintf("   and %d more", len(all)-shown))
	}
	t.gap()
}

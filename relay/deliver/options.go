package deliver

import (
	"log/slog"
	"net/netip"
	"time"

	"smtprelay/preflight"
)

// Options of delivery.
type Options struct {
	Port       uint16           // of exchangers; default 25
	Private    bool             // addresses of internal networks may be dialled (preflight.Policy.Private)
	Listeners  []netip.AddrPort // ours: never dialled
	Public     []netip.Addr     // ours as the world sees them: like this host's own
	Names      []string         // ours: an exchanger so named would be a loop
	SmartHosts []preflight.SmartHost
	SmartEHLO  string   // EHLO name towards smart hosts when no source is configured
	Idle       int      // connections kept a moment for the next message; default 1000
	Limits     []Limit  // the first that covers a destination counts
	Timeouts   Timeouts // zero fields: RFC 5321 section 4.5.3.2
	Log        *slog.Logger
}

// Timeouts of the phases of one connection (RFC 5321 section 4.5.3.2).
type Timeouts struct {
	Connect, Greet, Mail, Rcpt, Data, Block, Dot time.Duration
}

// withDefaults fills zero fields. A connect that takes longer than half a minute
// is not going to end well; the others are the RFC's.
func (t Timeouts) withDefaults() Timeouts {
	fill := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	fill(&t.Connect, 30*time.Second)
	fill(&t.Greet, 5*time.Minute)
	fill(&t.Mail, 5*time.Minute)
	fill(&t.Rcpt, 5*time.Minute)
	fill(&t.Data, 2*time.Minute)
	fill(&t.Block, 3*time.Minute)
	fill(&t.Dot, 10*time.Minute)
	return t
}

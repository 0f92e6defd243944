package relay

import (
	"log/slog"
	"net/netip"

	"smtprelay/preflight"
	"smtprelay/queue"
	"smtprelay/relay/admin"
	"smtprelay/relay/deliver"
	"smtprelay/relay/report"
	"smtprelay/relay/sign"
	"smtprelay/relay/submit"
)

// Options of the whole program. config fills them; every value is ready to use.
type Options struct {
	State   string // directory of queue, keys and preflight history; mode 0700
	Store   string // URL: "disk:queue" (relative to State)
	DNS     DNS
	Plan    preflight.Plan
	Submit  submit.Options
	Queue   queue.Options
	Sign    sign.Options
	Deliver deliver.Options
	Report  report.Options
	Admin   admin.Options
	Log     *slog.Logger // and that of every stage: filled by who starts the program
	LogLost func() int64 // how many of its lines could not be written; nil: nobody knows

	LogLevel  slog.Level
	LogFormat string // "json" or "text"
}

// DNS says whom to ask.
type DNS struct {
	Servers []netip.AddrPort // resolvers; none: those that the system names
	Port    uint16           // where authoritative servers listen: 53, another only in a private network
}

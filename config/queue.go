package config

import (
	"net/url"
	"time"

	"smtprelay/relay"
)

// Queue is where mail waits, and for how long.
type Queue struct {
	Store       string     `toml:"store"`
	Retry       []Duration `toml:"retry"` // wait after the first, second ... try; the last repeats
	Lifetime    Duration   `toml:"lifetime"`
	DelayNotice Notice     `toml:"delay_notice"`
	Workers     int        `toml:"workers"`     // connections at once, in all
	Connections int        `toml:"connections"` // at once to the exchangers of one destination, where no [[destination]] says another number
	Drain       Duration   `toml:"drain"`       // how long deliveries may go on once we stop
}

func defaultQueue() Queue {
	return Queue{
		Store: "disk:queue",
		Retry: []Duration{minutes(5), minutes(10), minutes(20), minutes(40), minutes(60), minutes(120), minutes(240)},
		// RFC 5321 section 4.5.4.1: at least 4 to 5 days
		Lifetime: minutes(120 * 60), DelayNotice: Notice{minutes(240)}, Workers: 1000, Connections: 20, Drain: minutes(1) / 2,
	}
}

func (q Queue) fill(l *loader, o *relay.Options) {
	o.Store = l.store("queue.store", q.Store)
	if len(q.Retry) == 0 {
		l.bad("queue.retry", `write for example ["5m", "20m", "1h", "4h"]`, "empty: expected at least one wait")
	}
	for i, d := range q.Retry {
		o.Queue.Retry = append(o.Queue.Retry, l.between(index("queue.retry", i), d, Duration(time.Second), minutes(24*60)))
	}
	o.Queue.Lifetime = l.between("queue.lifetime", q.Lifetime, minutes(1), minutes(30*24*60))
	o.Queue.DelayNotice = time.Duration(q.DelayNotice.Duration)
	if q.DelayNotice.Duration == 0 {
		l.bad("queue.delay_notice", `write "never" for none`, "0s: expected a time")
	}
	o.Queue.Workers = l.number("queue.workers", q.Workers, 1, 10000)
	o.Queue.Connections = l.number("queue.connections", q.Connections, 1, 1000)
	o.Queue.Grace = l.between("queue.drain", q.Drain, Duration(time.Second), minutes(10))

	o.Submit.Lifetime = o.Queue.Lifetime
	o.Report.Lifetime = min(24*time.Hour, o.Queue.Lifetime)
	_, o.Report.Hostname = l.file.names()
	o.Report.Postmaster = "MAILER-DAEMON@" + o.Report.Hostname
}

// store checks the URL of a store; it never repeats one that may hold a password.
func (l *loader) store(key, text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "disk" || u.Opaque+u.Path == "" || u.Host != "" {
		l.bad(key, `write "disk:queue" for a directory under state, or "disk:/var/spool/relay"`, "expected disk: and the path of a directory")
	}
	return text
}

package queue

import "time"

// Options of queue and scheduler. Zero fields mean the defaults named.
type Options struct {
	Retry       []time.Duration // wait after the first, second ... try; the last repeats. Default 5m 10m 20m 40m 1h 2h 4h
	Lifetime    time.Duration   // how long before a recipient fails; default 120h (RFC 5321 section 4.5.4.1)
	DelayNotice time.Duration   // tell the sender after this; default 4h; negative: never
	Workers     int             // connections at once, to all; default 1000
	Connections int             // to the hosts of one lane; default 20
	Grace       time.Duration   // how long deliveries under way may go on once we stop; default 30s
}

func (o Options) withDefaults() Options {
	if len(o.Retry) == 0 {
		m, h := time.Minute, time.Hour
		o.Retry = []time.Duration{5 * m, 10 * m, 20 * m, 40 * m, h, 2 * h, 4 * h}
	}
	if o.Lifetime <= 0 {
		o.Lifetime = 120 * time.Hour
	}
	if o.DelayNotice == 0 {
		o.DelayNotice = 4 * time.Hour
	}
	if o.Workers <= 0 {
		o.Workers = 1000
	}
	if o.Connections <= 0 {
		o.Connections = 20
	}
	if o.Grace <= 0 {
		o.Grace = 30 * time.Second
	}
	return o
}

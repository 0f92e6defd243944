package deliver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Limit is how much the hosts of some destinations are asked to take.
type Limit struct {
	// Match are names, lower case A-labels, of destinations or of exchangers:
	// "example.com", "*.example.com" (all below it) or "*" (all).
	Match       []string
	Connections int // at once; 0: the default of the queue
	PerMinute   int // messages; 0: any number
}

// covers tells whether the destination or one of its hosts is matched.
func (l *Limit) covers(destination string, hosts []string) bool {
	return slices.ContainsFunc(l.Match, func(pattern string) bool {
		below, wild := strings.CutPrefix(pattern, "*")
		matches := func(name string) bool { return name == pattern || wild && strings.HasSuffix(name, below) }
		return matches(destination) || slices.ContainsFunc(hosts, matches)
	})
}

// Lane is what mail for a destination shares with other mail: the exchangers that
// it goes to, or the smart hosts where direct delivery is not open to anybody's. The
// first limit that covers the destination or one of the exchangers counts.
func (d *Deliverer) Lane(ctx context.Context, destination string) queue.Lane {
	switch r := d.gate.Route(ctx, preflight.Mail{}, destination, nil); {
	case r.SmartHost:
		return d.lane(destination, smartName, d.smart.names)
	case r.Source == nil:
		return d.lane(destination, destination, nil) // it waits: DNS need not be asked
	}
	xs, err := d.mx.exchangers(ctx, destination)
	if err != nil {
		return d.lane(destination, destination, nil)
	}
	hosts := make([]string, len(xs))
	for i, x := range xs {
		hosts[i] = x.host
	}
	slices.Sort(hosts)
	return d.lane(destination, strings.Join(hosts, " "), hosts)
}

func (d *Deliverer) lane(destination, name string, hosts []string) queue.Lane {
	for i := range d.limits {
		if l := &d.limits[i]; l.covers(destination, hosts) {
			// Other destinations of the same hosts may be under another limit.
			return queue.Lane{Name: fmt.Sprint(name, " ", i), Connections: l.Connections, PerMinute: l.PerMinute}
		}
	}
	return queue.Lane{Name: name}
}

package deliver

import (
	"context"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Lane is what mail for a destination shares with other mail: the exchangers that
// it goes to, or the smart hosts where direct delivery is not open to anybody's.
func (d *Deliverer) Lane(ctx context.Context, destination string) queue.Lane {
	switch r := d.gate.Route(ctx, preflight.Mail{}, destination, nil); {
	case r.SmartHost:
		return queue.Lane{Name: smartName}
	case r.Source == nil:
		return queue.Lane{Name: destination} // it waits: DNS need not be asked
	}
	xs, err := d.mx.exchangers(ctx, destination)
	if err != nil {
		return queue.Lane{Name: destination}
	}
	var hosts []string
	for _, x := range xs {
		hosts = append(hosts, x.host)
	}
	slices.Sort(hosts)
	return queue.Lane{Name: strings.Join(hosts, " ")}
}

package relay

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/queue"
	"smtprelay/relay/admin"
	"smtprelay/relay/deliver"
)

func resolver(o Options) *dns.Client {
	if len(o.DNS.Servers) == 0 {
		return dns.NewSystemClient()
	}
	return dns.NewClient(o.DNS.Servers)
}

// outside is the preflight's way to the world: the same resolver and the same
// SMTP client that delivery uses, so that it judges what would happen.
func outside(o Options, c *dns.Client) preflight.Outside {
	return preflight.Outside{
		DNS: c, Asker: c, AuthorityPort: o.DNS.Port,
		Try: deliver.NewTrier(o.Deliver, c), Probe: deliver.NewProber(o.Deliver, c),
		Observed: preflight.NewObservations(), Resolvers: c.Servers, Lines: c.OverTCP,
		From: func(bind netip.Addr, server netip.AddrPort) dns.Resolver {
			return c.To(server).From(bind)
		},
	}
}

// StatusLine is a report in one line: "fail: PTR-EXISTS -> smarthost".
func StatusLine(r *preflight.Report) string {
	var ids []string
	for _, v := range slices.Concat(r.Sources, r.Senders, r.SmartHosts) {
		for _, id := range v.Because {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	line := string(r.Overall)
	if len(ids) > 0 && r.Overall != preflight.Pass {
		line += ": " + strings.Join(ids, ", ")
	}
	if r.Action != "" && r.Action != "direct" {
		line += " -> " + r.Action
	}
	return line
}

// metrics in the text form that Prometheus scrapes.
func (r *Relay) metrics() http.Handler {
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn)})
}

// counter is the queue for an operator: who he gives up is told at once, and what he
// wants tried is tried at once, though its hosts are left alone.
type counter struct {
	queue.Desk
	sched func() *queue.Scheduler
}

func (c counter) Update(ctx context.Context, f queue.Filter, ch queue.Change) (int, error) {
	if ch.State == queue.Waiting && ch.Delay == 0 {
		if err := c.try(ctx, f); err != nil {
			return 0, err
		}
	}
	n, err := c.Desk.Update(ctx, f, ch)
	if ch.State == queue.Failed && n > 0 {
		c.sched().TellFailures()
	}
	return n, err
}

// try the destinations of what a filter selects; all, where it names neither domain
// nor message.
func (c counter) try(ctx context.Context, f queue.Filter) error {
	var domains []string
	switch {
	case f.Domain != "":
		domains = []string{f.Domain}
	case f.ID != "":
		for e, err := range c.List(ctx, f) {
			if err != nil {
				return err
			}
			for _, r := range e.Recipients {
				domains = append(domains, r.Domain)
			}
		}
		if len(domains) == 0 {
			return nil
		}
	}
	c.sched().Try(domains...)
	return nil
}

// desk is the administration socket over what there is to administer; sched is asked
// for once the socket is served.
func (r *Relay) desk(sched func() *queue.Scheduler) *admin.Server {
	o, since := r.o.Admin, time.Now()
	o.Preflight = func(w io.Writer) error { return preflight.WriteJSON(w, r.gate.Report()) }
	o.Metrics = r.metrics()
	o.Look = r.look
	return admin.New(o, counter{r.store, sched}, func() admin.Status {
		rep := r.gate.Report()
		return admin.Status{Since: since, Verdict: string(rep.Overall), Action: rep.Action}
	})
}

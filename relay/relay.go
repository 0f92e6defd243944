// Package relay puts the stages together: mail is submitted, signed, queued
// and delivered, and the preflight decides where it may leave from. Run starts
// them in the order that keeps the promises (queue before preflight, preflight
// before listeners, listeners before delivery) and drains them when its
// context ends. The stages do not know each other; what one needs of another
// is handed to it here.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/queue"
	"smtprelay/relay/deliver"
	"smtprelay/relay/report"
	"smtprelay/relay/sign"
	"smtprelay/relay/submit"
)

// Relay is the program, ready to run.
type Relay struct {
	o      Options
	notify func(state string)
	log    *slog.Logger
	store  queue.Store
	gate   *preflight.Gate
	dns    *dns.Client
	reg    *prometheus.Registry
}

// New opens the queue. No listener is opened and nothing is sent before Run.
// notify is told what the service manager wants to hear (sd_notify(3) lines);
// nil: nobody. An error is a *StartError.
func New(o Options, notify func(state string)) (*Relay, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if notify == nil {
		notify = func(string) {}
	}
	got, err := o.apportion()
	if err != nil {
		return nil, err
	}
	st, err := openStore(o, got.tables)
	if err != nil {
		return nil, startError(err)
	}
	memory := preflight.FileMemory(filepath.Join(o.State, "preflight.json"))
	c := resolver(o).AtOnce(got.questions)
	r := &Relay{
		o: o, notify: notify, log: o.Log, store: st, dns: c,
		gate: preflight.NewGate(o.Plan, outside(o, c), memory, o.Log),
		reg:  prometheus.NewRegistry(),
	}
	r.reg.MustRegister(r.gate.Metrics())
	if o.LogLost != nil {
		r.reg.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "relay_log_lines_lost_total", Help: "Lines of the log that could not be written."},
			func() float64 { return float64(o.LogLost()) },
		))
	}
	return r, nil
}

// Preflight judges what stands now, once, without history; with edits, what
// would stand then.
func Preflight(ctx context.Context, o Options, edits ...dns.Edit) *preflight.Report {
	at := time.Now()
	out := outside(o, resolver(o))
	findings, questions := preflight.Run(ctx, &o.Plan, preflight.Suppose(out, edits))
	r := preflight.Judge(o.Plan.Learn(out.Observed, time.Now()), findings, at)
	r.Took, r.Questions = time.Since(at), questions
	r.Host, _ = os.Hostname()
	for _, e := range edits {
		r.Supposed = append(r.Supposed, e.String())
	}
	return r
}

// Trace goes the way from the root of DNS to the name of each source's address.
func Trace(ctx context.Context, o Options, r *preflight.Report) []preflight.Trace {
	return preflight.Walks(ctx, r.Plan, outside(o, resolver(o)))
}

// Run serves until ctx ends, then drains: nothing accepted is lost, whatever
// is under way gets a moment to finish. A *Refusal means that the preflight
// did not allow the start, a *StartError that something else did not; no
// listener is left open then.
func (r *Relay) Run(ctx context.Context) error {
	defer r.store.Close()
	first := r.gate.Start(ctx)
	if ctx.Err() != nil {
		return nil // told to stop before there was anything to stop
	}
	if err := refusal(first); err != nil {
		return err
	}

	signer := r.signer()
	in, err := submit.New(r.o.Submit, r.store, r.gate, signer)
	if err != nil {
		return err
	}
	var sched *queue.Scheduler
	r.reg.MustRegister(in.Metrics())
	desk := r.desk(func() *queue.Scheduler { return sched })
	if err := desk.Listen(); err != nil {
		return startError(err)
	}
	if err := in.Listen(); err != nil {
		return startError(errors.Join(err, desk.Close()))
	}
	r.log.Info("serving", "listen", texts(in.Addrs()))
	out := r.deliverer(in.Addrs())
	defer out.Close()
	sched = queue.NewScheduler(r.store, out, report.New(r.o.Report, r.store, signer), r.o.Queue, r.log)
	r.reg.MustRegister(queue.Metrics(r.store, sched))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.Serve(ctx) })
	g.Go(func() error { return desk.Serve(ctx) })
	g.Go(func() error { return sched.Run(ctx) })
	g.Go(func() error { return r.gate.Watch(ctx) })
	g.Go(func() error { return r.tell(ctx) })
	g.Go(func() error { return r.wake(ctx, sched) })
	g.Go(func() error { return r.remind(ctx) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (r *Relay) signer() *sign.Signer {
	o := r.o.Sign
	o.Live = r.gate.Live
	return sign.New(o)
}

func texts(addrs []net.Addr) (all []string) {
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// deliverer never dials what we listen on; the addresses are known only now.
func (r *Relay) deliverer(ours []net.Addr) *deliver.Deliverer {
	o := r.o.Deliver
	for _, a := range ours {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			o.Listeners = append(o.Listeners, ap)
		}
	}
	return deliver.New(o, r.gate, r.dns)
}

// wake has the queue try again what waits for the preflight, whenever that says
// something else than before; at the start, what an earlier run left.
func (r *Relay) wake(ctx context.Context, s *queue.Scheduler) error {
	come := r.gate.Clear
	for {
		changed := r.gate.Changed()
		err := s.Wake(ctx, come)
		come = func(awaited string) bool { return !r.gate.Waits(awaited) }
		if err != nil && ctx.Err() == nil {
			r.log.Warn("waiting mail not woken", "err", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell keeps the service manager's status line true.
func (r *Relay) tell(ctx context.Context) error {
	state := "READY=1\n"
	for {
		changed := r.gate.Changed()
		r.notify(state + "STATUS=" + StatusLine(r.gate.Report()))
		state = ""
		select {
		case <-changed:
		case <-ctx.Done():
			r.log.Info("stopping")
			r.notify("STOPPING=1")
			return ctx.Err()
		}
	}
}

package queue

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics collects what is in a store, and what its scheduler saw.
func Metrics(d Desk, s *Scheduler) prometheus.Collector { return metrics{d, s} }

type metrics struct {
	desk  Desk
	sched *Scheduler
}

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("relay_queue_"+name, help, labels, nil)
}

var (
	messagesMetric = metric("messages", "Messages in the queue.")
	// state: waiting; held, by the operator or as it outlived its lifetime on a fault
	// of ours; failed, its sender not told yet.
	recipientsMetric  = metric("recipients", "Recipients in the queue, by state. Held ones wait for the operator.", "state")
	quarantinedMetric = metric("quarantined", "Messages set aside because they are damaged.")
	twiceMetric       = metric("maybe_duplicates_total", "Recipients who may get a message twice: we, or the remote's connection, ended between the final dot and the record of its reply. The log names each.")
)

// Of the scheduler.
var (
	workersMetric     = metric("workers", "Deliveries under way, each with one connection at most.")
	workersMostMetric = metric("workers_limit", "Deliveries that may be under way at once ([queue] workers).")
	shutMetric        = metric("hosts_left_alone", "Sets of hosts that are left alone for a while after trouble upon trouble. The log names each.")
)

func (metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesMetric, recipientsMetric, quarantinedMetric, twiceMetric, workersMetric, workersMostMetric, shutMetric} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	st, err := m.desk.Stat(context.Background())
	if err != nil {
		to <- prometheus.NewInvalidMetric(messagesMetric, err)
		return
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(messagesMetric, st.Messages)
	gauge(recipientsMetric, st.Waiting, string(Waiting))
	gauge(recipientsMetric, st.Held, string(Held))
	gauge(recipientsMetric, st.Failed, string(Failed))
	gauge(quarantinedMetric, st.Quarantined)
	busy, shut := m.sched.lanes.count()
	gauge(workersMetric, busy)
	gauge(workersMostMetric, m.sched.o.Workers)
	gauge(shutMetric, shut)
	to <- prometheus.MustNewConstMetric(twiceMetric, prometheus.CounterValue, float64(st.Twice)+float64(m.sched.twice.Load()))
}

package queue

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a store holds, whenever it is asked.
func Metrics(d Desk) prometheus.Collector { return metrics{d} }

type metrics struct{ desk Desk }

var (
	messagesMetric = prometheus.NewDesc("relay_queue_messages", "Messages in the queue.", nil, nil)
	// state: waiting; held, by the operator or as it outlived its lifetime on a fault
	// of ours; failed, its sender not told yet.
	recipientsMetric  = prometheus.NewDesc("relay_queue_recipients", "Recipients in the queue, by state. Held ones wait for the operator.", []string{"state"}, nil)
	quarantinedMetric = prometheus.NewDesc("relay_queue_quarantined", "Damaged messages that were set aside.", nil, nil)
)

func (metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesMetric, recipientsMetric, quarantinedMetric} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	s, err := m.desk.Stat(context.Background())
	if err != nil {
		to <- prometheus.NewInvalidMetric(messagesMetric, err)
		return
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(messagesMetric, s.Messages)
	gauge(recipientsMetric, s.Waiting, string(Waiting))
	gauge(recipientsMetric, s.Held, string(Held))
	gauge(recipientsMetric, s.Failed, string(Failed))
	gauge(quarantinedMetric, s.Quarantined)
}

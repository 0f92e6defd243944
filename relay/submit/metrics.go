package submit

import "github.com/prometheus/client_golang/prometheus"

// Metrics collects what comes in.
func (s *Server) Metrics() prometheus.Collector { return metrics{s.press} }

type metrics struct{ press *press }

var (
	storingMetric = prometheus.NewDesc("relay_submission_storing", "Messages being written to disk.", nil, nil)
	waitingMetric = prometheus.NewDesc("relay_submission_waiting", "Messages that wait for their turn to be written to disk; more than 0 for long: the disk is too slow.", nil, nil)
	refusedMetric = prometheus.NewDesc("relay_submission_slow_disk_refusals_total", "How often a client was told to come again because too many messages waited for the disk.", nil, nil)
)

func (metrics) Describe(to chan<- *prometheus.Desc) {
	to <- storingMetric
	to <- waitingMetric
	to <- refusedMetric
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	var waiting, refused int
	m.press.note(func() { waiting, refused = m.press.waiting, m.press.refused })
	to <- prometheus.MustNewConstMetric(storingMetric, prometheus.GaugeValue, float64(len(m.press.place)))
	to <- prometheus.MustNewConstMetric(waitingMetric, prometheus.GaugeValue, float64(waiting))
	to <- prometheus.MustNewConstMetric(refusedMetric, prometheus.CounterValue, float64(refused))
}

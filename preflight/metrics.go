package preflight

import "github.com/prometheus/client_golang/prometheus"

// Metrics collects from the verdicts of the moment. Sender domains are no labels:
// there may be very many, and their names are nobody's business but the report's.
func (g *Gate) Metrics() prometheus.Collector { return metrics{g} }

type metrics struct{ gate *Gate }

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("relay_preflight_"+name, help, labels, nil)
}

var (
	statusMetric  = metric("status", "How a check ended: 0 pass, 1 fail, 2 unknown, 3 skip. source is empty for checks of the whole host.", "source", "id")
	verdictMetric = metric("verdict", "Verdict of a source: 0 pass, 1 fail, 2 unknown, 3 degraded.", "source")
	goodMetric    = metric("last_good_seconds", "Unix time at which all mandatory checks of a source were last seen to pass; absent while one never did.", "source")
	staleMetric   = metric("stale", "1 while a source's verdict rests on the last good answers because there are no new ones.", "source")
)

// statusNumbers are the meanings of the metrics' values. A skip and a degraded verdict share
// theirs: no metric knows both.
var statusNumbers = map[Status]float64{Pass: 0, Fail: 1, Unknown: 2, Skip: 3, Degraded: 3}

func (metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{statusMetric, verdictMetric, goodMetric, staleMetric} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	r := m.gate.Report()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, f := range r.HostFindings {
		gauge(statusMetric, statusNumbers[f.Status], "", f.Check.ID)
	}
	for _, v := range r.Sources {
		gauge(verdictMetric, statusNumbers[v.Status], v.Name)
		stale := 0.0
		if v.Stale {
			stale = 1
		}
		gauge(staleMetric, stale, v.Name)
		for _, f := range v.Findings {
			if f.Sender == "" {
				gauge(statusMetric, statusNumbers[f.Status], v.Name, f.Check.ID)
			}
		}
		if good, ok := lastGood(r.HostFindings, v.Findings); ok {
			gauge(goodMetric, float64(good), v.Name)
		}
	}
}

// lastGood is the Unix time of the mandatory finding that passed least recently;
// false when one never did. What is skipped for good is not asked of anybody.
func lastGood(groups ...[]Finding) (oldest int64, ok bool) {
	for _, fs := range groups {
		for _, f := range fs {
			if f.Sender != "" || f.Severity != Mandatory || f.Status == Skip && f.WaitsFor == "" {
				continue
			}
			if f.Good.IsZero() {
				return 0, false
			}
			if at := f.Good.Unix(); !ok || at < oldest {
				oldest, ok = at, true
			}
		}
	}
	return oldest, ok
}

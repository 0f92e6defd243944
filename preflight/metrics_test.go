package preflight

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	w := newGateWorld(t)
	w.plan.Sources = append(w.plan.Sources, Source{Name: "wan6", Bind: "2001:db8::25", EHLO: "mail.example.net"})
	if err := w.dns.Set(baseline, reverse, "$ORIGIN 8.b.d.0.1.0.0.2.ip6.arpa.\n@ 1 IN SOA ns1.example.net. h.example.net. 1 1 1 1 1\n@ 1 IN NS ns1.example.net.\n"); err != nil {
		t.Fatal(err)
	}
	w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = time.Hour, time.Hour
	g := w.gate(t, nil)
	if problems, err := testutil.CollectAndLint(g.Metrics()); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	verdicts := `
# HELP relay_preflight_verdict Verdict of a source: 0 pass, 1 fail, 2 unknown, 3 degraded.
# TYPE relay_preflight_verdict gauge
relay_preflight_verdict{source="wan4"} %d
relay_preflight_verdict{source="wan6"} 1
# HELP relay_preflight_stale 1 while a source's verdict rests on the last good answers because there are no new ones.
# TYPE relay_preflight_stale gauge
relay_preflight_stale{source="wan4"} %d
relay_preflight_stale{source="wan6"} 0
`
	compare := func(status, stale int) {
		t.Helper()
		if err := testutil.CollectAndCompare(g.Metrics(), strings.NewReader(fmt.Sprintf(verdicts, status, stale)), "relay_preflight_verdict", "relay_preflight_stale"); err != nil {
			t.Error(err)
		}
	}
	compare(0, 0)

	all := collect(t, g)
	for name, want := range map[string]float64{
		`relay_preflight_status DNS-REACHABLE `:   0,
		`relay_preflight_status PTR-EXISTS wan4`:  0,
		`relay_preflight_status PTR-EXISTS wan6`:  1,
		`relay_preflight_status IPV6-SOURCE wan4`: 3,
	} {
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	good := time.Unix(int64(all["relay_preflight_last_good_seconds wan4"]), 0)
	if d := time.Since(good); d < 0 || d > time.Minute {
		t.Errorf("wan4 was last good %s ago", d)
	}
	if _, ok := all["relay_preflight_last_good_seconds wan6"]; ok {
		t.Error("wan6 was never good")
	}
	for name := range all {
		if strings.Contains(name, "example.net") || strings.Contains(name, "SPF-SENDER") {
			t.Errorf("%s tells of a sender domain", name)
		}
	}

	if err := w.dns.Behave("2.0.192.in-addr.arpa", "servfail"); err != nil {
		t.Fatal(err)
	}
	g.look(t.Context(), errand{base: true, out: g.out})
	compare(0, 1)
	if again := collect(t, g)["relay_preflight_last_good_seconds wan4"]; again != all["relay_preflight_last_good_seconds wan4"] {
		t.Errorf("silence moved last good to %v", again)
	}
}

// collect as "name label values".
func collect(t *testing.T, g *Gate) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(g.Metrics())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() { // sorted by name
				key += " " + l.GetValue()
			}
			all[key] = m.GetGauge().GetValue()
		}
	}
	return all
}

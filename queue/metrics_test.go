package queue_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"smtprelay/queue"
)

func TestMetrics(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.put(queue.Message{}, "a.example", "b.example", "c.example")
		if _, err := w.store.Update(t.Context(), queue.Filter{Domain: "a.example"}, queue.Change{State: queue.Held}); err != nil {
			t.Fatal(err)
		}
		m := queue.Metrics(w.store)
		const want = `
# HELP relay_queue_messages Messages in the queue.
# TYPE relay_queue_messages gauge
relay_queue_messages 1
# HELP relay_queue_quarantined Damaged messages that were set aside.
# TYPE relay_queue_quarantined gauge
relay_queue_quarantined 0
# HELP relay_queue_recipients Recipients in the queue, by state. Held ones wait for the operator.
# TYPE relay_queue_recipients gauge
relay_queue_recipients{state="failed"} 0
relay_queue_recipients{state="held"} 1
relay_queue_recipients{state="waiting"} 2
`
		if err := testutil.CollectAndCompare(m, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		if ps, err := testutil.CollectAndLint(m); err != nil || len(ps) > 0 {
			t.Errorf("%v, %v", ps, err)
		}
	})
}

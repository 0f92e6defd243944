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
		m := queue.Metrics(w.store, queue.NewScheduler(w.store, w, w, queue.Options{}, w.log))
		const want = `
# HELP relay_queue_hosts_left_alone Sets of hosts that are left alone for a while after trouble upon trouble. The log names each.
# TYPE relay_queue_hosts_left_alone gauge
relay_queue_hosts_left_alone 0
# HELP relay_queue_maybe_duplicates_total Recipients who may get a message twice: we, or the remote's connection, ended between the final dot and the record of its reply. The log names each.
# TYPE relay_queue_maybe_duplicates_total counter
relay_queue_maybe_duplicates_total 0
# HELP relay_queue_messages Messages in the queue.
# TYPE relay_queue_messages gauge
relay_queue_messages 1
# HELP relay_queue_quarantined Messages set aside because they are damaged.
# TYPE relay_queue_quarantined gauge
relay_queue_quarantined 0
# HELP relay_queue_recipients Recipients in the queue, by state. Held ones wait for the operator.
# TYPE relay_queue_recipients gauge
relay_queue_recipients{state="failed"} 0
relay_queue_recipients{state="held"} 1
relay_queue_recipients{state="waiting"} 2
# HELP relay_queue_workers Deliveries under way, each with one connection at most.
# TYPE relay_queue_workers gauge
relay_queue_workers 0
# HELP relay_queue_workers_limit Deliveries that may be under way at once ([queue] workers).
# TYPE relay_queue_workers_limit gauge
relay_queue_workers_limit 1000
`
		if err := testutil.CollectAndCompare(m, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		if ps, err := testutil.CollectAndLint(m); err != nil || len(ps) > 0 {
			t.Errorf("%v, %v", ps, err)
		}
	})
}

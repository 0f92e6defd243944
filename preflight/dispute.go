package preflight

import (
	"fmt"
	"sync"
	"time"

	"smtprelay/preflight/dns"
)

// disputes remembers since when the servers of a zone that speak deny a failure that the
// resolver sees, while other servers are mute. It is kept between looks, not between
// runs of the program: one that starts begins to wait anew.
type disputes struct {
	mu sync.Mutex
	by map[string]dispute // by key of the finding
}

type dispute struct {
	until time.Time // what the resolver says by then, it has asked for since
	seen  time.Time
}

// disputeKept is how long one is remembered that is not seen again: longer than any
// two looks at a finding are apart.
const disputeKept = 24 * time.Hour

func newDisputes() *disputes { return &disputes{by: map[string]dispute{}} }

// settled notes a dispute, and tells whether it has outlived what the resolver held
// when it began. A zone may have a dead server for ever; the resolver's word, asked for
// afresh, then stands by itself.
func (d *disputes) settled(t *task, apart [][2]*dns.Answer, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, old := range d.by {
		if now.Sub(old.seen) > disputeKept {
			delete(d.by, key)
		}
	}
	key := t.finding.key()
	one, known := d.by[key]
	if !known {
		var life time.Duration
		for _, b := range apart {
			life = max(life, b[0].TTL, b[0].NegTTL)
		}
		one.until = now.Add(life)
	}
	one.seen = now
	d.by[key] = one
	return known && !now.Before(one.until)
}

// end of a dispute: the finding is clear.
func (d *disputes) end(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, t.finding.key())
}

// between is a finding while the resolver and a server that speaks say different
// things and others are mute.
func between(failed Result, resolver, server *dns.Answer) Result {
	r := failed
	r.Status = Unknown
	r.Found = fmt.Sprintf("%s: %s; %s says %s, the resolver %s", question(resolver), unheard(server), speaker(server), brief(server), brief(resolver))
	r.Remedy = Remedy{Title: "Find out why " + list(server.Mute) + " gives no answer", Who: "whoever runs " + list(server.Mute)}
	for _, host := range server.Mute {
		r.Remedy.Steps = append(r.Remedy.Steps, fmt.Sprintf("dig @%s %s %s +norecurse", host, resolver.Question, typeName(resolver.Type)))
	}
	return r
}

package queuetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"smtprelay/queue"
)

// model is what a store should hold, as simply as can be said. Delays are none
// or an hour, leases last an hour, so that time plays no part.
type model struct {
	rcpts  map[name]*rcpt
	leases map[string]queue.Lease // by destination
}

type name struct {
	id queue.ID
	n  int
}

type rcpt struct {
	domain string
	state  queue.State
	tries  int
	later  bool // due in an hour
	inHand bool
}

// due are the destinations that can be claimed.
func (m *model) due() []string {
	set := map[string]bool{}
	for _, r := range m.rcpts {
		if _, leased := m.leases[r.domain]; !leased && r.state == queue.Waiting && !r.later {
			set[r.domain] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (m *model) release(domain string) {
	delete(m.leases, domain)
	for _, r := range m.rcpts {
		if r.domain == domain && r.inHand {
			r.inHand, r.later = false, r.later && r.state != queue.Waiting
		}
	}
}

// walk makes random steps in store and model and compares them after each.
func walk(t *testing.T, s Crasher) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := &model{rcpts: map[name]*rcpt{}, leases: map[string]queue.Lease{}}
	for step := range 400 {
		var did string
		switch k := rng.IntN(20); {
		case k < 5:
			did = m.put(t, s, rng)
		case k < 9:
			did = m.claim(t, s)
		case k < 15:
			did = m.takeAndSettle(t, s, rng)
		case k < 17:
			did = m.releaseOne(t, s, rng)
		case k < 18:
			did = m.report(t, s)
		case k < 19:
			did = m.operate(t, s, rng)
		default:
			did = "crash"
			s = s.Crash(t)
			for _, d := range slices.Collect(maps.Keys(m.leases)) {
				m.release(d)
			}
		}
		if diff := m.diff(t, s); diff != "" {
			t.Fatalf("seed %d, step %d, %s: %s", seed, step, did, diff)
		}
	}
}

func (m *model) put(t *testing.T, s Crasher, rng *rand.Rand) string {
	var domains []string
	for range 1 + rng.IntN(4) {
		domains = append(domains, fmt.Sprintf("d%d.example", rng.IntN(4)))
	}
	id := put(t, s, domains...)
	for n, d := range domains {
		m.rcpts[name{id, n}] = &rcpt{domain: d, state: queue.Waiting}
	}
	return "put"
}

func (m *model) claim(t *testing.T, s Crasher) string {
	due := m.due()
	if len(due) == 0 {
		return "nothing to claim"
	}
	l := claim(t, s, time.Hour)
	if !slices.Contains(due, l.Destination) {
		t.Fatalf("claimed %s, due are %v", l.Destination, due)
	}
	m.leases[l.Destination] = l
	return "claim " + l.Destination
}

func (m *model) anyLease(rng *rand.Rand) (queue.Lease, bool) {
	ds := slices.Sorted(maps.Keys(m.leases))
	if len(ds) == 0 {
		return queue.Lease{}, false
	}
	return m.leases[ds[rng.IntN(len(ds))]], true
}

func (m *model) takeAndSettle(t *testing.T, s Crasher, rng *rand.Rand) string {
	l, ok := m.anyLease(rng)
	if !ok {
		return "no lease"
	}
	states := []queue.State{queue.Delivered, queue.Waiting, queue.Failed, queue.Held, "leave it"}
	var rs []queue.Result
	for _, j := range must[[]queue.Job](t)(s.Take(ctx, l, 1+rng.IntN(3))) {
		for _, r := range j.Recipients {
			k := name{j.Message.ID, r.N}
			x := m.rcpts[k]
			if x == nil || x.state != queue.Waiting || x.later || x.inHand || x.domain != l.Destination {
				t.Fatalf("%v was handed out: %+v", k, x)
			}
			x.inHand = true
			st := states[rng.IntN(len(states))]
			if st == "leave it" {
				continue
			}
			x.inHand = false
			x.state, x.tries, x.later = st, x.tries+1, st == queue.Waiting && rng.IntN(2) == 0
			res := queue.Result{ID: k.id, N: k.n, State: st, Attempt: &queue.Attempt{Outcome: queue.Deferred}}
			if x.later {
				res.Delay = time.Hour
			}
			rs = append(rs, res)
			if st == queue.Delivered {
				delete(m.rcpts, k)
			}
		}
	}
	if err := s.Settle(ctx, l, rs...); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("settle %d at %s", len(rs), l.Destination)
}

func (m *model) releaseOne(t *testing.T, s Crasher, rng *rand.Rand) string {
	l, found := m.anyLease(rng)
	if !found {
		return "no lease"
	}
	ok(t, s.Release(ctx, l, 0))
	m.release(l.Destination)
	return "release " + l.Destination
}

func (m *model) report(t *testing.T, s Crasher) string {
	var rs []queue.Result
	for _, j := range unreported(t, s) {
		for _, r := range j.Recipients {
			k := name{j.Message.ID, r.N}
			if x := m.rcpts[k]; x == nil || x.state != queue.Failed {
				t.Fatalf("%v is unreported: %+v", k, x)
			}
			delete(m.rcpts, k)
			rs = append(rs, queue.Result{ID: k.id, N: k.n, State: queue.Reported})
		}
	}
	ok(t, s.Reported(ctx, rs...))
	return fmt.Sprintf("report %d", len(rs))
}

func (m *model) operate(t *testing.T, s Crasher, rng *rand.Rand) string {
	f := queue.Filter{Domain: fmt.Sprintf("d%d.example", rng.IntN(4))}
	c := queue.Change{State: []queue.State{queue.Waiting, queue.Held, queue.Removed}[rng.IntN(3)]}
	changed := 0
	for k, x := range m.rcpts {
		legal := x.state != queue.Failed && (x.state == queue.Waiting || c.State != queue.Held)
		if x.domain != f.Domain || c.State != queue.Removed && !legal {
			continue
		}
		changed++
		x.state, x.later = c.State, false
		if c.State == queue.Removed {
			delete(m.rcpts, k)
		}
	}
	change(t, s, f, c, changed)
	return fmt.Sprintf("%s %s", c.State, f.Domain)
}

// diff compares; "" when store and model agree.
func (m *model) diff(t *testing.T, s Crasher) string {
	left := maps.Clone(m.rcpts)
	for e, err := range s.List(ctx, queue.Filter{}) {
		ok(t, err)
		for _, r := range e.Recipients {
			k := name{e.Message.ID, r.N}
			x := left[k]
			delete(left, k)
			switch {
			case x == nil:
				return fmt.Sprintf("%v is in the store but should not be", k)
			case x.state != r.State, x.tries != r.Tries, x.domain != r.Domain:
				return fmt.Sprintf("%v is %+v, should be %+v", k, r, x)
			case x.state == queue.Waiting && !x.inHand && x.later != (time.Until(r.Next) > time.Minute):
				return fmt.Sprintf("%v is due at %v, should be later: %v", k, r.Next, x.later)
			}
		}
	}
	for k := range left {
		return fmt.Sprintf("%v is not in the store", k)
	}
	return ""
}

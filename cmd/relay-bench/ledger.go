package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ledger has what became of each message of a run, and when. Times are nanoseconds
// since it was made; zero is never.
type ledger struct {
	begun   time.Time
	dotted  []int64        // the final dot was sent
	acked   []int64        // the 250 to it came
	arrived []atomic.Int64 // the sink has it
	expect  func(id int) bool
	left    atomic.Int64  // of those expected, how many have not arrived
	all     chan struct{} // they all have

	mu     sync.Mutex
	faults []error
	count  int // of faults
}

// newLedger for messages 0 to n-1, of which those that expect says shall arrive, once.
func newLedger(n int, expect func(id int) bool) *ledger {
	l := &ledger{begun: time.Now(), dotted: make([]int64, n), acked: make([]int64, n), arrived: make([]atomic.Int64, n), expect: expect, all: make(chan struct{})}
	l.left.Store(int64(l.expected()))
	if l.left.Load() == 0 {
		close(l.all)
	}
	return l
}

func (l *ledger) expected() (n int) {
	for id := range l.arrived {
		if l.expect(id) {
			n++
		}
	}
	return n
}

func (l *ledger) now() int64 { return max(1, int64(time.Since(l.begun))) }

// arrive books a message at the sink.
func (l *ledger) arrive(id int) {
	switch {
	case id >= len(l.arrived):
		l.fault(fmt.Errorf("message %d arrived; only %d were sent", id, len(l.arrived)))
	case !l.expect(id):
		l.fault(fmt.Errorf("message %d arrived where it was refused", id))
	case !l.arrived[id].CompareAndSwap(0, l.now()):
		l.fault(fmt.Errorf("message %d arrived twice", id))
	case l.left.Add(-1) == 0:
		close(l.all)
	}
}

// fault remembers the first few.
func (l *ledger) fault(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count++; l.count <= 5 {
		l.faults = append(l.faults, err)
	}
}

// errUnsound is a run whose figures do not count: mail was doubled or changed.
var errUnsound = errors.New("mail was doubled or changed")

// sound says whether the run is not one of those.
func (l *ledger) sound() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == 0 {
		return nil
	}
	return fmt.Errorf("%w, %d times: %w", errUnsound, l.count, errors.Join(l.faults...))
}

// acks is how long each message waited for its 250, sorted.
func (l *ledger) acks() []time.Duration {
	var all []time.Duration
	for id, t := range l.acked {
		if t != 0 {
			all = append(all, time.Duration(t-l.dotted[id]))
		}
	}
	slices.Sort(all)
	return all
}

// arrivals is how long each message took from its final dot to the sink, sorted. One that
// was there before the generator's clock said that it had gone took nothing.
func (l *ledger) arrivals() []time.Duration {
	var all []time.Duration
	for id := range l.arrived {
		if t := l.arrived[id].Load(); t != 0 {
			all = append(all, time.Duration(max(0, t-l.dotted[id])))
		}
	}
	slices.Sort(all)
	return all
}

// lastAck and lastArrival are when the last of them came, firstArrival is when the first did.
func (l *ledger) lastAck() time.Duration { return time.Duration(slices.Max(l.acked)) }

func (l *ledger) lastArrival() (last time.Duration) {
	for i := range l.arrived {
		last = max(last, time.Duration(l.arrived[i].Load()))
	}
	return last
}

func (l *ledger) firstArrival() time.Duration {
	first := int64(0)
	for i := range l.arrived {
		if t := l.arrived[i].Load(); t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	return time.Duration(first)
}

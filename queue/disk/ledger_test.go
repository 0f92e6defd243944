package disk

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// ledger is what a client was told and what is under way: the oracle of the
// crash tests. A message is known by its tag (its Message-ID), for a crash may
// come before we know the ID.
type ledger struct {
	mu    sync.Mutex
	facts map[string]*fact
}

type fact struct {
	body []byte
	// legal are the states each recipient may be in after a crash now. What was
	// acknowledged leaves one; what is under way two.
	legal []map[queue.State]bool
	whole bool // all of its recipients are there or none: the commit is under way
}

const absent queue.State = "" // not in the store

func newLedger() *ledger { return &ledger{facts: map[string]*fact{}} }

// begin notes that a message is being committed, or acknowledged.
func (l *ledger) begin(tag string, body []byte, n int, states ...queue.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &fact{body: body, whole: len(states) > 1}
	for range n {
		f.legal = append(f.legal, legal(states...))
	}
	l.facts[tag] = f
}

// rcpt notes what the states of one recipient may be from now on.
func (l *ledger) rcpt(tag string, n int, states ...queue.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts[tag].legal[n] = legal(states...)
}

// also notes that another state became possible.
func (l *ledger) also(tag string, n int, s queue.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts[tag].legal[n][s] = true
}

func legal(states ...queue.State) map[queue.State]bool {
	set := map[queue.State]bool{}
	for _, s := range states {
		set[s] = true
	}
	return set
}

// copy is the ledger at this moment.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLedger()
	for tag, f := range l.facts {
		g := &fact{body: f.body, whole: f.whole}
		for _, set := range f.legal {
			g.legal = append(g.legal, maps.Clone(set))
		}
		c.facts[tag] = g
	}
	return c
}

// check opens the store on what a crash left and names what it should not hold,
// or should.
func (l *ledger) check(fs vfs.FS) (wrong []string) {
	var fatal []string
	s, err := Open(fs, "queue", Options{patience: time.Hour, Fatal: func(err error) { fatal = append(fatal, err.Error()) }})
	if err != nil {
		return []string{err.Error()}
	}
	defer s.Close()
	there := map[string]*queue.Entry{}
	for e, err := range s.List(ctx, queue.Filter{}) {
		if err != nil {
			return []string{err.Error()}
		}
		there[e.Message.MessageID] = &e
	}
	for tag := range there {
		if l.facts[tag] == nil {
			wrong = append(wrong, tag+" comes from nowhere")
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(l.facts)) {
		if err := l.facts[tag].check(s, there[tag]); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", tag, err))
		}
	}
	if s.quarantined > 0 {
		wrong = append(wrong, fmt.Sprintf("%d messages in quarantine", s.quarantined))
	}
	return append(wrong, fatal...)
}

func (f *fact) check(s *Store, e *queue.Entry) error {
	states := make([]queue.State, len(f.legal))
	if e != nil {
		for _, r := range e.Recipients {
			states[r.N] = r.State
		}
	}
	for n, st := range states {
		if !f.legal[n][st] {
			return fmt.Errorf("recipient %d is %q, may be %v", n, st, slices.Sorted(maps.Keys(f.legal[n])))
		}
	}
	if e == nil {
		return nil
	}
	if f.whole && len(e.Recipients) != len(f.legal) {
		return fmt.Errorf("%d of %d recipients are there", len(e.Recipients), len(f.legal))
	}
	b, err := s.Body(ctx, e.Message.ID)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err == nil && !bytes.Equal(got, f.body) {
		err = fmt.Errorf("body of %d octets is not the one of %d octets that was written", len(got), len(f.body))
	}
	return err
}

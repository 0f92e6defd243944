package disk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"smtprelay/queue"
)

// The index is filled beside the work: as soon as Pebble is open and the newest ID
// is known, mail is accepted, and what is in the index already is handed out. A
// message that is not in it yet is one that nobody can touch; it is put in with all
// its recipients at once, or, if one of them is damaged, put away.
//
// What needs to know all (Desk, Wake, Unreported) waits.

// patience is how long Open waits for the index, so that for all but very large
// queues it is there when Open returns.
const patience = 500 * time.Millisecond

// loading is how far it is.
type loading struct {
	newest uint64           // what came after it was not there when we began
	marked map[rcptName]int // tries of those that may have been sent (readMarks)
	whole  chan struct{}    // closed when all is in the index
	over   chan struct{}    // closed when the bodies are swept too, or it failed
	err    error            // why it failed
	left   atomic.Bool      // it is over, or Open has not waited for it: whichever came first
}

type rcptName struct {
	id uint64
	n  uint32
}

// loaded waits so long for the loading to end, and says whether it did.
func (s *Store) loaded(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.loading.over:
		return true
	case <-t.C:
		return false
	}
}

func (s *Store) isWhole() bool {
	select {
	case <-s.loading.whole:
		return true
	default:
		return false
	}
}

// whole waits until the index is.
func (s *Store) whole(ctx context.Context) error {
	if s.isWhole() {
		return nil
	}
	select {
	case <-s.loading.whole:
		return nil
	case <-s.ill:
		return s.health()
	case <-s.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newest reads the newest ID that was given, as far as it can be told without
// reading everything. Where something is damaged, all is read before anything is
// accepted.
func (s *Store) newest() error {
	lower, upper := span(rcptSpace)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		if id, _, ok := parseRcptKey(it.Key()); ok {
			v, _ := parseID(string(id))
			s.ids.seen(v)
			break
		}
	}
	if err = it.Close(); pebble.IsCorruptionError(err) {
		s.hurt()
	} else if err != nil {
		return err
	}
	s.loading.newest = s.ids.newest()
	if s.hurting.Load() {
		s.loading.newest = maxID
	}
	return nil
}

// load fills the index, and then tidies up. While Open waits for it an error is
// Open's; later the store fails.
func (s *Store) load() {
	defer close(s.loading.over)
	done, err := s.use()
	if err == nil {
		defer done()
		err = s.fill()
	}
	if err == nil {
		close(s.loading.whole)
		s.loading.marked = nil
		err = errors.Join(s.sweep(), s.renewMarks())
	}
	s.loading.err = err
	if openWaits := s.loading.left.CompareAndSwap(false, true); openWaits || err == nil || errors.Is(err, errClosed) {
		return
	}
	_ = s.fail(fmt.Errorf("read queue: %w", err))
}

// fill reads all recipients, in several parts at once.
func (s *Store) fill() error {
	var wg sync.WaitGroup
	parts := s.parts()
	errs := make([]error, len(parts))
	for i, p := range parts {
		wg.Go(func() { errs[i] = s.fillPart(p) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if pebble.IsCorruptionError(err) {
		s.hurt()
		return s.salvage()
	}
	return err
}

// part is the messages from one ID to another, both included.
type part struct{ from, to uint64 }

// parts divides what there is for as many processors as there are. IDs tell the
// time, so that is not just, but mostly good enough.
func (s *Store) parts() (ps []part) {
	to := s.loading.newest
	lower, upper := span(rcptSpace)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return []part{{0, to}}
	}
	first := to
	if it.First() {
		if id, _, ok := parseRcptKey(it.Key()); ok {
			first, _ = parseID(string(id))
		}
	}
	_ = it.Close() // damage is found again
	n := uint64(runtime.GOMAXPROCS(0))
	if first >= to || to-first < n {
		return []part{{0, to}}
	}
	from := uint64(0)
	for i := uint64(1); i < n; i++ {
		mid := first + (to-first)/n*i
		ps = append(ps, part{from, mid})
		from = mid + 1
	}
	return append(ps, part{from, to})
}

// fillPart reads the recipients of some messages.
func (s *Store) fillPart(p part) error {
	if p.from > p.to {
		return nil
	}
	_, upper := span(rcptSpace + string(formatID(p.to)) + "/")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(rcptSpace + string(formatID(p.from))), UpperBound: upper})
	if err != nil {
		return err
	}
	a := admission{s: s}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		id, n, known := parseRcptKey(it.Key())
		if !known {
			s.log.Warn("foreign record left alone", "err", fmt.Sprintf("key %q", it.Key()))
			continue
		}
		err = a.add(id, n, it.Value())
	}
	err = errors.Join(err, it.Error())
	if err == nil {
		err = a.end()
	} else {
		// The message that it broke off in may have more recipients.
		err = errors.Join(a.flush(), err)
	}
	return errors.Join(err, it.Close())
}

// admission puts messages into the index, many at a time.
type admission struct {
	s     *Store
	ready []admitted
	next  admitted // whose recipients are being read
	bad   error    // of next
}

type admitted struct {
	id        uint64
	name      queue.ID
	submitter string
	file      bool
	rcpts     []newcomer
}

// atOnce messages are put into the index before somebody else has his turn.
const atOnce = 64

// add adds the record of a recipient; those of a message follow each other.
func (a *admission) add(id queue.ID, n int, v []byte) error {
	key, ok := parseID(string(id))
	if !ok {
		return nil // parseRcptKey knows better
	}
	if key != a.next.id {
		if err := a.close(); err != nil {
			return err
		}
		a.next = admitted{id: key, name: id}
	}
	var h rcptHead
	err := parseRecipient(&h, key, n, v)
	switch {
	case errors.Is(err, queue.ErrDamaged):
		a.bad = err
		return nil
	case err != nil:
		return fmt.Errorf("record %s: %w", rcptKey(id, n), err)
	}
	a.next.submitter, a.next.file = string(h.submitter), h.file
	a.next.rcpts = append(a.next.rcpts, newcomer{
		n: n, domain: string(h.domain), state: h.state, tries: h.tries, awaits: string(h.awaits),
		due: due(h.next, h.delay, a.s.ran.now(), time.Now()),
	})
	return nil
}

// close ends a message.
func (a *admission) close() error {
	x, bad := a.next, a.bad
	a.next, a.bad = admitted{}, nil
	switch {
	case bad != nil:
		return a.s.putAway(x.name, bad)
	case len(x.rcpts) > 0:
		a.ready = append(a.ready, x)
	}
	if len(a.ready) < atOnce {
		return nil
	}
	return a.flush()
}

func (a *admission) end() error {
	return errors.Join(a.close(), a.flush())
}

// flush puts what has been read into the index.
func (a *admission) flush() error {
	select {
	case <-a.s.stop:
		return errClosed
	default:
	}
	twice := 0
	for i := range a.ready {
		twice += a.s.mayComeTwice(&a.ready[i])
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for i := range a.ready {
		x := &a.ready[i]
		a.s.ids.seen(x.id)
		a.s.index.add(x.id, x.submitter, x.file, x.rcpts)
	}
	a.s.twice += twice
	a.ready = a.ready[:0]
	return nil
}

// putAway isolates a message that is not in the index.
func (s *Store) putAway(id queue.ID, why error) error {
	v, _ := parseID(string(id))
	s.locks.lock(v)
	defer s.locks.unlock(v)
	return s.isolate(id, why)
}

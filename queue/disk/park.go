package disk

import (
	"context"
	"maps"
	"slices"
	"time"

	"smtprelay/queue"
)

// What waits for the preflight may be very much, and may wait for long: it is
// put off and woken in the index alone.

// awaited is what waits for what, by the numbers of what is awaited. A list may
// also name recipients that have ceased to wait, and some of them twice.
type awaited struct {
	names
	lists map[uint32][]ref
}

// park notes what a waiting recipient waits for.
func (x *index) park(r ref, awaited string) {
	it := x.at(r)
	if it.state != waiting || awaited == "" {
		return
	}
	it.await = x.awaited.take(awaited)
	x.enlist(r, it.await)
}

func (x *index) enlist(r ref, no uint32) {
	a := &x.awaited
	if a.lists == nil {
		a.lists = map[uint32][]ref{}
	}
	l := append(a.lists[no], r)
	if len(l) > 2*a.names.names[no].users+16 {
		slices.Sort(l)
		l = slices.Compact(l)
		l = slices.DeleteFunc(l, func(r ref) bool { return r > x.used || x.at(r).await != no })
	}
	a.lists[no] = l
}

// unpark: it waits for nothing but its time.
func (x *index) unpark(r ref) {
	it := x.at(r)
	x.letGo(it.await)
	it.await = 0
}

// letGo ends one use of the number of something awaited.
func (x *index) letGo(no uint32) {
	if x.awaited.drop(no) {
		delete(x.awaited.lists, no)
	}
}

// rouse makes a recipient due that waits for this, if it still does; its destination
// has to be refitted then. What a worker has in hand he will put off or not by himself.
func (x *index) rouse(r ref, no uint32, now time.Duration) bool {
	if r > x.used { // all is gone
		return false
	}
	it := x.at(r)
	switch {
	case it.await != no:
		return false
	case it.where == inTaken:
		x.enlist(r, no)
		return false
	case it.where != inWaiting:
		x.unpark(r)
		return false
	}
	d := x.destOf(it)
	x.unpark(r)
	x.out(r)
	it.due = min(it.due, now)
	x.ready(d, r)
	return true
}

// Park puts recipients off. What the operator held meanwhile stays held.
func (s *Store) Park(_ context.Context, l queue.Lease, rs ...queue.Result) error {
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.leased(l); err != nil {
		return err
	}
	x, last := &s.index, ref(0)
	for _, q := range rs {
		id, _ := parseID(string(q.ID))
		_, r := x.seek(last, id, q.N)
		if last = r; r == 0 { // removed meanwhile
			continue
		}
		it := x.at(r)
		if !s.isTaken(it, l) {
			continue
		}
		x.place(r, it.state, s.ran.now()+q.Delay, int(it.tries))
		if q.Attempt != nil {
			x.park(r, q.Attempt.Awaits)
		}
	}
	return nil
}

// Wake asks come without holding anything up. What is not in the index yet may
// wait for it too, so it waits until it is.
func (s *Store) Wake(ctx context.Context, come func(awaited string) bool) error {
	if err := s.whole(ctx); err != nil {
		return err
	}
	done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.index.awaited.by))
	s.mu.Unlock()
	for _, awaited := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if come(awaited) {
			if err := s.rouse(ctx, awaited); err != nil {
				return err
			}
		}
	}
	return nil
}

// atATime is how much mail is woken before somebody else has his turn.
const atATime = 500

// rouse makes due what waits for this, and what begins to wait meanwhile not.
func (s *Store) rouse(ctx context.Context, awaited string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.index
	no, ok := x.awaited.by[awaited]
	if !ok {
		return nil
	}
	x.awaited.take(awaited) // so that the number stays its own
	defer x.letGo(no)
	all := x.awaited.lists[no]
	delete(x.awaited.lists, no)
	woken := map[*destination]struct{}{}
	for n, r := range all {
		if n%atATime == atATime-1 {
			x.refit(woken)
			s.mu.Unlock()
			err := ctx.Err()
			s.mu.Lock()
			if err != nil {
				// Those that were not woken wait on.
				x.awaited.lists[no] = append(x.awaited.lists[no], all[n:]...)
				x.refit(woken)
				return err
			}
		}
		if x.rouse(r, no, s.ran.now()) {
			woken[x.destOf(x.at(r))] = struct{}{}
		}
	}
	x.refit(woken)
	return nil
}

// refit puts destinations where they belong in the agenda.
func (x *index) refit(ds map[*destination]struct{}) {
	for d := range ds {
		x.fix(d)
	}
	clear(ds)
}

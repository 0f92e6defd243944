package disk

import (
	"container/heap"
	"math"
	"slices"
	"strings"
	"time"

	"smtprelay/queue"
)

// The index says what is due when. It lives in memory and is rebuilt after open;
// its times are of the clock of the time we ran. Store.mu guards all of it. It is
// made for very many recipients: they lie side by side, 48 octets each, and refer
// to each other by number, so that there is nothing in them for the garbage
// collector to follow.

// ref is a recipient of the index; 0 is none. It counts while Store.mu is held.
type ref uint32

// item is a recipient in the store.
type item struct {
	id    uint64        // its message
	due   time.Duration // Waiting: when
	n     uint32
	next  ref    // the message's next recipient, by n; or the next unused item
	pos   uint32 // in the pile it is in
	dest  uint32
	sub   uint32 // the message's submitter
	await uint32 // Attempt.Awaits of the last, Waiting
	tries uint16 // as many as that and more are the same
	state byte
	where byte // the pile it is in
	file  bool // the message's body is a file
}

// The piles of an item.
const (
	nowhere   = iota
	inWaiting // of its destination, for its time
	inReady   // of its destination: due
	inTaken   // of its destination: in the hands of who has the lease
	inFailed
)

// The states of an item, as they are stored.
const (
	_ = iota
	waiting
	held
	failed
)

func countTries(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// slabSize items are allocated at once.
const slabSize = 4096

// slab holds the items.
type slab struct {
	parts []*[slabSize]item
	used  ref // how many were ever used; the first is not
	free  ref // the first unused one of those; they are linked
}

func (s *slab) at(r ref) *item { return &s.parts[r/slabSize][r%slabSize] }

func (s *slab) alloc() ref {
	if r := s.free; r != 0 {
		s.free = s.at(r).next
		return r
	}
	if s.used++; int(s.used/slabSize) >= len(s.parts) {
		s.parts = append(s.parts, new([slabSize]item))
	}
	return s.used
}

func (s *slab) release(r ref) {
	*s.at(r) = item{next: s.free}
	s.free = r
}

// destination is where mail goes together.
type destination struct {
	name     string
	no       uint32
	items    int    // how many refer to it
	waiting  pile   // by time
	lines    []line // due already, by submitter
	served   uint32 // whose line it was last
	taken    pile
	token    uint64        // of the lease; 0: none
	until    time.Duration // when the lease runs out
	released time.Duration // not claimed before; when the last lease ended, for those who waited longer go first
	at       time.Duration // when Claim has to look at it
	pos      int           // in agenda; -1: not there
	spare    pile          // an empty one, for the next line
}

// line is what is due of one submitter, by arrival. There is none that is empty.
type line struct {
	sub uint32
	pile
}

const never = time.Duration(math.MaxInt64)

// next is when Claim has to look at the destination.
func (x *index) next(d *destination) time.Duration {
	first := never
	switch {
	case len(d.lines) > 0:
		first = x.at(d.lines[d.turn()].pile[0]).due
	case len(d.waiting) > 0:
		first = x.at(d.waiting[0]).due
	case len(d.taken) > 0:
		first = 0
	}
	switch {
	case first == never:
		return never
	case d.token != 0:
		return max(first, d.until)
	}
	return max(first, d.released)
}

// turn is whose line it is: the one after that which was served last. There is one.
func (d *destination) turn() int {
	i, _ := d.line(d.served + 1)
	return i % len(d.lines)
}

// line finds the line of a submitter, or where it belongs.
func (d *destination) line(sub uint32) (int, bool) {
	return slices.BinarySearchFunc(d.lines, sub, func(l line, sub uint32) int { return int(l.sub) - int(sub) })
}

// agenda is the heap of destinations with something to do.
type agenda []*destination

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].pos, a[j].pos = i, j
}
func (a *agenda) Push(x any) {
	d := x.(*destination)
	d.pos = len(*a)
	*a = append(*a, d)
}
func (a *agenda) Pop() any {
	last := len(*a) - 1
	d := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	d.pos = -1
	return d
}

// index is the sum, with counts.
type index struct {
	slab
	roll    roll
	named   map[string]*destination
	dests   []*destination // by number; nil: none
	unused  []uint32       // numbers
	agenda  agenda
	failed  pile
	subs    names
	awaited awaited
	count   [len(stateCodes)]int
	waiters int           // calls of Claim that wait
	changed chan struct{} // closed when they may have to wait less long
}

func newIndex() index {
	return index{named: map[string]*destination{}, dests: make([]*destination, 1), changed: make(chan struct{})}
}

// newcomer is what the index is told of a recipient.
type newcomer struct {
	n      int
	domain string
	state  byte
	due    time.Duration
	tries  int
	awaits string
}

// add puts a message into the index, with its recipients in the order of n.
func (x *index) add(id uint64, submitter string, file bool, all []newcomer) {
	var last ref
	for i := range all {
		q := &all[i]
		r, d := x.alloc(), x.dest(q.domain)
		*x.at(r) = item{id: id, n: uint32(q.n), dest: d.no, sub: x.subs.take(submitter), tries: countTries(q.tries), file: file}
		d.items++
		if last == 0 {
			x.roll.put(id, r)
		} else {
			x.at(last).next = r
		}
		last = r
		x.place(r, q.state, q.due, q.tries)
		x.park(r, q.awaits)
	}
}

// seek finds a recipient, 0 when it is not there, and the one before it in its
// message, 0 when it is the first. It begins at from if that is one of the same
// message with a lower n: who looks for many in their order gives the last he found.
func (x *index) seek(from ref, id uint64, n int) (before, r ref) {
	if from != 0 && x.at(from).id == id && int(x.at(from).n) < n {
		before, r = from, x.at(from).next
	} else {
		r = x.roll.find(id)
	}
	for r != 0 && int(x.at(r).n) < n {
		before, r = r, x.at(r).next
	}
	if r != 0 && int(x.at(r).n) != n {
		r = 0
	}
	return before, r
}

// rcpts goes through the recipients of a message.
func (x *index) rcpts(head ref) func(yield func(ref, *item) bool) {
	return func(yield func(ref, *item) bool) {
		for r := head; r != 0; {
			it := x.at(r)
			next := it.next
			if !yield(r, it) {
				return
			}
			r = next
		}
	}
}

// page returns messages that a filter may select and that arrived after this
// one, some of the next, and after which to go on; 0 when there are no more.
func (x *index) page(after uint64, f queue.Filter) (ids []uint64, last uint64) {
	const most, far = 256, 4096 // so as to hold up nobody for long
	want, ok := x.want(f)
	if !ok {
		return nil, 0
	}
	seen := 0
	for id, head := range x.roll.after(after) {
		if len(ids) == most || seen == far {
			return ids, last
		}
		seen++
		last = id
		for _, it := range x.rcpts(head) {
			if want.matches(it) {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids, 0
}

// want is what the index knows of whether a filter selects a recipient.
type want struct {
	state byte // 0: any
	dest  uint32
}

// want returns false when there is nothing that a filter selects.
func (x *index) want(f queue.Filter) (w want, ok bool) {
	if f.Domain != "" {
		d := x.named[f.Domain]
		if d == nil {
			return w, false
		}
		w.dest = d.no
	}
	if f.State != "" {
		if w.state = stateCode(f.State); w.state == 0 {
			return w, false
		}
	}
	return w, true
}

func (w want) matches(it *item) bool {
	return (w.state == 0 || it.state == w.state) && (w.dest == 0 || it.dest == w.dest)
}

// dest returns the destination of that name, a new one when there is none.
func (x *index) dest(name string) *destination {
	d := x.named[name]
	if d != nil {
		return d
	}
	d = &destination{name: strings.Clone(name), pos: -1} // not what it may be a part of
	if n := len(x.unused); n > 0 {
		d.no, x.unused = x.unused[n-1], x.unused[:n-1]
	} else {
		d.no = uint32(len(x.dests))
		x.dests = append(x.dests, nil)
	}
	x.dests[d.no], x.named[d.name] = d, d
	return d
}

func (x *index) destOf(it *item) *destination { return x.dests[it.dest] }

// out takes a recipient out of the pile it is in.
func (x *index) out(r ref) {
	it := x.at(r)
	d := x.destOf(it)
	switch it.where {
	case inWaiting:
		x.cut(&d.waiting, int(it.pos), byDue)
	case inReady:
		x.leaveLine(d, it)
	case inTaken:
		x.cut(&d.taken, int(it.pos), nil)
	case inFailed:
		x.cut(&x.failed, int(it.pos), nil)
	}
	it.where = nowhere
}

// await puts a recipient where it waits for its time.
func (x *index) await(d *destination, r ref) {
	x.push(&d.waiting, r, byDue)
	x.at(r).where = inWaiting
}

// ready puts a recipient into its line.
func (x *index) ready(d *destination, r ref) {
	it := x.at(r)
	i, ok := d.line(it.sub)
	if !ok {
		d.lines = slices.Insert(d.lines, i, line{it.sub, d.spare})
		d.spare = nil
	}
	x.push(&d.lines[i].pile, r, byArrival)
	it.where = inReady
}

// leaveLine takes a recipient out of its line.
func (x *index) leaveLine(d *destination, it *item) {
	i, _ := d.line(it.sub)
	l := &d.lines[i]
	x.cut(&l.pile, int(it.pos), byArrival)
	if len(l.pile) == 0 {
		d.spare = l.pile
		d.lines = slices.Delete(d.lines, i, i+1)
	}
}

// fail puts a recipient where those are of whom nobody has been told.
func (x *index) fail(r ref) {
	x.push(&x.failed, r, nil)
	x.at(r).where = inFailed
}

// take hands out the oldest message of whose line it is, to those of its recipients
// at d that are due, in their order. There is one.
func (x *index) take(d *destination) (id uint64, ns []int) {
	i := d.turn()
	sub := d.lines[i].sub
	d.served = sub
	id = x.at(d.lines[i].pile[0]).id
	for i < len(d.lines) && d.lines[i].sub == sub && x.at(d.lines[i].pile[0]).id == id {
		r := d.lines[i].pile[0]
		it := x.at(r)
		x.leaveLine(d, it)
		x.push(&d.taken, r, nil)
		it.where = inTaken
		ns = append(ns, int(it.n))
	}
	return id, ns
}

// lift takes a recipient out of wherever it is.
func (x *index) lift(r ref) {
	x.out(r)
	x.unpark(r)
	if it := x.at(r); it.state != 0 {
		x.count[it.state]--
		it.state = 0
	}
}

// place moves a recipient to a state and out of any lease.
func (x *index) place(r ref, state byte, due time.Duration, tries int) {
	x.lift(r)
	it := x.at(r)
	d := x.destOf(it)
	it.state, it.due, it.tries = state, due, countTries(tries)
	x.count[state]++
	switch state {
	case waiting:
		x.await(d, r)
	case failed:
		x.fail(r)
	}
	x.fix(d)
}

// touch is place for the operator: what a worker has in hand stays there.
func (x *index) touch(r ref, state byte, due time.Duration, _ int) {
	it := x.at(r)
	if it.where != inTaken {
		if d := x.destOf(it); state == waiting && d.token == 0 {
			d.released = min(d.released, due) // he does not want it left alone
		}
		x.place(r, state, due, int(it.tries))
		return
	}
	x.count[it.state]--
	x.count[state]++
	it.state, it.due = state, due
}

// drop takes a recipient out of the index, and its message with the last one. before
// is the one before it, as seek found it.
func (x *index) drop(before, r ref) {
	x.lift(r)
	it := x.at(r)
	d := x.destOf(it)
	switch {
	case before != 0:
		x.at(before).next = it.next
	case it.next != 0:
		x.roll.put(it.id, it.next)
	default:
		x.roll.remove(it.id)
	}
	x.subs.drop(it.sub)
	x.release(r)
	d.items--
	x.fix(d)
	if x.roll.size == 0 {
		x.slab = slab{} // what a great many took is given back
	}
}

// fix puts the destination where it belongs in the agenda, forgets it when
// nothing refers to it, and wakes Claim when it has to wait less long now.
func (x *index) fix(d *destination) {
	before := never
	if len(x.agenda) > 0 {
		before = x.agenda[0].at
	}
	d.at = x.next(d)
	switch {
	case d.at == never:
		if d.pos >= 0 {
			heap.Remove(&x.agenda, d.pos)
		}
		if d.token == 0 && d.items == 0 && x.dests[d.no] == d {
			x.dests[d.no] = nil
			x.unused = append(x.unused, d.no)
			delete(x.named, d.name)
		}
		return
	case d.pos < 0:
		heap.Push(&x.agenda, d)
	default:
		heap.Fix(&x.agenda, d.pos)
	}
	if x.agenda[0].at < before {
		x.wake()
	}
}

func (x *index) wake() {
	if x.waiters == 0 {
		return
	}
	close(x.changed)
	x.changed = make(chan struct{})
}

// vacate ends a destination's lease; what was taken is due again. It is not claimed
// before then.
func (x *index) vacate(d *destination, then time.Duration) {
	d.token, d.released = 0, then
	for _, r := range d.taken {
		it := x.at(r)
		it.where = nowhere
		switch it.state { // the operator may have put it off meanwhile, or given it up
		case waiting:
			x.await(d, r)
		case failed:
			x.fail(r)
		}
	}
	d.taken = d.taken[:0]
	x.fix(d)
}

// ripeAtOnce is how much mail is made due before somebody else has his turn.
const ripeAtOnce = 4096

// ripen makes due what has waited for its time, or, if that is very much, what
// waited longest; not a part of a message.
func (x *index) ripen(d *destination, now time.Duration) {
	last := uint64(0)
	for n := 0; len(d.waiting) > 0; n++ {
		first := x.at(d.waiting[0])
		if first.due > now || n >= ripeAtOnce && first.id != last {
			return
		}
		last = first.id
		x.ready(d, x.cut(&d.waiting, 0, byDue))
	}
}

package disk

import (
	"container/heap"
	"math"
	"slices"
	"strings"
	"time"
)

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

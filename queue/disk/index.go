package disk

import "time"

// The index says what is due when. It lives in memory and is rebuilt after open;
// its times are of the clock of the time we ran. Store.mu guards all of it. It is
// made for very many recipients: they lie side by side, 48 octets each, and refer
// to each other by number, so that there is nothing in them for the garbage
// collector to follow.

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

// fail puts a recipient where those are of whom nobody has been told.
func (x *index) fail(r ref) {
	x.push(&x.failed, r, nil)
	x.at(r).where = inFailed
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

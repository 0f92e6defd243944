package disk

import (
	"container/heap"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"smtprelay/queue"
)

// The index says what is due when. It lives in memory and is rebuilt at open;
// its times are of the clock of the time we ran. Store.mu guards all of it.

// entry is a message in the store. Its mutex is held while its records are
// read, changed and written; it is taken before Store.mu.
type entry struct {
	mu    sync.Mutex
	id    queue.ID
	items []*item // by n
}

// item is a recipient in the store.
type item struct {
	e     *entry
	d     *destination
	n     int
	state queue.State
	due   time.Duration // Waiting: when
	token uint64        // the lease it was taken under; 0: none
	tries int
	await string // Attempt.Awaits of the last, Waiting
	where *pile  // waiting or ready of d, or nil
	pos   int    // in where
}

// byID sorts entries in the order of arrival.
func byID(es []*entry) {
	slices.SortFunc(es, func(a, b *entry) int { return strings.Compare(string(a.id), string(b.id)) })
}

func (e *entry) find(n int) *item {
	i, ok := slices.BinarySearchFunc(e.items, n, func(it *item, n int) int { return it.n - n })
	if !ok {
		return nil
	}
	return e.items[i]
}

// pile is a heap of items.
type pile struct {
	items []*item
	less  func(a, b *item) bool
}

func byDue(a, b *item) bool { return a.due < b.due }

func byArrival(a, b *item) bool {
	return a.e.id < b.e.id || a.e.id == b.e.id && a.n < b.n
}

func (p *pile) Len() int           { return len(p.items) }
func (p *pile) Less(i, j int) bool { return p.less(p.items[i], p.items[j]) }
func (p *pile) Swap(i, j int) {
	p.items[i], p.items[j] = p.items[j], p.items[i]
	p.items[i].pos, p.items[j].pos = i, j
}
func (p *pile) Push(x any) {
	it := x.(*item)
	it.where, it.pos = p, len(p.items)
	p.items = append(p.items, it)
}
func (p *pile) Pop() any {
	last := len(p.items) - 1
	it := p.items[last]
	p.items[last] = nil
	p.items = p.items[:last]
	it.where = nil
	return it
}

// destination is where mail goes together.
type destination struct {
	name     string
	waiting  pile // by time
	ready    pile // due already, by arrival
	taken    map[*item]struct{}
	token    uint64        // of the lease; 0: none
	until    time.Duration // when the lease runs out
	released time.Duration // not claimed before; when the last lease ended, for those who waited longer go first
	at       time.Duration // when Claim has to look at it
	pos      int           // in agenda; -1: not there
}

const never = time.Duration(math.MaxInt64)

// next is when Claim has to look at the destination.
func (d *destination) next() time.Duration {
	first := never
	switch {
	case len(d.ready.items) > 0:
		first = d.ready.items[0].due
	case len(d.waiting.items) > 0:
		first = d.waiting.items[0].due
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
	entries map[queue.ID]*entry
	order   []*entry // by arrival; also some that are gone, without items
	gone    int      // how many
	dests   map[string]*destination
	agenda  agenda
	failed  map[*item]struct{}
	awaits  map[string]map[*item]struct{} // by item.await
	count   map[queue.State]int
	waiters int           // calls of Claim that wait
	changed chan struct{} // closed when they may have to wait less long
}

func newIndex() index {
	return index{
		entries: map[queue.ID]*entry{}, dests: map[string]*destination{},
		failed: map[*item]struct{}{}, count: map[queue.State]int{},
		awaits:  map[string]map[*item]struct{}{},
		changed: make(chan struct{}),
	}
}

// add puts a recipient into the index.
func (x *index) add(e *entry, r *queue.Recipient, due time.Duration) {
	it := &item{e: e, d: x.dest(r.Domain), n: r.N}
	e.items = append(e.items, it)
	if len(e.items) == 1 {
		x.entries[e.id] = e
		at := x.after(e.id)
		x.order = slices.Insert(x.order, at, e)
	}
	x.place(it, r.State, due, r.Tries)
	x.park(it, r.Last.Awaits)
}

// entry returns a message, nil when there is none. That it is the newest of all
// is so often so, when a store is opened, that it is worth a look.
func (x *index) entry(id queue.ID) *entry {
	if n := len(x.order); n > 0 && x.order[n-1].id == id && len(x.order[n-1].items) > 0 {
		return x.order[n-1]
	}
	return x.entries[id]
}

// after is where in order those begin that arrived after this one.
func (x *index) after(id queue.ID) int {
	n := len(x.order)
	if n == 0 || x.order[n-1].id <= id { // nearly always
		return n
	}
	return sort.Search(n, func(i int) bool { return x.order[i].id > id })
}

// page returns messages that a filter may select and that arrived after this
// one, some of the next, and after which to go on; "" when there are no more.
func (x *index) page(after queue.ID, f queue.Filter) (es []*entry, last queue.ID) {
	const most, far = 256, 4096 // so as to hold up nobody for long
	for i, e := range x.order[x.after(after):] {
		if len(es) == most || i == far {
			return es, last
		}
		last = e.id
		if slices.ContainsFunc(e.items, func(it *item) bool { return it.matches(f) }) {
			es = append(es, e)
		}
	}
	return es, ""
}

// matches says what the index knows of whether a filter selects it.
func (it *item) matches(f queue.Filter) bool {
	return (f.State == "" || it.state == f.State) && (f.Domain == "" || it.d.name == f.Domain)
}

// park notes what a waiting item waits for.
func (x *index) park(it *item, awaited string) {
	if it.state != queue.Waiting || awaited == "" {
		return
	}
	all := x.awaits[awaited]
	if all == nil {
		all = map[*item]struct{}{}
		x.awaits[awaited] = all
	}
	all[it] = struct{}{}
	it.await = awaited
}

// unpark: it waits for nothing but its time.
func (x *index) unpark(it *item) {
	all := x.awaits[it.await]
	delete(all, it)
	if len(all) == 0 {
		delete(x.awaits, it.await)
	}
	it.await = ""
}

// dest returns the destination of that name, a new one when there is none.
func (x *index) dest(name string) *destination {
	d := x.dests[name]
	if d == nil {
		d = &destination{name: name, pos: -1, taken: map[*item]struct{}{}}
		d.waiting.less, d.ready.less = byDue, byArrival
		x.dests[name] = d
	}
	return d
}

// lift takes an item out of wherever it is.
func (x *index) lift(it *item) {
	if it.where != nil {
		heap.Remove(it.where, it.pos)
	}
	delete(it.d.taken, it)
	it.token = 0
	delete(x.failed, it)
	x.unpark(it)
	if it.state != "" {
		x.count[it.state]--
	}
}

// place moves an item to a state and out of any lease.
func (x *index) place(it *item, s queue.State, due time.Duration, tries int) {
	x.lift(it)
	it.d = x.dest(it.d.name) // the old one may have been forgotten while the item was held
	it.state, it.due, it.tries = s, due, tries
	x.count[s]++
	switch s {
	case queue.Waiting:
		heap.Push(&it.d.waiting, it)
	case queue.Failed:
		x.failed[it] = struct{}{}
	}
	x.fix(it.d)
}

// touch is place for the operator: what a worker has in hand stays there.
func (x *index) touch(it *item, s queue.State, due time.Duration) {
	if it.token == 0 {
		if s == queue.Waiting && it.d.token == 0 {
			it.d.released = min(it.d.released, due) // he does not want it left alone
		}
		x.place(it, s, due, it.tries)
		return
	}
	x.count[it.state]--
	x.count[s]++
	it.state, it.due = s, due
}

// rouse makes an item due that waits for this, if it still does; its destination has
// to be refitted then. What a worker has in hand he will put off or not by himself.
func (x *index) rouse(it *item, awaited string, now time.Duration) bool {
	switch {
	case it.await != awaited:
		return false
	case it.token != 0:
		x.park(it, awaited)
		return false
	case it.where != &it.d.waiting:
		return false
	}
	x.unpark(it)
	heap.Remove(it.where, it.pos)
	it.due = min(it.due, now)
	heap.Push(&it.d.ready, it)
	return true
}

// refit puts destinations where they belong in the agenda.
func (x *index) refit(ds map[*destination]struct{}) {
	for d := range ds {
		x.fix(d)
	}
}

// drop takes an item out of the index, and its message with the last one.
func (x *index) drop(it *item) {
	x.lift(it)
	it.state = ""
	e := it.e
	e.items = slices.DeleteFunc(e.items, func(o *item) bool { return o == it })
	if len(e.items) == 0 {
		delete(x.entries, e.id)
		if x.gone++; x.gone > len(x.order)/2 {
			x.order = slices.DeleteFunc(x.order, func(e *entry) bool { return len(e.items) == 0 })
			x.gone = 0
		}
	}
	x.fix(it.d)
}

// fix puts the destination where it belongs in the agenda, forgets it when
// there is nothing left to do, and wakes Claim when that is first now.
func (x *index) fix(d *destination) {
	d.at = d.next()
	switch {
	case d.at == never:
		if d.pos >= 0 {
			heap.Remove(&x.agenda, d.pos)
		}
		if d.token == 0 {
			x.forget(d)
		}
		return
	case d.pos < 0:
		heap.Push(&x.agenda, d)
	default:
		heap.Fix(&x.agenda, d.pos)
	}
	if d.pos == 0 {
		x.wake()
	}
}

// forget drops a destination that nothing refers to.
func (x *index) forget(d *destination) {
	if len(d.waiting.items)+len(d.ready.items)+len(d.taken) == 0 && x.dests[d.name] == d {
		delete(x.dests, d.name)
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
	for it := range d.taken {
		delete(d.taken, it)
		it.token = 0
		switch it.state { // the operator may have put it off meanwhile, or given it up
		case queue.Waiting:
			heap.Push(&d.waiting, it)
		case queue.Failed:
			x.failed[it] = struct{}{}
		}
	}
	x.fix(d)
}

// ripen moves what is due from waiting to ready.
func (d *destination) ripen(now time.Duration) {
	for len(d.waiting.items) > 0 && d.waiting.items[0].due <= now {
		it := heap.Pop(&d.waiting).(*item)
		heap.Push(&d.ready, it)
	}
}

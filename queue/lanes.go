package queue

import (
	"slices"
	"sync"
	"time"
)

// lanes share the workers out. Lanes take turns, so that many destinations of one
// do not keep others waiting; and how many workers a lane may compete for goes by
// its standing, so that hosts that hang leave room for those that answer.
type lanes struct {
	start func(*Trip) // begins one worker at a trip
	o     Options

	mu    sync.Mutex
	all   map[string]*lane
	ring  []*lane // that want a worker, in turn
	busy  tally   // workers
	held  tally   // trips that wait for their first worker
	over  bool    // nothing is begun any more
	swept time.Time
}

// tally counts by the standing of lanes.
type tally [standings]int

// upTo counts those of this standing and of worse.
func (c *tally) upTo(s standing) (n int) {
	for _, v := range c[:s+1] {
		n += v
	}
	return n
}

// room tells whether one more of the standing fits into most.
func (c *tally) room(s standing, most int) bool {
	return c.upTo(s) < max(1, most*int(quarters[s])/4) && c.upTo(good) < most
}

func newLanes(o Options, start func(*Trip)) *lanes {
	return &lanes{start: start, o: o, all: map[string]*lane{}}
}

// enter takes a trip whose destination is in that lane. Where it is shut or has
// enough to do, ok is false, and the destination is to be given back for a while.
func (ls *lanes) enter(t *Trip, of Lane) (wait time.Duration, ok bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	l := ls.lane(of, now)
	switch {
	case ls.over:
		return 0, false
	case l.closed(now) > 0:
		return l.closed(now), false
	case len(l.waiting) >= heldByLane*l.Connections:
		return laneFull, false
	case !ls.held.room(l.standing(), heldByWorker*ls.o.Workers):
		return crowded, false
	}
	t.lane = l
	l.waiting = append(l.waiting, t)
	ls.held[l.standing()]++
	ls.share(l)
	return 0, true
}

func (ls *lanes) lane(of Lane, now time.Time) *lane {
	if of.Connections <= 0 {
		of.Connections = ls.o.Connections
	}
	if l := ls.all[of.Name]; l != nil {
		l.Lane = of
		l.window = min(l.window, of.Connections)
		return l
	}
	ls.sweep(now)
	l := &lane{Lane: of, window: min(firstWindow, of.Connections)}
	ls.all[of.Name] = l
	return l
}

// sweep forgets, once a minute, the lanes of which there is nothing to remember.
func (ls *lanes) sweep(now time.Time) {
	if now.Sub(ls.swept) < time.Minute {
		return
	}
	ls.swept = now
	for name, l := range ls.all {
		if l.idle(now) {
			delete(ls.all, name)
		}
	}
}

// share out the workers, after something changed in l. Each lane in the ring gets
// one at most, and goes to its end if it wants more.
func (ls *lanes) share(l *lane) {
	ls.want(l)
	for range len(ls.ring) {
		if ls.over || ls.busy.upTo(good) >= ls.o.Workers {
			return
		}
		l := ls.ring[0]
		ls.ring = ls.ring[1:]
		l.wanting = false
		if l.wants() && ls.busy.room(l.standing(), ls.o.Workers) {
			ls.engage(l)
		}
		ls.want(l)
	}
}

func (ls *lanes) want(l *lane) {
	if !l.wanting && l.wants() {
		l.wanting = true
		ls.ring = append(ls.ring, l)
	}
}

func (ls *lanes) engage(l *lane) {
	t, first := l.next()
	if first {
		ls.held[l.standing()]--
	}
	ls.busy[l.standing()]++
	l.busy++
	t.workers++
	ls.start(t)
}

// leave takes a worker off a trip; last tells that no other is there.
func (ls *lanes) leave(t *Trip) (last bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := t.lane
	ls.busy[l.standing()]--
	l.busy--
	t.workers--
	t.more = false // until one of its workers says otherwise
	if last = t.workers == 0; last {
		l.trips = slices.DeleteFunc(l.trips, func(o *Trip) bool { return o == t })
	}
	ls.share(l)
	return last
}

// hungry says whether a trip has jobs that none of its workers has begun with.
func (ls *lanes) hungry(t *Trip, more bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if t.more = more; more {
		ls.share(t.lane)
	}
}

// pay for a message, unless the lane has used up its rate.
func (ls *lanes) pay(l *lane) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.pay(time.Now())
}

// learn from what became of mail.
func (ls *lanes) learn(l *lane, as map[int]Attempt) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	was := l.standing()
	for _, a := range as {
		l.learn(a.trouble(), time.Now())
	}
	if is := l.standing(); is != was {
		ls.busy[was], ls.busy[is] = ls.busy[was]-l.busy, ls.busy[is]+l.busy
		ls.held[was], ls.held[is] = ls.held[was]-len(l.waiting), ls.held[is]+len(l.waiting)
	}
	ls.share(l)
}

// closed is how long a lane is left alone from now on.
func (ls *lanes) closed(l *lane) time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.closed(time.Now())
}

// end hands back what waits for a worker: none will come.
func (ls *lanes) end() (ts []*Trip) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.over = true
	for _, l := range ls.all {
		ts, l.waiting = append(ts, l.waiting...), nil
	}
	ls.held = tally{}
	return ts
}

package queue

import (
	"slices"
	"time"
)

// tally counts by the standing of lanes.
type tally [standings]int

// upTo counts those of this standing and of worse.
func (c *tally) upTo(s standing) (n int) {
	for _, v := range c[:s+1] {
		n += v
	}
	return n
}

// room tells whether one more of the standing fits into its part of most, of which
// there is one at least.
func (c *tally) room(s standing, most int) bool {
	return c.upTo(s) < max(1, most*quarters[s]/4) && c.upTo(good) < most
}

// share out the workers, after something changed in l.
func (ls *lanes) share(l *lane, now time.Time) {
	ls.want(l, now)
	for !ls.over {
		l := ls.pick(now)
		if l == nil {
			return
		}
		ls.engage(l)
		ls.want(l, now)
	}
}

// pick the lane that gets the next worker: standings take turns, and the lanes in each.
func (ls *lanes) pick(now time.Time) *lane {
	for i := range standing(standings) {
		s := (ls.turn + i) % standings
		for len(ls.rings[s]) > 0 && ls.busy.room(s, ls.o.Workers) {
			l := ls.rings[s][0]
			ls.rings[s] = ls.rings[s][1:]
			l.wanting = false
			if l.wants(now) {
				ls.turn = (s + 1) % standings
				return l
			}
		}
	}
	return nil
}

func (ls *lanes) want(l *lane, now time.Time) {
	if !l.wanting && l.wants(now) {
		l.wanting = true
		ls.rings[l.standing()] = append(ls.rings[l.standing()], l)
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
	l.used = time.Now()
	if last = t.workers == 0; last {
		l.trips = slices.DeleteFunc(l.trips, func(o *Trip) bool { return o == t })
	}
	ls.share(l, l.used)
	return last
}

// look again, of a trip whose workers have long been busy with what they have,
// whether something has come in for others. Hosts that nothing is known of yet may
// get another connection then, while half of all workers are free: a large message
// takes its time, too.
func (ls *lanes) look(t *Trip) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	if t.workers == 0 || now.Sub(t.asked) < lookEvery {
		return
	}
	l := t.lane
	if !l.taken && l.troubles == 0 && l.window < min(untried, l.Connections) && ls.busy.upTo(good) < ls.o.Workers/2 {
		l.window++
	}
	t.more = true
	ls.share(l, now)
}

// ahead is how many jobs a trip may read ahead; 0: it had its turn, and others of
// its lane wait, or of other lanes when there is no worker left.
func (ls *lanes) ahead(t *Trip, had bool) int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if had && (len(t.lane.waiting) > 0 || ls.crowded(t.lane)) {
		return 0
	}
	return max(takeAhead, 2*t.workers)
}

// crowded: a worker that left l now would be given to another lane.
func (ls *lanes) crowded(l *lane) bool {
	busy := ls.busy
	busy[l.standing()]--
	for s := range standing(standings) {
		if len(ls.rings[s]) > 0 && busy.room(s, ls.o.Workers) {
			return true
		}
	}
	return false
}

// denial is why a worker gets no job, though there is one.
type denial int

const (
	granted   denial = iota
	usedUp           // the lane's rate is
	leftAlone        // the lane is
)

// grant a job to a worker. more says that there are others, which a further worker
// may have.
func (ls *lanes) grant(t *Trip, more bool) denial {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	switch l := t.lane; {
	case l.closed(now):
		return leftAlone
	case !l.pay(now):
		return usedUp
	}
	t.asked = now
	if t.more = more; more {
		ls.share(t.lane, now)
	}
	return granted
}

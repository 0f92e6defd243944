package queue

import (
	"slices"
	"sync"
	"time"
)

// lanes share the workers out. Lanes take turns, so that many destinations of one
// do not keep others waiting; and how many workers a lane may compete for goes by
// its standing, so that hosts that hang leave room for those that answer. Nothing
// here waits for anything while mu is held.
type lanes struct {
	start func(*Trip) // begins one worker at a trip; returns at once
	back  func(*Trip) // gives one back that waits; returns at once
	o     Options

	mu     sync.Mutex
	all    map[string]*lane
	rings  [standings][]*lane // that want a worker, in turn
	turn   standing           // whose is next
	busy   tally              // workers
	held   tally              // trips that wait for their first worker
	away   pace               // of destinations for which there was no room
	urgent map[string]bool    // destinations that the operator wants tried
	down   int                // lanes shut for the first time since a message was taken anywhere
	over   bool               // nothing is begun any more
	swept  time.Time
}

const (
	// lanesMost are remembered when nothing is under way there.
	lanesMost = 20_000
	// outage is how many lanes are shut, one after another and nothing is taken in
	// between, when it is we who were cut off.
	outage = 3
	// urgentMost destinations are remembered that the operator wants tried.
	urgentMost = 10_000
)

func newLanes(o Options, start, back func(*Trip)) *lanes {
	return &lanes{start: start, back: back, o: o, all: map[string]*lane{}, urgent: map[string]bool{}}
}

// enter has a trip wait for a worker in its lane. Where that is shut or has enough
// to do, the trip is to be given back.
func (ls *lanes) enter(t *Trip, of Lane) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	l := ls.lane(of, now)
	t.lane = l
	if ls.urgent[t.lease.Destination] {
		delete(ls.urgent, t.lease.Destination)
		l.open()
	}
	switch {
	case ls.over:
		return false
	case l.rest(now) > 0:
		t.rest = max(l.rest(now), l.away.wait(now)-paceLeast)
		return false
	case len(l.waiting) >= max(heldByLane*l.Connections, heldByWorker*ls.o.Workers/8):
		t.rest = l.away.wait(now)
		return false
	case !ls.held.room(l.standing(), heldByWorker*ls.o.Workers):
		t.rest = ls.away.wait(now)
		return false
	}
	l.waiting = append(l.waiting, t)
	ls.held[l.standing()]++
	ls.share(l, now)
	return true
}

func (ls *lanes) lane(of Lane, now time.Time) *lane {
	if of.Connections <= 0 {
		of.Connections = ls.o.Connections
	}
	l := ls.all[of.Name]
	if l == nil {
		ls.sweep(now)
		l = &lane{window: 1, o: &ls.o}
		ls.all[of.Name] = l
	}
	l.Lane, l.used = of, now
	l.window = min(l.window, of.Connections)
	return l
}

// sweep forgets, once a minute, the lanes that may be forgotten; when there are too
// many, those that have nothing to do, at last also those that are shut.
func (ls *lanes) sweep(now time.Time) {
	many, most := len(ls.all) > lanesMost, len(ls.all) > 2*lanesMost
	if since := now.Sub(ls.swept); since < time.Second || since < time.Minute && !most {
		return
	}
	ls.swept = now
	for name, l := range ls.all {
		if l.idle(now) || l.resting() && (most || many && !l.closed(now)) {
			delete(ls.all, name)
		}
	}
}

// change of a lane, which may change its standing.
func (ls *lanes) change(l *lane, do func()) {
	was := l.standing()
	do()
	is := l.standing()
	if is == was {
		return
	}
	ls.busy[was], ls.busy[is] = ls.busy[was]-l.busy, ls.busy[is]+l.busy
	ls.held[was], ls.held[is] = ls.held[was]-len(l.waiting), ls.held[is]+len(l.waiting)
	if l.wanting {
		ls.rings[was] = slices.DeleteFunc(ls.rings[was], func(o *lane) bool { return o == l })
		ls.rings[is] = append(ls.rings[is], l)
	}
}

// learn from what became of a message. What waits for a lane that is shut now is
// given back. It says how long the lane is left alone from now on because of it, or
// that this has ended.
func (ls *lanes) learn(l *lane, a *Attempt) (shut time.Duration, open bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	before, waited := l.shut, l.waits > 0
	ls.change(l, func() { l.learn(a, now) })
	shuts := l.closed(now) && l.shut != before
	ls.cutOff(a, shuts && !waited)
	if shuts {
		for _, t := range l.waiting {
			ls.held[l.standing()]--
			ls.back(t)
		}
		l.waiting = nil
		return l.waits, false
	}
	ls.share(l, now)
	return 0, waited && l.waits == 0
}

// cutOff notes whether we seem to be, by an attempt in one lane and whether that has
// shut it for the first time: what was left alone before says nothing new. When the
// first message is taken after that, all lanes are open for one try.
func (ls *lanes) cutOff(a *Attempt, shut bool) {
	if shut {
		ls.down++
	}
	if a.Outcome != Sent {
		return
	}
	if ls.down >= outage {
		for _, l := range ls.all {
			l.open()
		}
	}
	ls.down = 0
}

// suspended is what becomes of mail while its lane is shut, for longer than that.
func (ls *lanes) suspended(l *lane, than time.Duration) (Attempt, bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.suspended(time.Now(), than)
}

// rest is how long a destination of the lane need not be claimed again.
func (ls *lanes) rest(l *lane) time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return l.rest(time.Now())
}

// behind is how long a destination that had its turn need not be claimed again: as long
// as others for which there was no room.
func (ls *lanes) behind(l *lane) time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	rest := l.rest(now)
	for _, p := range []*pace{&l.away, &ls.away} {
		if p.next.After(now) {
			rest = max(rest, p.wait(now))
		}
	}
	return rest
}

// try what the operator wants tried, though it is left alone. None: everything.
func (ls *lanes) try(destinations []string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(destinations) == 0 || len(ls.urgent)+len(destinations) > urgentMost {
		for _, l := range ls.all {
			l.open()
		}
		return
	}
	for _, d := range destinations {
		ls.urgent[d] = true
	}
}

// full is when there is no room for a destination to wait even for its lane.
func (ls *lanes) full() time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.away.wait(time.Now())
}

// count of workers, and of lanes that are shut.
func (ls *lanes) count() (busy, shut int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	for _, l := range ls.all {
		if l.closed(now) {
			shut++
		}
	}
	return ls.busy.upTo(good), shut
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

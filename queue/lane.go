package queue

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Lane is what the mail of several destinations has in common: the hosts that it
// goes to, and how much they are asked to take. Who delivers says which lane a
// destination is in.
type Lane struct {
	Name        string
	Connections int // at once, at most; 0: Options.Connections
	PerMinute   int // messages, at most; 0: any number
}

// lane is one with mail under way, or one of which something is remembered.
//
// It begins with one connection, gets one more with each message that is taken, up
// to the bound, and half as many with each trouble. Trouble on top of trouble shuts
// it: nothing is begun there for a while, then one connection tries, and makes the
// while twice as long or ends it. Guarded by lanes.mu.
type lane struct {
	Lane
	window  int     // connections at once, for now
	busy    int     // workers
	waiting []*Trip // claimed, without a worker
	trips   []*Trip // with workers
	wanting bool    // it is in the ring of its standing
	o       *Options

	taken    bool          // a message was, once
	troubles int           // in a row, each of another message
	shut     time.Time     // nothing is begun before
	waits    time.Duration // how long it was shut the last time, since a message was taken
	last     *Attempt      // why
	paid     time.Time     // up to when its messages have used up its rate
	away     pace          // of destinations that were given back
	used     time.Time     // something was under way
}

// standing of a lane is how many of the workers it may compete for.
type standing int

const (
	bad       standing = iota // trouble upon trouble, or it had never taken a message before it
	unknown                   // it has not taken a message yet, or is in trouble since this moment
	good                      // the last thing that it did was take a message
	standings = iota
)

// quarters of all workers that the lanes of a standing and of worse may have.
var quarters = [standings]int{bad: 1, unknown: 3, good: 4}

func (l *lane) standing() standing {
	switch {
	case l.taken && l.troubles == 0:
		return good
	case l.taken && l.troubles == 1, l.troubles == 0:
		return unknown
	}
	return bad
}

const (
	// shutFirst and shutMost bound how long a lane in trouble is left alone; the first
	// and the longest wait of one message (Options.Retry) do likewise.
	shutFirst = 30 * time.Second
	shutMost  = 30 * time.Minute
	// brief is how long mail waits for a shut lane without being put off.
	brief = time.Minute
	// heldByLane is how many destinations a lane holds claimed for each of its
	// connections, so that none waits for the next to be claimed; heldByWorker is
	// that for all lanes and each worker. Any lane may hold an eighth of these: who
	// waits there has his turn in order, the others try again every other second.
	heldByLane   = 2
	heldByWorker = 4
	// untried is how many connections a lane may have that has taken no message yet.
	untried = 3
	// burst is how much of its rate a lane may use at once that used none of it.
	burst = 5 * time.Second
)

// learn from what became of one message.
func (l *lane) learn(a *Attempt, now time.Time) {
	switch a.trouble() {
	case fine:
		l.window = min(l.window+1, l.Connections)
		l.taken, l.troubles, l.shut, l.waits, l.last = true, 0, time.Time{}, 0, nil
	case answered:
		if !l.closed(now) {
			l.troubles = 0
		}
	case less:
		l.window = max(1, l.window/2)
	case broken:
		if now.Before(l.shut) {
			return
		}
		l.window = max(1, l.window/2)
		if l.troubles++; l.troubles > 1 {
			l.waits = max(2*l.waits, min(shutFirst, l.o.Retry[0]))
			l.waits = min(l.waits, shutMost, slices.Max(l.o.Retry))
			why := *a
			l.window, l.shut, l.last = 1, now.Add(l.waits), &why
		}
	}
}

// open it for one try, though its time has not come.
func (l *lane) open() { l.shut = time.Time{} }

func (l *lane) closed(now time.Time) bool { return now.Before(l.shut) }

// rest is how long a destination that is given back need not be claimed again: until
// several messages may go at once, where there is a rate.
func (l *lane) rest(now time.Time) time.Duration {
	rest := max(min(l.shut.Sub(now), brief), 0)
	if owed := l.paid.Sub(now); owed > 0 {
		rest = max(rest, owed+min(burst/2, takeAhead*l.each()))
	}
	return rest
}

// each message's part of a minute.
func (l *lane) each() time.Duration { return time.Minute / time.Duration(max(1, l.PerMinute)) }

// suspended is what becomes of mail while the lane is shut, if for longer than that:
// what became of the try that shut it.
func (l *lane) suspended(now time.Time, than time.Duration) (a Attempt, ok bool) {
	if l.shut.Sub(now) <= than {
		return Attempt{}, false
	}
	a = *l.last
	why := "left alone until " + l.shut.UTC().Format(time.RFC3339)
	if a.Why != "" {
		why = a.Why + "; " + why
	}
	a.Why, a.Wait, a.Awaits, a.Took = why, 0, "", 0
	return a, true
}

// wants tells whether another worker would have something to do.
func (l *lane) wants(now time.Time) bool {
	return l.busy < l.window && !l.closed(now) && (len(l.waiting) > 0 || l.hungry() != nil)
}

// next is the trip that gets the next worker: one that has none before one that
// has jobs for more.
func (l *lane) next() (t *Trip, first bool) {
	if len(l.waiting) == 0 {
		t = l.hungry()
		t.more = false // until that worker says otherwise
		return t, false
	}
	t, l.waiting = l.waiting[0], l.waiting[1:]
	l.trips = append(l.trips, t)
	return t, true
}

// hungry is the trip with the fewest workers among those with jobs for more.
func (l *lane) hungry() (best *Trip) {
	for _, t := range l.trips {
		if t.more && (best == nil || t.workers < best.workers) {
			best = t
		}
	}
	return best
}

// pay for one message out of the rate of the lane, unless it is used up.
func (l *lane) pay(now time.Time) bool {
	if l.PerMinute == 0 {
		return true
	}
	if l.paid.After(now) {
		return false
	}
	if now.Sub(l.paid) > burst {
		l.paid = now.Add(-burst)
	}
	l.paid = l.paid.Add(l.each())
	return true
}

// resting: nothing is under way, or waits.
func (l *lane) resting() bool { return l.busy == 0 && len(l.waiting) == 0 }

// idle tells whether it may be forgotten: what it was like is not, for an hour, and
// that it was shut is not before it could have been tried again.
func (l *lane) idle(now time.Time) bool {
	return l.resting() && now.After(l.paid) &&
		now.Sub(l.used) > time.Hour && now.After(l.shut.Add(2*l.waits))
}

// pace spreads what is put off again and again: nothing comes back within a second,
// no more than 5000 in one, and none always just before another.
type pace struct{ next time.Time }

const (
	paceLeast = time.Second
	paceEach  = time.Second / 5000
)

func (p *pace) wait(now time.Time) time.Duration {
	if soonest := now.Add(paceLeast); p.next.Before(soonest) {
		p.next = soonest
	}
	p.next = p.next.Add(paceEach)
	return p.next.Sub(now) + rand.N(paceLeast)
}

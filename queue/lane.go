package queue

import "time"

// Lane is what the mail of several destinations has in common: the hosts that it
// goes to, and how much they are asked to take. Who delivers says which lane a
// destination is in.
type Lane struct {
	Name        string
	Connections int // at once, at most; 0: Options.Connections
	PerMinute   int // messages, at most; 0: any number
}

// lane is one with mail under way, or one that is left alone for a while.
//
// The number of connections begins small, grows by one with each message that is
// taken, up to the bound, and is halved by trouble. Trouble on top of trouble shuts
// the lane: its destinations are given back, not to be claimed before it opens
// again. Then one connection tries, and it doubles the time or ends it.
type lane struct {
	Lane
	window  int     // connections at once, for now
	busy    int     // workers
	waiting []*Trip // claimed, without a worker
	trips   []*Trip // with workers
	wanting bool    // it is in lanes.ring

	proved bool          // a message was taken after the last trouble
	shut   time.Time     // nothing is begun before
	waits  time.Duration // how long it was shut the last time, since a message was taken
	paid   time.Time     // up to when its messages have used up its rate
}

// standing of a lane is how many of the workers it may compete for.
type standing int

const (
	bad       standing = iota // it was shut, and nothing has been taken since
	unknown                   // nothing has been taken, or not since there was trouble
	good                      // the last message was taken
	standings = iota
)

// quarters of all workers that the lanes of a standing and of worse may have.
var quarters = [standings]int{bad: 1, unknown: 3, good: 4}

const (
	firstWindow = 3
	// shutFirst and shutMost bound how long a lane in trouble is left alone.
	shutFirst = 30 * time.Second
	shutMost  = 30 * time.Minute
	// heldByLane is how many destinations a lane holds claimed for each of its
	// connections, so that none waits for the next to be claimed; heldByWorker is
	// that for all lanes and each worker.
	heldByLane   = 2
	heldByWorker = 4
	// laneFull is the wait of a destination whose lane has enough of them; crowded
	// that of one in a lane whose standing has.
	laneFull = time.Second
	crowded  = 20 * time.Second
	// burst is how much of its rate a lane may use at once that used none of it.
	burst = 5 * time.Second
)

// trouble is what one attempt says about the hosts of its lane.
type trouble int

const (
	silence trouble = iota // nothing
	fine                   // a message was taken
	less                   // they ask for less
	broken                 // no conversation came about, or it broke off
)

// trouble of an attempt. A reply that is about one recipient, or about us, says
// nothing of how many connections its host likes.
func (a *Attempt) trouble() trouble {
	switch {
	case a.Outcome == Sent:
		return fine
	case a.Outcome != Deferred, a.Ours, a.Host == "":
		return silence
	case a.Reply.Code == 0, a.Reply.Code == 421, a.Stage == "greet", a.Stage == "ehlo":
		return broken
	case a.Class == "rate", len(a.Reply.Status) > 4 && a.Reply.Status[:4] == "4.7.":
		return less
	}
	return silence
}

func (l *lane) standing() standing {
	switch {
	case l.proved:
		return good
	case l.waits == 0:
		return unknown
	}
	return bad
}

func (l *lane) learn(t trouble, now time.Time) {
	switch t {
	case fine:
		l.window = min(l.window+1, l.Connections)
		l.proved, l.shut, l.waits = true, time.Time{}, 0
	case less:
		l.window = max(1, l.window/2)
	case broken:
		if now.Before(l.shut) {
			return
		}
		l.window = max(1, l.window/2)
		if l.proved {
			l.proved = false
			return
		}
		l.waits = min(max(shutFirst, 2*l.waits), shutMost)
		l.window, l.shut = 1, now.Add(l.waits)
	}
}

// closed is how long nothing is to be begun.
func (l *lane) closed(now time.Time) time.Duration {
	return max(l.shut.Sub(now), l.paid.Sub(now), 0)
}

// wants tells whether another worker would have something to do.
func (l *lane) wants() bool {
	return l.busy < l.window && (len(l.waiting) > 0 || l.hungry() != nil)
}

// next is the trip that gets the next worker: one that has none before one that
// has jobs for more.
func (l *lane) next() (t *Trip, first bool) {
	if len(l.waiting) == 0 {
		return l.hungry(), false
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
	l.paid = l.paid.Add(time.Minute / time.Duration(l.PerMinute))
	return true
}

// idle tells whether there is nothing to remember of it.
func (l *lane) idle(now time.Time) bool {
	return l.busy == 0 && len(l.waiting) == 0 && now.After(l.shut.Add(2*l.waits)) && now.After(l.paid)
}

package deliver

import (
	"slices"
	"strings"
	"time"

	"smtprelay/queue"
)

// course is the way of one job through the exchangers, until every recipient has
// an end that nothing else can better.
type course struct {
	*voyage
	job      queue.Job
	left     []queue.Recipient
	done     []queue.Recipient // nothing else can better theirs, which is in last
	aside    []queue.Recipient // put off by hops[i], while others still have their turn there
	last     map[int]queue.Attempt
	hops     []hop
	i        int // of the hop to try
	begun    time.Time
	tried    bool     // a hop, whatever came of it
	renewed  int      // connections to hops[i] that followed one in vain
	sessions int      // that got as far as a transaction
	refused  []string // sources that this message was refused from
	named    []string // checks that were named then
}

func (v *voyage) try(j queue.Job, hops []hop) error {
	c := &course{voyage: v, job: j, left: j.Recipients, last: map[int]queue.Attempt{}, hops: hops, begun: time.Now()}
	for len(c.left) > 0 && c.more() {
		if err := c.step(); err != nil {
			return err
		}
	}
	as := map[int]queue.Attempt{}
	for _, r := range append(c.left, c.done...) {
		as[r.N] = c.awaiting(c.last[r.N])
	}
	return v.trip.Settle(j, as)
}

// awaiting is an attempt with what it waits for besides its time: that what was
// named is mended, for the source that it was named to.
func (c *course) awaiting(a queue.Attempt) queue.Attempt {
	if !a.Ours || a.Class == "" || a.Outcome != queue.Deferred {
		return a
	}
	source := a.Source
	if source == smartName && len(c.refused) > 0 {
		source = c.refused[len(c.refused)-1]
	}
	a.Awaits = c.gate.Mended(mailOf(c.job.Message), source, strings.Split(a.Class, ", "))
	return a
}

// more tells whether there is a hop to try.
func (c *course) more() bool {
	if c.i < len(c.hops) && c.sessions < maxSessions && (c.i == 0 || time.Since(c.begun) <= patience) {
		return true
	}
	i := slices.IndexFunc(c.left, c.insisted)
	return i >= 0 && c.without(c.last[c.left[i].N].Source, c.insisted)
}

// anew asks the gate for other hops where that of hops[i] may not be used any more.
// Without any the rest waits, and whom the remote put off keeps its word.
func (c *course) anew() (ok bool) {
	if !c.tried || c.may(c.job.Message, c.hops[c.i].source, c.refused) {
		return true
	}
	hops, err := c.voyage.hops(c.ctx, c.job, c.refused, c.named)
	if err != nil {
		a, _ := book(queue.Attempt{At: time.Now()}, err, reply{}, dialogue{})
		c.note(c.last, c.left, a)
		c.tell(a)
	}
	c.hops, c.i, c.sessions = hops, 0, 0
	if len(hops) == 0 {
		c.left, c.aside = append(c.left, c.aside...), nil
	}
	return len(hops) > 0
}

// step tries one hop.
func (c *course) step() error {
	if !c.anew() {
		return c.ctx.Err()
	}
	c.tried = true
	f, ok := c.reach(c.job.Message, c.hops, c.i)
	if !ok {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		c.note(c.last, c.left, f.Attempt)
		c.take(f.turn)
		return nil
	}
	left, rest, t, err := c.carry(c.job, c.left, c.last, c.refused)
	if err != nil {
		return err
	}
	if len(left)+len(rest) == len(c.left) {
		c.renewed++ // nobody was settled
	}
	c.left, c.aside = rest, append(c.aside, left...)
	if t.next == again && c.renewed <= maxRenewed && time.Since(c.begun) <= patience {
		c.heed(t)
		return nil
	}
	c.sessions++
	c.take(t)
	return nil
}

// heed keeps the checks that the remote named.
func (c *course) heed(t turn) {
	if len(t.class.Checks) > 0 {
		c.named = t.class.Checks
	}
}

// take turns to what comes after hops[i].
func (c *course) take(t turn) {
	h := c.hops[c.i]
	c.i++
	c.left, c.aside, c.renewed = append(c.left, c.aside...), nil, 0
	c.heed(t)
	switch t.next {
	case overIPv4:
		if c.hops = fourOnly(c.hops[c.i:], h.host); len(c.hops) == 0 {
			c.without(h.source, c.ours)
		}
		c.i = 0
	case otherSource:
		c.without(h.source, c.ours)
	case slower:
		c.i = len(c.hops)
	}
}

// without leaves a source out for this message, until its next try. What the
// gate has to offer beside it is asked anew, once a source: true if there is
// something, and whom it does not concern waits. A smart host is the last resort.
func (c *course) without(source string, concerns func(queue.Recipient) bool) bool {
	if source == smartName || slices.Contains(c.refused, source) {
		return false
	}
	c.refused = append(c.refused, source)
	hops, err := c.voyage.hops(c.ctx, c.job, c.refused, c.named)
	if err != nil {
		hops = nil // it waits, and what the remote said is why
	}
	c.hops, c.i, c.sessions = hops, 0, 0
	if len(hops) == 0 {
		return false
	}
	for _, r := range c.left {
		if !concerns(r) {
			c.done = append(c.done, r)
		}
	}
	c.left = slices.DeleteFunc(slices.Clone(c.left), func(r queue.Recipient) bool { return !concerns(r) })
	return true
}

// fourOnly are the hops over IPv4, those to the same exchanger first.
func fourOnly(hops []hop, host string) []hop {
	hops = slices.DeleteFunc(slices.Clone(hops), func(h hop) bool { return six(h.addr) })
	slices.SortStableFunc(hops, func(a, b hop) int {
		switch {
		case a.host == host && b.host != host:
			return -1
		case a.host != host && b.host == host:
			return 1
		}
		return 0
	})
	return hops
}

// lasting is how long a rate or a reputation is waited out by sending less: as long
// as a sender would not be told of a delay. Then it is as good as a refusal.
const lasting = 4 * time.Hour

// insisted: the remote put r off for what is ours, and did so the last time. That
// is as good as a refusal; where it asks for less mail, only once that does not end.
func (c *course) insisted(r queue.Recipient) bool {
	a := c.last[r.N]
	return a.Ours && a.Class != "" && a.Class == r.Last.Class && (!a.Slow || r.Ours >= lasting)
}

// ours: r was refused for what is ours, or nothing was said of r at all.
func (c *course) ours(r queue.Recipient) bool {
	a := c.last[r.N]
	return a.Ours || a.Reply.Code == 0
}

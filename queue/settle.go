package queue

import (
	"context"
	"fmt"
	"time"
)

// tried is a job with what became of some of its recipients.
type tried struct {
	job Job
	as  map[int]Attempt
}

// lateMost is how many jobs that were put off are booked at once.
const lateMost = 64

// Settle books attempts, the key being Recipient.N. They are durable when it
// returns nil, unless all of them are deferrals: those are booked with others, at
// the next call of Body or Flush, or when Next has nothing more. Recipients left out
// stay in hand. It works on when the trip's context has ended: what happened must be
// kept.
func (t *Trip) Settle(j Job, as map[int]Attempt) error {
	if len(as) == 0 {
		return nil
	}
	t.learn(as)
	x := tried{j, as}
	t.mu.Lock()
	if x.putOff() && len(t.late) < lateMost {
		t.late = append(t.late, x)
		t.mu.Unlock()
		return nil
	}
	all := append(t.late, x)
	t.late = nil
	t.mu.Unlock()
	return t.settle(all)
}

func (x *tried) putOff() bool {
	for _, a := range x.as {
		if a.Outcome != Deferred {
			return false
		}
	}
	return true
}

// learn from the attempts of one message how the lane fares, and tell when that matters.
func (t *Trip) learn(as map[int]Attempt) {
	a := telling(as)
	shut, open := t.s.lanes.learn(t.lane, &a)
	switch {
	case open:
		t.s.log.Info("hosts take mail again", "domain", t.Domain(), "host", a.Host)
	case shut > 0:
		t.s.log.Info("hosts left alone", "domain", t.Domain(), "host", a.Host, "stage", a.Stage,
			"reason", a.reason(), "next", time.Now().Add(shut))
	}
}

// Flush books what was put off. It is to be called before what may take long.
func (t *Trip) Flush() error {
	t.mu.Lock()
	late := t.late
	t.late = nil
	t.mu.Unlock()
	if len(late) == 0 {
		return nil
	}
	return t.settle(late)
}

// settle books for several jobs in one commit. A delay notice goes out before
// the commit that says it did: twice is better than never.
func (t *Trip) settle(ts []tried) error {
	ctx := context.WithoutCancel(t.ctx)
	var rs, parked []Result
	var events []event
	for _, x := range ts {
		bs, err := t.book(x)
		if err != nil {
			return err
		}
		t.tellDelay(ctx, x.job, bs)
		news := bs[:0:0]
		for _, b := range bs {
			if b.nothingNew() {
				parked = append(parked, b.Result)
				continue
			}
			rs, news = append(rs, b.Result), append(news, b)
		}
		events = append(events, sortEvents(x.job, news)...)
	}
	if err := t.keep(ctx, rs, parked); err != nil {
		return fmt.Errorf("settle mail for %s: %w", t.Domain(), err)
	}
	t.unanswered(ts)
	t.missed(ctx, ts)
	t.forget(ts)
	for _, e := range events {
		t.s.tell(ctx, e)
	}
	return nil
}

// keep has the store book what is new, and put off what is not.
func (t *Trip) keep(ctx context.Context, rs, parked []Result) error {
	if len(rs) > 0 {
		if err := t.s.w.Settle(ctx, t.lease.Lease, rs...); err != nil {
			return err
		}
	}
	if len(parked) > 0 {
		return t.s.w.Park(ctx, t.lease.Lease, parked...)
	}
	return nil
}

// unanswered notes whom the remote may have the message for, though it did not
// say so: the connection ended after the final dot.
func (t *Trip) unanswered(ts []tried) {
	for _, x := range ts {
		for _, a := range x.as {
			if a.Outcome == Deferred && a.Stage == "dot" && a.Reply.Code == 0 {
				t.s.twice.Add(1)
				t.s.log.Warn("maybe duplicate", "id", x.job.Message.ID, "domain", t.Domain(), "host", a.Host)
			}
		}
	}
}

// missed wakes what was woken while it was in hand: the word that it has to wait
// may be older than the waking. What waits for something else is left alone, so
// that no remote hears of mail again because of it.
func (t *Trip) missed(ctx context.Context, ts []tried) {
	since := map[string]uint64{} // by what is awaited
	no := t.s.wakings.count()
	t.mu.Lock()
	for _, x := range ts {
		if h := t.open[x.job.Message.ID]; h != nil && h.no != no {
			for _, a := range x.as {
				if old, ok := since[a.Awaits]; a.Awaits != "" && (!ok || h.no < old) {
					since[a.Awaits] = h.no
				}
			}
		}
	}
	t.mu.Unlock()
	late := map[string]bool{}
	for awaited, no := range since {
		if t.s.wakings.since(no, awaited) {
			late[awaited] = true
		}
	}
	if len(late) == 0 {
		return
	}
	if err := t.s.w.Wake(ctx, func(awaited string) bool { return late[awaited] }); err != nil {
		t.s.log.Warn("waiting mail not woken", "domain", t.Domain(), "err", err)
	}
}

// book decides for the recipients of one job that have an attempt.
func (t *Trip) book(x tried) ([]booking, error) {
	since := t.since(x.job.Message.ID)
	var bs []booking
	for i := range x.job.Recipients {
		r := x.job.Recipients[i]
		a, ok := x.as[r.N]
		if !ok {
			continue
		}
		if r.Last.Ours {
			r.Ours += since
		} else {
			r.Age += since
		}
		bs = append(bs, t.s.o.book(x.job.Message, &r, a, t.s.jitter()))
	}
	if len(bs) != len(x.as) {
		return nil, fmt.Errorf("settle %s: an attempt for a recipient that the job does not have", x.job.Message.ID)
	}
	return bs, nil
}

// since is how long ago the job's Age and Ours were true.
func (t *Trip) since(id ID) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.open[id]; h != nil {
		return time.Since(h.at)
	}
	return 0
}

// forget takes what was settled out of the worker's hands.
func (t *Trip) forget(ts []tried) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range ts {
		h := t.open[x.job.Message.ID]
		if h == nil {
			continue
		}
		var left []Recipient
		for _, r := range h.job.Recipients {
			if _, done := x.as[r.N]; !done {
				left = append(left, r)
			}
		}
		h.job.Recipients = left
		if len(left) == 0 {
			delete(t.open, x.job.Message.ID)
		}
	}
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Trip is the scheduler's hand to the workers at one destination. Its methods
// may be called from several goroutines.
type Trip struct {
	s       *Scheduler
	lease   Lease
	claims  context.Context // ends when nothing new may be begun
	ctx     context.Context // ends when the work must end
	cancel  context.CancelFunc
	renewer sync.WaitGroup
	rest    time.Duration // after the trip
	lost    bool          // the lease is to run out

	lane    *lane
	workers int  // of lanes
	more    bool // likewise: there are jobs that no worker has begun with

	mu    sync.Mutex
	ahead []Job          // taken, not handed out yet
	taken time.Time      // when ahead was taken
	open  map[ID]*handed // handed out, not settled yet
	late  []tried        // put off, not booked yet
	count int            // jobs handed out
	err   error          // why nothing more can be taken
	fault error          // why a worker could not work
	spent bool           // the lane's rate
}

// handed is a job in a worker's hands.
type handed struct {
	job Job
	at  time.Time // when its Age and Ours were true
	no  uint64    // of wakings before it was handed out
}

// tried is a job with what became of some of its recipients.
type tried struct {
	job Job
	as  map[int]Attempt
}

// takeAhead is how many jobs are read from the store at once.
const takeAhead = 8

// Domain is the destination: Recipient.Domain of all that Next returns.
func (t *Trip) Domain() string { return t.lease.Destination }

// Next hands out the next due job, oldest first; false when there is none, the
// relay is about to stop, or the lane has used up its rate.
func (t *Trip) Next() (Job, bool) {
	j, more, ok := t.next()
	if !ok && t.flush() != nil {
		return Job{}, false
	}
	t.s.lanes.hungry(t, more)
	return j, ok
}

func (t *Trip) next() (j Job, more, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claims.Err() != nil || t.ctx.Err() != nil {
		return Job{}, false, false
	}
	if err := t.fill(takeAhead); err != nil || len(t.ahead) == 0 {
		return Job{}, false, false
	}
	if !t.s.lanes.pay(t.lane) {
		t.spent = true
		return Job{}, false, false
	}
	j = t.ahead[0]
	t.ahead = t.ahead[1:]
	t.open[j.Message.ID] = &handed{job: j, at: t.taken, no: t.s.wakings.count()}
	t.count++
	return j, len(t.ahead) > 0, true
}

// fill sees to it that there is a job ahead if there is one at all.
func (t *Trip) fill(n int) error {
	if len(t.ahead) == 0 && t.err == nil {
		t.taken = time.Now()
		t.ahead, t.err = t.s.w.Take(context.WithoutCancel(t.ctx), t.lease, n)
	}
	return t.err
}

// Body opens the stored body of a job, as Work.Body does; as often as needed.
func (t *Trip) Body(j Job) (io.ReadSeekCloser, error) {
	if err := t.flush(); err != nil { // before what may take long
		return nil, err
	}
	return t.s.w.Body(t.ctx, j.Message.ID)
}

// Sending marks that the final dot for these recipients is about to be sent.
// When it fails, the dot must not be sent.
func (t *Trip) Sending(j Job, ns ...int) error {
	return t.s.w.Sending(t.ctx, t.lease, j.Message.ID, ns...)
}

// lateMost is how many jobs that were put off are booked at once.
const lateMost = 64

// Settle books attempts, the key being Recipient.N. They are durable when it
// returns nil, unless all of them are deferrals: those are booked with others, at
// the next call of Body or when Next has nothing more. Recipients left out stay in
// hand. It works on when the trip's context has ended: what happened must be kept.
func (t *Trip) Settle(j Job, as map[int]Attempt) error {
	if len(as) == 0 {
		return nil
	}
	t.s.lanes.learn(t.lane, as)
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

// flush books what was put off.
func (t *Trip) flush() error {
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
		return fmt.Errorf("settle mail for %s: %w", t.lease.Destination, err)
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
		if err := t.s.w.Settle(ctx, t.lease, rs...); err != nil {
			return err
		}
	}
	if len(parked) > 0 {
		return t.s.w.Park(ctx, t.lease, parked...)
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
				t.s.log.Warn("maybe duplicate", "id", x.job.Message.ID, "domain", t.lease.Destination, "host", a.Host)
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
		t.s.log.Warn("waiting mail not woken", "domain", t.lease.Destination, "err", err)
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
	return time.Since(t.taken)
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

// worked notes that a worker is done, and whether it could not work.
func (t *Trip) worked(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil || errors.Is(t.fault, errPanic) {
		t.fault = err
	}
}

// finish puts off what the workers left unsettled although nobody stopped them:
// all that is due when they could not work or took nothing, and only what they had
// in hand when one panicked. Its own error means that even this did not work.
func (t *Trip) finish() error {
	if err := t.flush(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claims.Err() != nil || t.ctx.Err() != nil {
		return nil
	}
	if t.err != nil {
		return t.err
	}
	err, why := t.fault, "the delivery ended without a result"
	if err != nil {
		why = err.Error()
		t.s.log.Warn("delivery not possible", "domain", t.lease.Destination, "err", err)
	}
	if err := t.putOff(t.inHand(), why); err != nil {
		return err
	}
	if t.count > 0 && (err == nil || errors.Is(err, errPanic)) || t.spent {
		return nil
	}
	for {
		if err := t.fill(100); err != nil || len(t.ahead) == 0 {
			return err
		}
		js := t.ahead
		t.ahead = nil
		if err := t.putOff(js, why); err != nil {
			return err
		}
	}
}

func (t *Trip) inHand() (js []Job) {
	for _, h := range t.open {
		js = append(js, h.job)
	}
	return js
}

// putOff lets jobs wait a little on a fault of ours. t.mu is held.
func (t *Trip) putOff(js []Job, why string) error {
	if len(js) == 0 {
		return nil
	}
	ts := make([]tried, 0, len(js))
	for _, j := range js {
		as := make(map[int]Attempt, len(j.Recipients))
		for _, r := range j.Recipients {
			as[r.N] = Attempt{At: time.Now(), Outcome: Deferred, Ours: true, Why: why, Wait: idle}
		}
		ts = append(ts, tried{j, as})
	}
	t.mu.Unlock()
	defer t.mu.Lock()
	return t.settle(ts)
}

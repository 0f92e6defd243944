package queue

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Trip is the scheduler's hand to the workers at one destination. Its methods
// may be called from several goroutines.
type Trip struct {
	s      *Scheduler
	lease  *lease
	claims context.Context // ends when nothing new may be begun
	ctx    context.Context // ends when the work must end
	rest   time.Duration   // after the trip
	lost   bool            // the lease is to run out

	// Guarded by lanes.mu.
	lane    *lane
	workers int
	more    bool      // there are jobs that no worker has begun with
	asked   time.Time // when a worker got a job

	mu      sync.Mutex
	came    sync.Cond // reading has ended
	reading bool      // a worker reads ahead
	dry     bool      // the last time there was nothing more to read
	ahead   []handed  // taken, not handed out yet
	open    map[ID]*handed
	late    []tried // put off, not booked yet
	count   int     // jobs handed out
	err     error   // why nothing more can be taken
	fault   error   // why a worker could not work
	denied  denial  // why no more was handed out
}

// handed is a job taken from the store.
type handed struct {
	job  Job
	at   time.Time // when its Age and Ours were true
	no   uint64    // of wakings before it was handed out
	dots []int     // recipients whose final dot was about to be sent
}

// takeAhead is how many jobs are read from the store at once, and how many a
// destination has done when others have their turn; more for more workers.
const takeAhead = 8

func (s *Scheduler) newTrip(l Lease, claims, work context.Context) *Trip {
	t := &Trip{s: s, claims: claims, open: map[ID]*handed{}}
	t.came.L = &t.mu
	t.ctx, t.lease = s.keepLease(work, l, func() { s.lanes.look(t) })
	return t
}

// Domain is the destination: Recipient.Domain of all that Next returns.
func (t *Trip) Domain() string { return t.lease.Destination }

// Next hands out the next due job: submitters in turn, of each the oldest first.
// False when there is none, the relay is about to stop, the lane is left alone or has
// used up its rate, or it is the turn of others.
func (t *Trip) Next() (Job, bool) {
	j, ok := t.next()
	if !ok {
		if err := t.Flush(); err != nil {
			t.worked(err)
		}
	}
	return j, ok
}

func (t *Trip) next() (Job, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped() || !t.fill() {
		return Job{}, false
	}
	if t.denied = t.s.lanes.grant(t, len(t.ahead) > 1); t.denied != granted {
		return Job{}, false
	}
	h := t.ahead[0]
	t.ahead = t.ahead[1:]
	h.no = t.s.wakings.count()
	t.open[h.job.Message.ID] = &h
	t.count++
	return h.job, true
}

func (t *Trip) stopped() bool { return t.claims.Err() != nil || t.ctx.Err() != nil }

// fill sees to it that there is a job ahead, if there is one at all. One worker
// reads when few are left, without the lock; the others go on with those. t.mu is held.
func (t *Trip) fill() bool {
	for t.err == nil {
		few := len(t.ahead) <= takeAhead/4
		switch {
		case few && !t.reading && !(t.dry && len(t.ahead) > 0):
			n := t.s.lanes.ahead(t, t.count > 0)
			if n == 0 {
				return len(t.ahead) > 0
			}
			t.take(n)
			if len(t.ahead) == 0 {
				return false
			}
		case len(t.ahead) > 0:
			return true
		default:
			t.came.Wait()
		}
	}
	return false
}

// take reads up to n jobs from the store. t.mu is held, but not while it reads.
func (t *Trip) take(n int) {
	t.reading = true
	t.mu.Unlock()
	at := time.Now()
	var jobs []Job
	err := errPanic
	defer func() {
		t.mu.Lock()
		t.reading, t.dry, t.err = false, len(jobs) < n, err
		for _, j := range jobs {
			t.ahead = append(t.ahead, handed{job: j, at: at})
		}
		t.came.Broadcast()
	}()
	jobs, err = t.s.w.Take(context.WithoutCancel(t.ctx), t.lease.Lease, n)
}

// Body opens the stored body of a job, as Work.Body does; as often as needed.
func (t *Trip) Body(j Job) (io.ReadSeekCloser, error) {
	if err := t.Flush(); err != nil { // before what may take long
		return nil, err
	}
	return t.s.w.Body(t.ctx, j.Message.ID)
}

// Sending marks that the final dot for these recipients is about to be sent.
// When it fails, the dot must not be sent.
func (t *Trip) Sending(j Job, ns ...int) error {
	t.mu.Lock()
	if h := t.open[j.Message.ID]; h != nil {
		h.dots = append(h.dots, ns...)
	}
	t.mu.Unlock()
	return t.s.w.Sending(t.ctx, t.lease.Lease, j.Message.ID, ns...)
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
// all that is due when they could not work or took nothing, or when the lane is
// left alone, and only what they had in hand when one panicked. No worker is there
// any more. Its own error means that even this did not work.
func (t *Trip) finish() error {
	if err := t.Flush(); err != nil {
		return err
	}
	if t.stopped() {
		return nil
	}
	if t.err != nil {
		return t.err
	}
	err, why := t.fault, "the delivery ended without a result"
	if err != nil {
		why = err.Error()
		t.s.log.Warn("delivery not possible", "domain", t.Domain(), "err", err)
	}
	a := Attempt{At: time.Now(), Outcome: Deferred, Ours: true, Why: why, Wait: idle}
	if err := t.putOff(slices.Collect(maps.Values(t.open)), a); err != nil {
		return err
	}
	if _, ok := t.s.lanes.suspended(t.lane, 0); ok {
		return t.putOffWhileShut(0)
	}
	if t.count > 0 && (err == nil || errors.Is(err, errPanic)) || t.denied != granted {
		return nil
	}
	return t.putOffAll(func() (Attempt, bool) { return a, time.Since(a.At) < idle })
}

// putOffWhileShut puts off all that is due as long as the lane is shut for longer than that.
func (t *Trip) putOffWhileShut(than time.Duration) error {
	return t.putOffAll(func() (Attempt, bool) { return t.s.lanes.suspended(t.lane, than) })
}

// putOffAll gives all that is due this attempt, as long as there is one: of very much
// mail the first is due again before the last is put off. No worker is there.
func (t *Trip) putOffAll(with func() (Attempt, bool)) error {
	for a, ok := with(); ok && !t.stopped(); a, ok = with() {
		hs := make([]*handed, 0, len(t.ahead))
		t.mu.Lock()
		for _, h := range t.ahead {
			h.no = t.s.wakings.count()
			t.open[h.job.Message.ID] = &h
			hs = append(hs, &h)
		}
		t.ahead = nil
		t.mu.Unlock()
		if err := t.putOff(hs, a); err != nil {
			return err
		}
		t.mu.Lock()
		t.take(lateMost)
		t.mu.Unlock()
		if t.err != nil || len(t.ahead) == 0 {
			return t.err
		}
	}
	return nil
}

// putOff gives jobs this attempt. Whose final dot may have gone out, and was not
// settled, may have the message.
func (t *Trip) putOff(hs []*handed, a Attempt) error {
	if len(hs) == 0 {
		return nil
	}
	ts := make([]tried, 0, len(hs))
	for _, h := range hs {
		as := make(map[int]Attempt, len(h.job.Recipients))
		for _, r := range h.job.Recipients {
			x := a
			if slices.Contains(h.dots, r.N) {
				x.Stage = "dot"
			}
			as[r.N] = x
		}
		ts = append(ts, tried{h.job, as})
	}
	return t.settle(ts)
}

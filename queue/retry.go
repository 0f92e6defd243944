package queue

import (
	"fmt"
	"time"
)

const (
	// oursAtMost bounds the wait on a fault of ours: once it is mended the mail
	// should not sit for the hours that spare a remote host. What is woken when
	// its time has come waits as long, for its delay notice and its lifetime. Where
	// a remote said what our fault is there is no such bound: it should not hear of
	// us every quarter of an hour, and once our verdict is better the mail is woken.
	oursAtMost = 15 * time.Minute
	// idle is the wait of a job that its worker could not work on at all.
	idle = time.Minute
)

// booking is what one attempt means for one recipient.
type booking struct {
	Result
	r         *Recipient // before it
	tellDelay bool       // the sender is due its one delay notice
	tellHeld  bool       // it outlived its lifetime on a fault of ours
}

// book decides. r is the recipient before the attempt, with Age and Ours up to
// now. jitter spreads retries; it is in [0,1).
func (o Options) book(m *Message, r *Recipient, a Attempt, jitter float64) booking {
	a.Waited = r.Age + r.Ours
	b := booking{r: r, Result: Result{ID: m.ID, N: r.N, Attempt: &a, Reason: a.reason()}}
	switch a.Outcome {
	case Sent:
		b.State, b.Reason = Delivered, ""
		return b
	case Refused:
		b.State = Failed
		return b
	}
	life := o.Lifetime
	if m.Lifetime > 0 {
		life = m.Lifetime
	}
	total := r.Age + r.Ours
	switch {
	case !a.Ours && r.Age >= life:
		b.State = Failed
		b.Reason = "4.4.7 delivery time expired: " + b.Reason // RFC 3463 section 3.5
		return b
	case a.Ours && total >= life:
		b.State, b.tellHeld = Held, true
		b.tellDelay = !r.Delayed && o.DelayNotice > 0
		return b
	}
	b.State = Waiting
	b.Delay = o.delay(r, a, jitter)
	if left := life - r.Age; !a.Ours && b.Delay > left {
		b.Delay = left // the last try is made when the time is up, not hours later
	}
	b.tellDelay = !r.Delayed && o.DelayNotice > 0 && total >= o.DelayNotice
	return b
}

// delay is the wait after the try just made, spread by a tenth to either side
// so that what failed together does not come back together.
func (o Options) delay(r *Recipient, a Attempt, jitter float64) time.Duration {
	d := a.Wait
	if !a.tried() {
		d = oursAtMost
	}
	if d <= 0 {
		d = o.Retry[min(r.Tries, len(o.Retry)-1)]
		if a.Ours && a.Class == "" {
			d = min(d, oursAtMost)
		}
	}
	return d + time.Duration((jitter-0.5)*0.2*float64(d))
}

// nothingNew: it waits for what it waited for before, and nobody is told.
func (b *booking) nothingNew() bool {
	r, a := b.r, b.Attempt
	return !a.tried() && b.State == Waiting && !b.tellDelay &&
		r.State == Waiting && r.Last.Awaits == a.Awaits && r.Reason == b.Reason
}

// reason tells in one line why the recipient was not delivered to.
func (a Attempt) reason() string {
	switch {
	case a.Reply.Code != 0:
		s := fmt.Sprint(a.Reply.Code)
		if a.Reply.Status != "" {
			s += " " + a.Reply.Status
		}
		if a.Host != "" {
			s += " from " + a.Host
		}
		if a.Class != "" {
			s += ": " + a.Class
		}
		return s
	case a.Why != "":
		return a.Why
	}
	return "no reason given"
}

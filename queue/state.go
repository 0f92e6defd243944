package queue

import "time"

// Leaves says that a recipient in this state is no longer kept.
func (s State) Leaves() bool { return s == Delivered || s == Reported || s == Removed }

// After is the recipient once x is booked at the moment now. Every store books
// by it, so that the rules stand here only: what the operator held or gave up
// meanwhile stays so, unless it was delivered, which cannot be undone.
func (r Recipient) After(x Result, now time.Time) Recipient {
	if x.Attempt != nil {
		r.Last = *x.Attempt
		if x.Attempt.tried() {
			r.Tries++
		}
	}
	r.Delayed = r.Delayed || x.Delayed
	if (r.State == Held || r.State == Failed && x.State != Reported) && x.State != Delivered {
		return r
	}
	r.State, r.Reason = x.State, x.Reason
	if x.State == Waiting {
		r.Next = now.Add(x.Delay)
	}
	return r
}

// Changed is the recipient once the operator did c at the moment now, and
// whether that is a change at all. A failed recipient can only be removed: its
// sender may have been told already.
func (r Recipient) Changed(c Change, now time.Time) (Recipient, bool) {
	if !c.allows(r.State) {
		return r, false
	}
	switch {
	case c.State == Removed:
	case c.State == Failed && (r.State == Waiting || r.State == Held):
		r.Reason = givenUp(r.Reason)
	case c.State == Held && r.State == Waiting:
		r.Reason = HeldByOperator
	case c.State == Waiting && r.State == Held:
		r.Reason = "released by the operator"
		r.Next = now.Add(c.Delay)
	case c.State == Waiting && r.State == Waiting:
		r.Next = now.Add(c.Delay)
	default:
		return r, false
	}
	r.State = c.State
	return r, true
}

// HeldByOperator is the Reason of mail that he wanted held; other held mail outlived
// its lifetime on a fault of ours.
const HeldByOperator = "held by the operator"

// givenUp keeps why it waited: that is what the sender is told.
func givenUp(why string) string {
	if why == "" {
		return "given up by the operator"
	}
	return "given up by the operator: " + why
}

func (c Change) allows(s State) bool {
	if c.Only == nil {
		return true
	}
	for _, o := range c.Only {
		if o == s {
			return true
		}
	}
	return false
}

// Matches says whether the filter selects this recipient of this message.
// Limit is for who counts.
func (f Filter) Matches(m *Message, r *Recipient) bool {
	return (f.ID == "" || f.ID == m.ID) &&
		(f.From == "" || f.From == m.Envelope.From) &&
		(f.Domain == "" || f.Domain == r.Domain) &&
		(f.State == "" || f.State == r.State)
}

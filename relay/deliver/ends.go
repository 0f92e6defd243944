package deliver

import (
	"errors"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// or is the turn that leaves out more.
func (t turn) or(o turn) turn {
	if o.next > t.next || len(t.class.Checks) == 0 && o.next == t.next {
		return o
	}
	return t
}

// sorted is what a transaction's ends mean for its recipients.
type sorted struct {
	settle    map[int]queue.Attempt
	elsewhere []queue.Recipient     // another exchanger may take them
	later     []queue.Recipient     // this one will, in another transaction
	off       map[int]queue.Attempt // of those elsewhere, each its own
	last      queue.Attempt         // the last of these
	cause     queue.Attempt         // of the turn
	said      []queue.Attempt       // what the remote said against us, each reply once
	turn      turn
}

var errNoTurn = errors.New("the connection ended before this address had its turn")

// over: nothing more of this message is to be said here. The refusal of one
// recipient may be about that one alone, unless it asks for less of everything.
func (x *sorted) over() bool {
	return x.turn.next >= slower && (x.turn.next == slower || x.cause.Stage != "rcpt")
}

// noTurn is the attempt of whom the connection did not last for.
func noTurn(base queue.Attempt) queue.Attempt {
	a, _ := book(base, at("mail", errNoTurn), reply{}, dialogue{})
	return a
}

// unserved is the attempt of those who were still to come when the connection
// died: what was said of others, but for goodbye, is not said of them.
func (x *sorted) unserved(base queue.Attempt) queue.Attempt {
	if code := x.last.Reply.Code; x.last.Outcome == "" || code != 0 && code != 421 {
		return noTurn(base)
	}
	return x.last
}

func (x *sorted) dropDeferred() {
	for n, a := range x.settle {
		if a.Outcome == queue.Deferred {
			delete(x.settle, n)
		}
	}
}

// sortEnds books each end. content tells whether a refusal that may be about us or
// about the message is about the message.
func sortEnds(base queue.Attempt, batch []queue.Recipient, ends []end, last map[int]queue.Attempt, d dialogue, content func(queue.Recipient, queue.Attempt) bool) *sorted {
	x := &sorted{settle: map[int]queue.Attempt{}, off: map[int]queue.Attempt{}}
	taken := false
	for _, e := range ends {
		taken = taken || e.err == nil
	}
	for i, r := range batch {
		now, t := book(base, ends[i].err, ends[i].reply, d)
		if t.class.Doubt && content(r, now) {
			now.Outcome, now.Ours, now.Class, t = queue.Refused, false, string(preflight.KindContent), turn{}
		}
		a, t := after(last[r.N], now, t)
		if t.next > x.turn.next || t.next == x.turn.next && now.Stage != "rcpt" {
			x.cause = now
		}
		x.turn = x.turn.or(t)
		if !slices.ContainsFunc(x.said, func(o queue.Attempt) bool { return o.Reply == a.Reply }) {
			x.said = append(x.said, a)
		}
		switch {
		case taken && tooMany(a):
			x.later = append(x.later, r)
		case t.next != settled:
			x.elsewhere = append(x.elsewhere, r)
			x.off[r.N], x.last = a, a
		default:
			x.settle[r.N] = a
		}
	}
	return x
}

// tooMany: the recipient is one more than the peer takes at once. 552 is how RFC
// 821 said it (RFC 5321 section 4.5.3.1.10).
func tooMany(a queue.Attempt) bool {
	if a.Stage != "rcpt" || a.Reply.Code != 452 && a.Reply.Code != 552 {
		return false
	}
	_, detail, _ := strings.Cut(a.Reply.Status, ".")
	return detail == "" || detail == "5.3"
}

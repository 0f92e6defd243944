package deliver

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"smtprelay/queue"
)

// maxRcpts is how many recipients any server must take in one transaction (RFC
// 5321 section 4.5.3.1.8).
const maxRcpts = 100

// limit is a number from the LIMITS extension (RFC 9422), or no.
func (s *session) limit(name string, no int) int {
	for word := range strings.FieldsSeq(strings.ToUpper(s.ext["LIMITS"])) {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				return n
			}
		}
	}
	return no
}

// usable tells whether another transaction may be begun.
func (s *session) usable() bool {
	return !s.dead && (s.count == 0 || s.count < s.limit("MAILMAX", s.count+1))
}

// carry sends a job's message over v.s to as many of rs as it can, in as many
// transactions as that takes, and settles what is final after each. Those left
// may be tried elsewhere, which the turn says; last has their attempts so far.
// again means that the exchanger is good and only the connection has had its time.
func (v *voyage) carry(j queue.Job, rs []queue.Recipient, last map[int]queue.Attempt) (left []queue.Recipient, t turn, err error) {
	s := v.s
	t.next = elsewhere
	for len(rs) > 0 {
		base := s.attempt()
		base.TLS, base.DSN = s.tlsName, s.has("DSN")
		if !s.usable() {
			v.note(last, rs, noTurn(base))
			if !s.dead && t.next == elsewhere {
				t.next = again
			}
			return append(left, rs...), t, nil
		}
		n := min(len(rs), maxRcpts, s.limit("RCPTMAX", maxRcpts))
		batch, rest := rs[:n], rs[n:]
		served := s.count > 0
		ends := v.transaction(j, s, batch)
		v.refusedBy(s, ends)
		x := sortEnds(base, batch, ends)
		for _, a := range x.settle {
			v.tell(a)
		}
		if len(x.elsewhere) > 0 {
			v.tell(x.last)
		}
		for _, a := range x.said {
			v.hear(j.Message, a)
		}
		t = t.or(x.turn)
		if x.turn.next == slower {
			v.failed[place{source: s.source}] = failure{x.slow, x.turn}
		}
		if v.ctx.Err() != nil {
			x.dropDeferred() // we broke it off: that is no try
		}
		if err := v.trip.Settle(j, x.settle); err != nil {
			return nil, t, err
		}
		if v.ctx.Err() != nil {
			return nil, t, v.ctx.Err()
		}
		for _, r := range x.elsewhere {
			v.note(last, []queue.Recipient{r}, x.last)
		}
		if s.dead {
			// An idle connection may be closed at any time: that is no fault of
			// the exchanger, and nothing was lost with it.
			if served && x.last.Stage == "mail" && t.next == elsewhere {
				t.next = again
			}
			rest = append(x.later, rest...)
			v.note(last, rest, x.unserved(base))
			return slices.Concat(left, x.elsewhere, rest), t, nil
		}
		left = append(left, x.elsewhere...)
		rs = append(x.later, rest...)
	}
	return left, t, nil
}

// or is the turn that leaves out more.
func (t turn) or(o turn) turn {
	if o.next > t.next || len(t.named) == 0 && o.next == t.next {
		return o
	}
	return t
}

// sorted is what a transaction's ends mean for its recipients.
type sorted struct {
	settle    map[int]queue.Attempt
	elsewhere []queue.Recipient // another exchanger may take them
	later     []queue.Recipient // this one will, in another transaction
	last      queue.Attempt     // of those elsewhere
	slow      queue.Attempt     // of those that it was too much for
	said      []queue.Attempt   // what the remote said against us, each reply once
	turn      turn
}

var errNoTurn = errors.New("the connection ended before this address had its turn")

// noTurn is the attempt of whom the connection did not last for.
func noTurn(base queue.Attempt) queue.Attempt {
	a, _ := book(base, at("mail", errNoTurn), reply{})
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

func sortEnds(base queue.Attempt, batch []queue.Recipient, ends []end) *sorted {
	x := &sorted{settle: map[int]queue.Attempt{}}
	taken := false
	for _, e := range ends {
		taken = taken || e.err == nil
	}
	for i, r := range batch {
		a, t := book(base, ends[i].err, ends[i].reply)
		x.turn = x.turn.or(t)
		if !slices.ContainsFunc(x.said, func(o queue.Attempt) bool { return o.Reply == a.Reply }) {
			x.said = append(x.said, a)
		}
		switch {
		case taken && tooMany(a):
			x.later = append(x.later, r)
		case t.next == slower:
			x.settle[r.N], x.slow = a, a
		case t.next != settled:
			x.elsewhere = append(x.elsewhere, r)
			x.last = a
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

// transaction opens the stored message and sends it to batch.
func (v *voyage) transaction(j queue.Job, s *session, batch []queue.Recipient) []end {
	body, err := v.trip.Body(j)
	if err != nil {
		return same(batch, at("data", &local{err}))
	}
	defer body.Close()
	m := j.Message
	size := int64(len(m.Head)) + m.Size
	utf8, err := v.needs(s, m, body, size)
	if err != nil {
		return same(batch, err)
	}
	t := transaction{
		mail: s.mailLine(m, size, utf8),
		body: io.MultiReader(bytes.NewReader(m.Head), body),
		size: size,
	}
	ends := make([]end, len(batch))
	var place []int // in batch, of each of t.rcpt
	for i := range batch {
		if local, _ := cut(batch[i].Address); !utf8 && !isASCII(local) {
			ends[i] = end{err: at("rcpt", errNeedsUTF8)}
			continue
		}
		t.rcpt = append(t.rcpt, s.rcptLine(&batch[i], utf8))
		place = append(place, i)
	}
	if len(t.rcpt) == 0 {
		return ends
	}
	t.sending = func(accepted []int) error {
		ns := make([]int, len(accepted))
		for k, i := range accepted {
			ns[k] = batch[place[i]].N
		}
		return v.trip.Sending(j, ns...)
	}
	for k, e := range s.transact(t) {
		ends[place[k]] = e
	}
	return ends
}

// needs compares the message with what the peer offers: whether SMTPUTF8 is to
// be asked for, or why the message cannot go there.
func (v *voyage) needs(s *session, m *queue.Message, body io.ReadSeeker, size int64) (utf8 bool, err error) {
	if m.Envelope.RequireTLS {
		return false, at("mail", errRequireTLS)
	}
	if err := s.fits(size); err != nil || !m.Envelope.UTF8 {
		return false, err
	}
	if s.has("SMTPUTF8") {
		return true, nil
	}
	needed, err := wantsUTF8(m, body)
	switch {
	case err != nil:
		return false, at("data", &local{err})
	case needed:
		return false, at("mail", errNeedsUTF8)
	}
	return false, nil
}

func same(batch []queue.Recipient, err error) []end {
	ends := make([]end, len(batch))
	for i := range ends {
		ends[i].err = err
	}
	return ends
}

package deliver

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

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

const (
	// maxMessages and maxAge bound one connection: a receiver that spreads its load
	// over many hosts wants us to come again.
	maxMessages = 100
	maxAge      = 5 * time.Minute
)

// usable tells whether another transaction may be begun.
func (s *session) usable() bool {
	return !s.dead && (s.count == 0 || s.count < min(maxMessages, s.limit("MAILMAX", maxMessages)) && time.Since(s.born) < maxAge)
}

// carry sends a job's message over v.s to as many of rs as it can, in as many
// transactions as that takes, and settles what is final after each. Those left
// were put off and may be tried elsewhere, which the turn says; those in rest had
// no turn, and last has the attempts of both so far. again means that the
// exchanger is good for the rest and only the connection, or its source, has had
// its time.
func (v *voyage) carry(j queue.Job, rs []queue.Recipient, last map[int]queue.Attempt, refused []string) (left, rest []queue.Recipient, t turn, err error) {
	s := v.s
	t.next = elsewhere
	for begun := false; len(rs) > 0; begun = true {
		base := s.attempt()
		base.TLS, base.DSN = s.tlsName, s.has("DSN")
		if begun && !v.may(j.Message, s.source, refused) { // what was open has ended in good order, and nothing new begins
			v.note(last, rs, noTurn(base))
			if t.next == elsewhere {
				t.next = again
			}
			return left, rs, t, nil
		}
		if !s.usable() {
			v.note(last, rs, noTurn(base))
			if !s.dead && t.next == elsewhere {
				t.next = again
			}
			return left, rs, t, nil
		}
		n := min(len(rs), s.rcptMax())
		served := s.count > 0
		var next func() envelope
		if n == len(rs) && len(left) == 0 {
			next = func() envelope { return v.next(s) }
		}
		x, err := v.load(j, base, rs[:n], last, next)
		if t = t.or(x.turn); err != nil {
			return nil, nil, t, err
		}
		rest = slices.Concat(x.later, rs[n:])
		if x.over() {
			v.note(last, rest, x.cause)
			return append(left, x.elsewhere...), rest, t, nil
		}
		if s.dead {
			v.note(last, rest, x.unserved(base))
			lost := s.led && x.last.Outcome != "" && x.last.Reply.Code == 0
			if lost {
				v.inTurn.lost(s.addr)
			}
			// An idle connection may be closed at any time: that is no fault of
			// the exchanger, and nothing was lost with it.
			if (served && x.last.Stage == "mail" || lost) && t.next == elsewhere {
				t.next = again
				return left, slices.Concat(x.elsewhere, rest), t, nil
			}
			return append(left, x.elsewhere...), rest, t, nil
		}
		left = append(left, x.elsewhere...)
		rs = rest
	}
	return left, nil, t, nil
}

// load is one transaction for batch: it settles what is final and tells whom it
// concerns.
func (v *voyage) load(j queue.Job, base queue.Attempt, batch []queue.Recipient, last map[int]queue.Attempt, next func() envelope) (*sorted, error) {
	s := v.s
	ends := v.transaction(j, s, batch, next)
	d := s.dialogue(j.Message, batch)
	v.refusedBy(s, ends, d)
	x := sortEnds(base, batch, ends, last, d, func(r queue.Recipient, a queue.Attempt) bool { return v.taken.content(r, a, d.mail) })
	for _, a := range x.settle {
		v.tell(a)
		v.taken.note(a, d.mail)
	}
	for _, a := range x.off {
		v.tell(a)
	}
	for _, a := range x.said {
		v.hear(d, a)
	}
	v.slow(failure{x.cause, x.turn}, d)
	if v.ctx.Err() != nil {
		x.dropDeferred() // we broke it off: that is no try
	}
	if err := v.trip.Settle(j, x.settle); err != nil {
		return x, err
	}
	for _, r := range x.elsewhere {
		v.note(last, []queue.Recipient{r}, x.off[r.N])
	}
	return x, v.ctx.Err()
}

// transaction opens the stored message and sends it to batch.
func (v *voyage) transaction(j queue.Job, s *session, batch []queue.Recipient, next func() envelope) []end {
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
	t := transaction{head: m.Head, body: body, size: size, next: next}
	t.mail = s.mailLine(m, size, utf8)
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

// rcptMax is how many recipients a transaction may have.
func (s *session) rcptMax() int { return min(maxRcpts, s.limit("RCPTMAX", maxRcpts)) }

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

package deliver

import (
	"slices"
	"time"

	"smtprelay/queue"
)

// Where the peer offers PIPELINING the envelope of the next message goes out with
// the final dot of the one before (RFC 2920 section 3.1 allows it): a message then
// takes one round trip and not two. Its text is only begun with once the one before
// is settled. Where it is not to be sent after all the connection ends without a
// word: DATA cannot be taken back.

// soon is how fast a peer must have answered one final dot to get an envelope with
// the next: for so long that message could go over another connection.
const soon = 100 * time.Millisecond

// take the next job.
func (v *voyage) take() (j queue.Job, ok bool) {
	if v.ahead == nil {
		return v.trip.Next()
	}
	j, v.ahead = *v.ahead, nil
	return j, true
}

// look at the next job.
func (v *voyage) look() (j queue.Job, ok bool) {
	if j, ok = v.take(); ok {
		v.ahead = &j
	}
	return j, ok
}

// next is the envelope of the next message where it goes the same way as this one;
// else it is empty.
func (v *voyage) next(s *session) envelope {
	if v.inTurn || time.Since(v.asked) > fresh {
		return envelope{}
	}
	j, ok := v.look()
	if !ok {
		return envelope{}
	}
	m := j.Message
	size := int64(len(m.Head)) + m.Size
	if m.Envelope.UTF8 || m.Envelope.RequireTLS || s.fits(size) != nil {
		return envelope{}
	}
	hops, err := v.hops(j, nil, nil)
	if err != nil || !slices.ContainsFunc(hops, s.serves) {
		return envelope{}
	}
	e := envelope{mail: s.mailLine(m, size, false)}
	for i := range j.Recipients[:min(len(j.Recipients), s.rcptMax())] {
		r := &j.Recipients[i]
		if !isASCII(r.Address) {
			return envelope{}
		}
		e.rcpt = append(e.rcpt, s.rcptLine(r, false))
	}
	if !e.safe() {
		return envelope{}
	}
	return e
}

// envelope is what comes before the text of a message: MAIL and RCPT, whole lines.
type envelope struct {
	mail string
	rcpt []string
}

func (e envelope) empty() bool { return e.mail == "" }

func (e envelope) equal(o envelope) bool { return e.mail == o.mail && slices.Equal(e.rcpt, o.rcpt) }

// safe tells whether no line of it would be two to the peer.
func (e envelope) safe() bool { return !unsafe(e.mail) && !slices.ContainsFunc(e.rcpt, unsafe) }

// say the envelope, with DATA.
func (s *session) say(e envelope) {
	s.write(e.mail)
	for _, line := range e.rcpt {
		s.write(line)
	}
	s.write("DATA")
}

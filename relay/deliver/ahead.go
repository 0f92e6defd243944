package deliver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"smtprelay/queue"
)

// Where the peer offers PIPELINING the envelope of the next message goes out with
// the final dot of the one before (RFC 2920 section 3.1 allows it): a message then
// takes one round trip and not two. Its text is only begun with once the one before
// is settled. Where it is not to be sent after all the connection ends without a
// word: DATA cannot be taken back. Where it was lost, or answered as if it made no
// sense, nothing is booked: it is said again in turn, over a new connection.

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
	if time.Since(v.asked) > fresh || v.inTurn.wants(s.addr) {
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
	ctx, cancel := context.WithTimeout(v.ctx, v.c.soon) // the peer waits for the dot
	defer cancel()
	hops, err := v.hops(ctx, j, nil, nil)
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

// errOutOfStep: what a peer says of an envelope that went ahead of its turn may be
// about something else.
var errOutOfStep = errors.New("the peer could not follow what was said ahead of its turn")

// outOfStep tells whether a reply speaks of the protocol, not of the message (RFC 5321
// section 4.2.2, RFC 3463 section 3.6).
func outOfStep(err error) bool {
	r, ok := remote(err)
	return ok && (r.code >= 500 && r.code <= 504 || strings.HasPrefix(apart(r).Status, "5.5."))
}

// answer reads the reply to a part of the envelope, or to DATA.
func (r *run) answer(d time.Duration, class int) error {
	_, err := r.read(d, class)
	if r.led && outOfStep(err) {
		r.dead = true
		return errOutOfStep
	}
	return err
}

// inTurn are the peers that lost an envelope which went ahead. None does there for a
// while: some answer nothing then, which takes minutes to find out.
type inTurn struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

const (
	inTurnFor  = time.Hour
	inTurnMost = 1000
)

func (t *inTurn) lost(peer netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil || len(t.until) >= inTurnMost {
		t.until = map[netip.AddrPort]time.Time{}
	}
	t.until[peer] = time.Now().Add(inTurnFor)
}

func (t *inTurn) wants(peer netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.until[peer])
}

package deliver

import (
	"errors"
	"io"
	"sync"
	"time"
)

// transaction is one MAIL with its recipients and body.
type transaction struct {
	envelope
	head []byte // what the message begins with
	// body is the rest of it, as stored. Its errors, and those of reading it, are ours.
	body io.Reader
	size int64
	// sending is called before the final dot, with the places in rcpt of those
	// that the dot is for. When it fails the dot is not sent.
	sending func(accepted []int) error
	// next is asked, where the peer takes it, for the envelope that goes out with the
	// final dot; it may have none. Nil: there is nothing to come.
	next func() envelope
}

// end is what became of one recipient: err nil means that the message was taken.
type end struct {
	reply reply
	err   error
}

// run is a transaction under way.
type run struct {
	*session
	transaction
	ends     []end
	open     []bool // no end yet
	pipeline bool
}

// transact runs t and returns an end for each of t.rcpt. Every error in it has
// its stage. A session that is dead afterwards must not be used again.
func (s *session) transact(t transaction) []end {
	r := &run{session: s, transaction: t, pipeline: s.has("PIPELINING")}
	r.ends = make([]end, len(t.rcpt))
	r.open = make([]bool, len(t.rcpt))
	for i := range r.open {
		r.open[i] = true
	}
	// A peer that answers everything, slowly, holds a worker no longer than this.
	s.until = time.Now().Add(s.t.Mail + s.t.Rcpt + time.Duration(len(t.rcpt))*s.t.Rcpt/20)
	s.count++
	s.led = false
	r.all()
	s.until = time.Time{}
	return r.ends
}

func (r *run) all() {
	r.vet()
	if err := r.reset(); err != nil {
		r.failOpen("mail", err)
	}
	if len(r.waiting()) == 0 {
		return
	}
	r.dirty = true
	mail := r.address()
	ok := r.waiting()
	switch {
	case r.dead:
	case len(ok) > 0:
		r.data(ok)
	case r.pipeline:
		r.noneValid(mail)
	}
}

// vet sorts out what must not go on the wire.
func (r *run) vet() {
	if unsafe(r.mail) {
		r.failOpen("mail", errUnsafe)
	}
	for i, line := range r.rcpt {
		if unsafe(line) && r.open[i] {
			r.fail(i, "rcpt", errUnsafe)
		}
	}
}

// reset makes an end of a transaction that was left open. Where none was, RFC
// 5321 section 3.3 needs no RSET.
func (r *run) reset() error {
	switch {
	case !r.ahead.empty() && !r.ahead.equal(r.envelope):
		r.dead = true
		return errAhead
	case !r.ahead.empty() || !r.dirty:
		return nil
	}
	r.dirty = false
	_, err := r.command(r.t.Mail, 2, "RSET")
	return err
}

// errAhead: DATA was said for a message that is not to be sent now. Only the end
// of the connection takes it back.
var errAhead = errors.New("the connection stood ready for another message")

// address says MAIL and RCPT, in one go with DATA to those that offer PIPELINING
// (RFC 2920), unless that was done already, and returns what became of MAIL.
func (r *run) address() (mail error) {
	todo := r.waiting()
	if r.led = !r.ahead.empty(); !r.led {
		r.write(r.mail)
		if r.pipeline {
			for _, i := range todo {
				r.write(r.rcpt[i])
			}
			r.write("DATA")
		}
		mail = r.flush()
	}
	r.ahead = envelope{}
	if mail == nil {
		mail = r.answer(r.t.Mail, 2)
	}
	if answered(mail) {
		r.led = false // what follows is refused because of that
	}
	if mail == nil || r.pipeline && !r.dead {
		r.recipients(todo)
	}
	if mail != nil {
		for _, i := range todo {
			r.fail(i, "mail", mail) // whatever was said to RCPT after that
		}
	}
	return mail
}

// recipients reads the answers to RCPT, after sending each when not pipelined.
func (r *run) recipients(todo []int) {
	for _, i := range todo {
		var err error
		if !r.pipeline {
			r.write(r.rcpt[i])
			err = r.flush()
		}
		if err == nil {
			err = r.answer(r.t.Rcpt, 2)
		}
		if r.dead {
			r.failOpen("rcpt", err)
			return
		}
		if err != nil {
			r.fail(i, "rcpt", err)
		}
	}
}

// waiting are the places of recipients without an end.
func (r *run) waiting() (is []int) {
	for i, o := range r.open {
		if o {
			is = append(is, i)
		}
	}
	return is
}

// noneValid takes the answer to a DATA that was pipelined in vain. Should it be
// 354 all the same, a lone dot ends what the peer waits for (RFC 2920 section
// 3.1): it has nobody to deliver it to. After a refused MAIL that is not sure,
// and the connection ends instead.
func (r *run) noneValid(mail error) {
	if _, err := r.read(r.t.Data, 3); err != nil {
		return
	}
	if mail != nil {
		r.dead = true
		return
	}
	r.command(r.t.Dot, 2, ".")
}

// data sends the message to the recipients ok.
func (r *run) data(ok []int) {
	var err error
	if !r.pipeline {
		r.write("DATA")
		err = r.flush()
	}
	if err == nil {
		err = r.answer(r.t.Data, 3)
	}
	if err != nil {
		r.failOpen("data", err)
		return
	}
	r.led = false
	// Ten minutes, and as long as the slowest line we put up with needs.
	r.until = time.Now().Add(10*time.Minute + time.Duration(r.size/(8<<10))*time.Second)
	if err := r.send(ok); err != nil {
		r.dead = true
		r.failOpen("data", err)
		return
	}
	r.dot(ok)
}

// send writes all but the final dot. Any error in it means that the connection
// is good for nothing any more: the peer would take the next command for text,
// or the text that came for the whole message.
func (r *run) send(ok []int) error {
	w := &dotWriter{w: r.out}
	_, err := w.Write(r.head)
	if err == nil {
		room := rooms.Get().(*[]byte)
		_, err = io.CopyBuffer(w, onlyReader{r.body}, *room)
		rooms.Put(room)
	}
	if err == nil {
		err = w.finish()
	}
	if r.pace.err != nil {
		return r.late(r.pace.err)
	}
	var next envelope
	if err == nil && r.next != nil && r.prompt && r.pipeline && len(ok) == len(r.rcpt) && r.usable() {
		next = r.next()
	}
	if err == nil {
		err = r.sending(ok)
	}
	if err == nil {
		r.end(next)
	}
	if err != nil {
		r.abort()
		return &local{err}
	}
	return nil
}

// rooms are where pieces of bodies wait between store and connection.
var rooms = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// onlyReader keeps io.Copy from finding a way around its buffer.
type onlyReader struct{ io.Reader }

// end writes the final dot, and the envelope that comes next: both may go in one
// go (RFC 2920 section 3.1).
func (r *run) end(next envelope) {
	r.out.WriteString(".\r\n") // what is wrong shows at flush
	if r.ahead = next; !next.empty() {
		r.say(next)
	}
}

// dot ends the message. What happens from here to the reply is the one moment
// in which a message may be taken without our knowing.
func (r *run) dot(ok []int) {
	r.until = time.Time{}
	began := time.Now()
	err := r.flush()
	var got reply
	if err == nil {
		got, err = r.read(r.t.Dot, 2)
	}
	if err != nil {
		r.failOpen("dot", err)
	}
	r.prompt = time.Since(began) < r.soon
	r.dirty = !r.ahead.empty() // taken or refused, this transaction is over
	for _, i := range ok {
		r.open[i] = false
		if err == nil {
			r.ends[i] = end{reply: got}
		}
	}
}

// fail gives recipient i its end.
func (r *run) fail(i int, stage string, err error) {
	r.open[i] = false
	r.ends[i] = end{err: &fault{stage: stage, err: err, botched: r.botched}}
}

// failOpen gives an end to all that have none.
func (r *run) failOpen(stage string, err error) {
	for i := range r.open {
		if r.open[i] {
			r.fail(i, stage, err)
		}
	}
}

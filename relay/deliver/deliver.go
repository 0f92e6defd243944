// Package deliver tries one destination's mail at its exchangers, or at a smart
// host where the gate says so. It speaks SMTP as a client of its own: the own
// name on every connection, PIPELINING, opportunistic TLS, bounded replies and
// waits. What the remote did to each recipient goes back to the queue as an
// Attempt, durably, before the text of another message goes over that connection.
//
// A message is read from the store anew for every transaction. When it cannot
// be read to its end, the connection is cut and never gets the final dot, so
// that no receiver can take a part for the whole.
package deliver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/queue"
)

// Gate says where a mail may leave from, and hears how connections went.
type Gate interface {
	Route(ctx context.Context, m preflight.Mail, to string, tried []string) preflight.Route
	Met(c preflight.Contact)
	// Heard is told every 4xx and 5xx but those about the content of a message.
	Heard(r preflight.Reply)
	// Instead is where a message goes that no source may send, because it was
	// refused for want of what these checks are about.
	Instead(named []string) preflight.Route
	// Mended is what a message waits for that was refused from a source for want of
	// what these checks are about; "" if nothing that could be known.
	Mended(m preflight.Mail, source string, named []string) string
}

// Deliverer is a queue.Deliverer over SMTP.
type Deliverer struct {
	gate   Gate
	mx     *resolver
	c      *client
	smart  *smart
	taken  *taken
	limits []Limit
	pool   pool
	inTurn inTurn
	log    *slog.Logger
}

var _ queue.Deliverer = (*Deliverer)(nil)

// New opens no connection.
func New(o Options, g Gate, r dns.Resolver) *Deliverer {
	c := newClient(o)
	port := o.Port
	if port == 0 {
		port = 25
	}
	r = dns.NewCache(r, maxAnswers)
	return &Deliverer{
		gate:   g,
		mx:     &resolver{dns: r, port: port, names: o.Names, check: c.dialer(hop{}).Check},
		c:      c,
		smart:  newSmart(o, r),
		taken:  newTaken(),
		pool:   pool{most: cmp.Or(o.Idle, 1000)},
		limits: o.Limits,
		log:    c.log,
	}
}

// maxAnswers is how much memory answers of DNS may take, octets: those of some
// thousand destinations.
const maxAnswers = 8 << 20

// Close ends the connections that wait for work, once nothing is delivered any more.
func (d *Deliverer) Close() { d.pool.end() }

// Bounds of one job's way through the exchangers.
const (
	maxSessions = 3               // that got as far as a transaction
	maxRenewed  = 10              // connections to one address in place of one that settled nobody
	patience    = 5 * time.Minute // after that no further exchanger is begun with, and one that failed is tried again
	fresh       = time.Minute     // so long exchangers stand; the cache knows for how long their records do
)

// Deliver works until nothing is due at the destination. Its error means that
// it could not work; what remotes said is in the attempts.
func (d *Deliverer) Deliver(ctx context.Context, t *queue.Trip) error {
	v := &voyage{Deliverer: d, ctx: ctx, trip: t, failed: map[place]failure{}}
	defer v.cut()
	err := v.jobs()
	v.leave()
	return err
}

// voyage is one trip under way.
type voyage struct {
	*Deliverer
	ctx    context.Context
	trip   *queue.Trip
	to     []exchanger // of the destination
	toErr  error
	asked  time.Time  // when to was
	s      *session   // open, or nil
	ahead  *queue.Job // handed out, not begun with; or nil
	failed map[place]failure
}

// place is where a session did not come about, so that the next messages of this
// trip do not wait for the same again. Without addr it is all the destination
// for that source, or for one sender's mail from it.
type place struct {
	source string
	addr   netip.AddrPort
	sender string
}

type failure struct {
	queue.Attempt
	turn
}

func (h hop) place() place { return place{source: h.source, addr: h.addr} }

func (v *voyage) jobs() error {
	for {
		j, ok := v.take()
		if !ok {
			return nil
		}
		if err := v.job(j); err != nil {
			return err
		}
	}
}

// leave has the open connection wait for other work, or ends it in good order.
func (v *voyage) leave() {
	if v.s != nil {
		v.pool.put(v.s)
		v.s = nil
	}
}

// cut ends a connection that was not left: a panic came in between, maybe in
// the middle of a body, and nothing may be said after that.
func (v *voyage) cut() {
	if v.s != nil {
		v.s.abort()
		v.s.close()
	}
}

func (v *voyage) job(j queue.Job) error {
	hops, err := v.hops(v.ctx, j, nil, nil)
	if v.ctx.Err() != nil {
		return v.ctx.Err()
	}
	if err != nil {
		return v.settleAll(j, j.Recipients, err)
	}
	return v.try(j, hops)
}

// note keeps an attempt for those who have no better one: what a remote said
// tells more than that another could not be reached.
func (v *voyage) note(last map[int]queue.Attempt, rs []queue.Recipient, a queue.Attempt) {
	for _, r := range rs {
		if had, ok := last[r.N]; !ok || a.Reply.Code != 0 || had.Reply.Code == 0 {
			last[r.N], _ = after(had, a, turn{})
		}
	}
}

// reach sees to it that v.s is a session with hops[i]. At the start an open one
// with any of them will do, and its hop is put first. Where none comes about,
// the failure says why.
func (v *voyage) reach(m *queue.Message, hops []hop, i int) (f failure, ok bool) {
	if v.s != nil && !v.s.usable() {
		v.leave()
	}
	if v.s == nil {
		wanted := hops[i:]
		if i > 0 {
			wanted = hops[i : i+1]
		}
		v.s = v.pool.take(v.ctx, wanted, v.trip.Domain())
	}
	if v.s != nil && i == 0 {
		v.s.first(hops)
	}
	h := hops[i]
	d := dialogue{mail: mailOf(m), ehlo: h.ehlo}
	for _, p := range []place{h.place(), {source: h.source}, {source: h.source, sender: d.sender()}} {
		if f, ok := v.known(p); ok {
			return f, false
		}
	}
	if v.s != nil {
		if v.s.serves(h) {
			v.s.admit(v.trip.Domain())
			return failure{}, true
		}
		v.leave()
	}
	if err := v.trip.Flush(); err != nil {
		f.Attempt, f.turn = book(h.attempt(), &local{err}, reply{}, d)
		return f, false
	}
	base := h.attempt()
	s, err := v.c.open(v.ctx, h)
	v.met(h, s, err, d)
	if err != nil {
		f.Attempt, f.turn = book(base, err, reply{}, d)
		v.tell(f.Attempt)
		v.hear(d, f.Attempt)
		v.failed[h.place()] = f
		v.slow(f, d)
		return f, false
	}
	v.s = s
	v.s.admit(v.trip.Domain())
	return failure{}, true
}

// known is the failure of a place as that of another message, unless it was so long
// ago that the place should be tried again: a trip lasts as long as there is mail.
func (v *voyage) known(p place) (failure, bool) {
	f, ok := v.failed[p]
	if !ok || time.Since(f.At.Add(f.Took)) > patience {
		return failure{}, false
	}
	f.At, f.Took = time.Now(), 0
	return f, true
}

// slow remembers, for this trip, that a source, or a sender from it, is
// to send less. What was said of one message alone slows down no other.
func (v *voyage) slow(f failure, d dialogue) {
	switch {
	case f.next != slower || f.class.Alone:
	case f.class.Sender:
		v.failed[place{source: f.Source, sender: d.sender()}] = f
	default:
		v.failed[place{source: f.Source}] = f
	}
}

// sender that a remote may speak of; never empty, so that it is no other place.
func (d dialogue) sender() string { return cmp.Or(d.mail.Author, d.mail.Envelope, "<>") }

// dialogue of a session about some recipients of a message.
func (s *session) dialogue(m *queue.Message, rs []queue.Recipient) dialogue {
	d := dialogue{mail: mailOf(m), ehlo: s.ehlo, envelope: []string{m.Envelope.From}}
	for _, r := range rs {
		d.envelope = append(d.envelope, r.Address)
	}
	return d
}

// first moves the hop of s to the front of hops, if it is there.
func (s *session) first(hops []hop) {
	for i, h := range hops {
		if s.serves(h) {
			copy(hops[1:i+1], hops[:i])
			hops[0] = h
			return
		}
	}
}

func (h hop) attempt() queue.Attempt {
	return queue.Attempt{At: time.Now(), Source: h.source, Host: h.host, Addr: h.addr}
}

// settleAll books one error for all rs. Whatever the gate or DNS said is about
// the destination, so no exchanger is in it.
func (v *voyage) settleAll(j queue.Job, rs []queue.Recipient, err error) error {
	as := map[int]queue.Attempt{}
	for _, r := range rs {
		e := err
		if ab, ok := errors.AsType[*absent](err); ok {
			e = at("resolve", ab.confirm(r, v.asked))
		}
		a, _ := book(queue.Attempt{At: time.Now()}, e, reply{}, dialogue{})
		v.tell(a)
		as[r.N] = a
	}
	return v.trip.Settle(j, as)
}

func (v *voyage) tell(a queue.Attempt) {
	if !v.log.Enabled(v.ctx, slog.LevelDebug) {
		return
	}
	v.log.Debug("tried", "domain", v.trip.Domain(), "host", a.Host, "source", a.Source, "stage", a.Stage,
		"code", a.Reply.Code, "status", a.Reply.Status, "reply", a.Reply.Text, "class", a.Class, "reason", a.Why)
}

// hear hands on what a remote said against us.
func (v *voyage) hear(d dialogue, a queue.Attempt) {
	if a.Reply.Code >= 400 && a.Class != string(preflight.KindContent) {
		v.gate.Heard(d.reply(a))
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// figures of one run. Those of a run that did not finish in time are of what did arrive.
type figures struct {
	Accept   float64       // messages a second, to the last 250
	Through  float64       // messages a second, to the last arrival or the end of the time
	CPU      time.Duration // of all processes, a message; 0: not measured
	Memory   int64         // octets at the most; 0: not measured
	Rest     int64         // octets before the first of them, after a hundred others; likewise
	Syncs    float64       // fsync and fdatasync, a message; negative: not counted
	P50, P99 time.Duration // from the final dot to its 250
	Sink50   time.Duration // from the final dot to the arrival, of half of them
	Sink99   time.Duration // likewise, of 99 of 100
	Missing  int           // messages that did not arrive in time
	Sent     int           // messages that could arrive
	Waiting  int           // messages that waited for a dead destination
	Fault    string        // why there are no figures at all
	Backlog  *backlog      // what a system with a backlog says of it
}

// counts tells whether there are figures.
func (f figures) counts() bool { return f.Fault == "" && f.Sent > 0 }

// done tells whether all of it arrived.
func (f figures) done() bool { return f.counts() && f.Missing == 0 }

// ratings turns a run's ledger into figures.
func ratings(book *ledger) (f figures) {
	f = figures{Syncs: -1, Sent: book.expected(), Missing: int(book.left.Load())}
	if acks := book.acks(); len(acks) > 0 {
		f.Accept = float64(len(acks)) / book.lastAck().Seconds()
		f.P50, f.P99 = percentile(acks, 50), percentile(acks, 99)
	}
	arrivals := book.arrivals()
	f.Sink50, f.Sink99 = percentile(arrivals, 50), percentile(arrivals, 99)
	took := book.lastArrival()
	if f.Missing > 0 {
		took = time.Duration(book.now())
	}
	f.Through = float64(f.Sent-f.Missing) / max(took, 1).Seconds()
	return f
}

// measured runs a system on a workload, once, with a queue of its own.
func (b *tournament) measured(ctx context.Context, s system, w workload) (f figures, err error) {
	dir, err := os.MkdirTemp(b.work, "system-")
	if err != nil {
		return f, err
	}
	g, err := newGroup(b.work, filepath.Join(b.group, filepath.Base(dir)))
	if err != nil {
		return f, err
	}
	defer func() {
		err = errors.Join(err, g.kill())
		b.lab.sink.hangUp()
		err = errors.Join(err, s.drop(), os.RemoveAll(dir))
	}()
	if err := b.lab.suffer(w.bad); err != nil {
		return f, err
	}
	f, err = b.played(ctx, s, w, dir, g)
	if err != nil {
		return f, fmt.Errorf("%w\n%s", err, s.said())
	}
	return f, nil
}

// played is a run from the start of the system to its last figure.
func (b *tournament) played(ctx context.Context, s system, w workload, dir string, g *group) (f figures, err error) {
	if w.backlog > 0 {
		if err := fill(ctx, queueOf(dir), w.backlog); err != nil {
			return f, fmt.Errorf("write a backlog: %w", err)
		}
	}
	began := time.Now()
	if err := s.start(ctx, b.lab, dir, g, w.dkim); err != nil {
		return f, fmt.Errorf("start %s: %w", s.name(), err)
	}
	ready := time.Since(began)
	first, err := b.prepare(ctx, w)
	if err != nil {
		return f, fmt.Errorf("prepare %s: %w", s.name(), err)
	}
	waiting, err := b.wait(ctx, w)
	if err != nil {
		return f, fmt.Errorf("prepare %s: %w", s.name(), err)
	}
	if err := g.quiet(ctx, time.Minute); err != nil {
		return f, err
	}
	starting, rest := g.peakMemory(), g.memory()
	stop := b.watch(s, w)
	f, err = b.take(ctx, g, w)
	f.Waiting, f.Rest = waiting, rest
	if err = errors.Join(err, stop()); err != nil {
		return f, err
	}
	if r, ok := s.(*relaySystem); ok && w.backlog > 0 {
		f.Memory = max(f.Memory, starting)
		f.Backlog, err = r.backlog(ctx, g, w.backlog)
		if err == nil {
			f.Backlog.Ready, f.Backlog.First = ready, first.Sub(began)
		}
	}
	return f, err
}

// warmUp is how many messages go first, so that processes, connections and names are there.
const warmUp = 100

// prepare sends those first ones, and says when the first of them arrived.
func (b *tournament) prepare(ctx context.Context, w workload) (first time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, book := newMail(w.size), newLedger(warmUp, everyone)
	b.lab.sink.taking(taker(m, book, w.dkim))
	err = load{to: b.lab.submission.String(), clients: 20, kept: w.kept, mail: m, rcpt: workload{}.rcpt, book: book}.run(ctx)
	if err != nil {
		return first, err
	}
	select {
	case <-book.all:
		return book.begun.Add(book.firstArrival()), book.sound()
	case <-ctx.Done():
		return first, fmt.Errorf("%d of the first %d messages did not arrive in a minute: %w", book.left.Load(), warmUp, context.Cause(ctx))
	}
}

// everyone expects every message to arrive.
func everyone(int) bool { return true }

// wait sends those that are to wait for a dead destination, as many as are taken in time,
// and says how many that were.
func (b *tournament) wait(ctx context.Context, w workload) (int, error) {
	if w.waiting == 0 {
		return 0, nil
	}
	limited, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	book := newLedger(w.waiting, func(int) bool { return false })
	err := load{to: b.lab.submission.String(), clients: 100, kept: true, mail: newMail(w.size),
		rcpt: func(int) string { return "reader@" + deadDomain }, book: book}.run(limited)
	if limited.Err() != nil {
		err = ctx.Err() // it is as many as there are
	}
	return len(book.acks()), err
}

// take sends the measured mail and waits for it at the sink.
func (b *tournament) take(ctx context.Context, g *group, w workload) (f figures, err error) {
	m := newMail(w.size)
	g.peakMemory()
	before, err := g.read()
	if err != nil {
		return f, err
	}
	book := newLedger(w.messages, w.expected)
	b.lab.sink.taking(taker(m, book, w.dkim))
	limited, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	err = load{to: b.lab.submission.String(), clients: w.clients, kept: w.kept, mail: m, rcpt: w.rcpt, book: book}.run(limited)
	if err != nil && limited.Err() == nil {
		return f, err
	}
	select {
	case <-book.all:
	case <-limited.Done():
	}
	f = ratings(book)
	// What is still to be booked is work of these messages too, and one that is to come
	// twice comes now. Where mail goes on being tried there is no end to wait for.
	if f.Missing == 0 && !w.bad {
		if err := g.quiet(ctx, restLimit); err != nil {
			return f, err
		}
	}
	if err := errors.Join(ctx.Err(), book.sound()); err != nil {
		return f, err
	}
	f.Memory = g.peakMemory()
	after, err := g.read()
	if err != nil || f.Missing > 0 {
		return f, err // what it cost a message cannot be told of a part of them
	}
	f.CPU = (after.cpu - before.cpu) / time.Duration(w.messages)
	if after.syncs >= 0 {
		f.Syncs = float64(after.syncs-before.syncs) / float64(w.messages)
	}
	return f, nil
}

// taker books what arrives at the sink.
func taker(m *mail, book *ledger, signed bool) func([]byte) error {
	return func(data []byte) error {
		id, isSigned, err := m.read(data)
		if err == nil && signed && !isSigned {
			err = fmt.Errorf("message %d is not signed", id)
		}
		if err != nil {
			book.fault(err)
			return err
		}
		book.arrive(id)
		return nil
	}
}

// quiet waits until the group has used less than a twentieth of a processor for two
// seconds (on a busy machine it may well get nothing for one), or until the limit.
func (g *group) quiet(ctx context.Context, limit time.Duration) error {
	const pause = 2 * time.Second
	last, err := g.read()
	for began := time.Now(); err == nil && time.Since(began) < limit; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := g.read()
		if err != nil || now.cpu-last.cpu < pause/20 {
			return err
		}
		last = now
	}
	return err
}

// straight measures the generator and the sink alone: what any server between them is
// bounded by. A durable one puts each message into a journal on the same disk first.
func (b *tournament) straight(ctx context.Context, w workload, durable bool) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	m := newMail(w.size)
	book := newLedger(w.messages, everyone)
	take := taker(m, book, false)
	flushes := func() int { return 0 }
	if durable {
		path := filepath.Join(b.work, "journal")
		j, err := newJournal(path)
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, j.close(), os.Remove(path)) }()
		flushes = j.flushes
		arrive := take
		take = func(data []byte) error {
			if err := j.keep(data); err != nil {
				return err
			}
			return arrive(data)
		}
	}
	s, err := newSink(b.lab.submission.String())
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.close()) }() // before the journal
	s.taking(take)
	if err := (load{to: b.lab.submission.String(), clients: w.clients, kept: w.kept, mail: m, rcpt: w.rcpt, book: book}).run(ctx); err != nil {
		return f, err
	}
	if err := book.sound(); err != nil {
		return f, err
	}
	f = ratings(book)
	f.Through = f.Accept // the sink has a message before the generator knows
	f.Syncs = float64(flushes()) / float64(w.messages)
	return f, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// figures of one run.
type figures struct {
	Accept   float64       // messages a second, to the last 250
	Through  float64       // messages a second, to the last arrival
	CPU      time.Duration // of all processes, a message
	Memory   int64         // octets at the most; 0: not measured
	Syncs    float64       // fsync and fdatasync, a message; negative: not counted
	P50, P99 time.Duration // from the final dot to its 250
	Missing  int           // messages that did not arrive in time; then the other figures do not count
	Sent     int           // messages that could arrive
	Fault    string        // why there are no figures at all
}

// done tells whether the figures count.
func (f figures) done() bool { return f.Missing == 0 && f.Fault == "" }

// ratings turns a run's ledger into figures.
func ratings(book *ledger) figures {
	n := book.expected()
	acks := book.acks()
	return figures{
		Accept:  float64(len(acks)) / book.lastAck().Seconds(),
		Through: float64(n-int(book.left.Load())) / book.lastArrival().Seconds(),
		P50:     percentile(acks, 50), P99: percentile(acks, 99),
		Syncs:   -1,
		Missing: int(book.left.Load()), Sent: n,
	}
}

// measured runs a system on a workload, once, with a queue that was empty.
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
	if err := s.start(ctx, b.lab, dir, g, w.dkim); err != nil {
		return f, fmt.Errorf("start %s: %w\n%s", s.name(), err, s.said())
	}
	if err := b.prepare(ctx, g, w); err != nil {
		return f, fmt.Errorf("prepare %s: %w\n%s", s.name(), err, s.said())
	}
	stop := b.watch(s, w)
	f, err = b.take(ctx, g, w)
	if err = errors.Join(err, stop()); err != nil {
		return f, fmt.Errorf("%w\n%s", err, s.said())
	}
	return f, nil
}

// warmUp is how many messages go first, so that processes, connections and names are there.
const warmUp = 100

// prepare sends what shall be there before the measured mail: those first ones, and
// those that wait.
func (b *tournament) prepare(ctx context.Context, g *group, w workload) error {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	m, book := newMail(w.size), newLedger(warmUp, func(int) bool { return true })
	b.lab.sink.taking(taker(m, book, w.dkim))
	first := load{to: b.lab.submission.String(), clients: 20, kept: w.kept, mail: m, rcpt: workload{}.rcpt, book: book}
	if err := first.run(ctx); err != nil {
		return err
	}
	select {
	case <-book.all:
	case <-time.After(time.Minute):
		return fmt.Errorf("%d of the first %d messages did not arrive in a minute", book.left.Load(), warmUp)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := book.sound(); err != nil {
		return err
	}
	if w.waiting > 0 {
		waiting := load{to: b.lab.submission.String(), clients: 100, kept: true, mail: m,
			rcpt: func(int) string { return "reader@" + deadDomain },
			book: newLedger(w.waiting, func(int) bool { return false })}
		if err := waiting.run(ctx); err != nil {
			return err
		}
	}
	return g.quiet(ctx)
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
		return ratings(book), book.sound()
	}
	// What is still to be booked is work of these messages too, and one that is to come
	// twice comes now. Where mail goes on being tried there is no end to wait for.
	if !w.bad {
		if err := g.quiet(ctx); err != nil {
			return f, err
		}
	}
	after, err := g.read()
	if err != nil {
		return f, err
	}
	if err := book.sound(); err != nil {
		return f, err
	}
	f = ratings(book)
	f.Memory = g.peakMemory()
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
// seconds (on a busy machine it may well get nothing for one), for two minutes at most.
func (g *group) quiet(ctx context.Context) error {
	const pause = 2 * time.Second
	last, err := g.read()
	for began := time.Now(); err == nil && time.Since(began) < 2*time.Minute; {
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
	book := newLedger(w.messages, w.expected)
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

package relay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"smtprelay/queue"
)

// Mail that is held waits for a person, and for nothing else: the log says so at a
// start and once a day, as long as there is any.

const (
	remindEvery = 24 * time.Hour
	maxReasons  = 10 // told apart in one reminder
	maxHeaps    = 1000
)

// remind until ctx ends.
func (r *Relay) remind(ctx context.Context) error {
	again := time.NewTicker(remindEvery)
	defer again.Stop()
	for {
		if err := r.heldMail(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("held mail not read", "err", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// heap of held mail with one reason.
type heap struct {
	reason string
	count  int         // of recipients
	oldest queue.Entry // its first
}

// heaps by reason, "others" once there are very many.
type heaps map[string]*heap

func (hs heaps) add(e queue.Entry, reason string) {
	if hs[reason] == nil && len(hs) >= maxHeaps {
		reason = "others"
	}
	h := hs[reason]
	if h == nil {
		h = &heap{reason: reason, oldest: e}
		hs[reason] = h
	}
	h.count++
}

// heldMail writes a line for each reason, the one with most mail first.
func (r *Relay) heldMail(ctx context.Context) error {
	by := heaps{}
	for e, err := range r.store.List(ctx, queue.Filter{State: queue.Held}) {
		if err != nil {
			return err
		}
		for _, rc := range e.Recipients {
			by.add(e, rc.Reason)
		}
	}
	for i, h := range largest(by) {
		if i == maxReasons {
			break
		}
		at := slog.LevelError // an operator must act
		if h.reason == queue.HeldByOperator {
			at = slog.LevelInfo // he has
		}
		r.log.LogAttrs(ctx, at, "mail is held", slog.Int("count", h.count), slog.String("reason", h.reason),
			slog.String("id", string(h.oldest.Message.ID)), slog.Time("since", h.oldest.Message.Received),
			slog.String("remedy", "relay queue list --state held; then relay queue release, bounce or remove"))
	}
	return nil
}

func largest(by heaps) (hs []*heap) {
	for _, h := range by {
		hs = append(hs, h)
	}
	slices.SortFunc(hs, func(a, b *heap) int { return cmp.Or(b.count-a.count, cmp.Compare(a.reason, b.reason)) })
	return hs
}

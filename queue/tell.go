package queue

import (
	"context"
	"errors"
	"io"
	"time"
)

// event is what one settlement did to some recipients of one message.
type event struct {
	kind Kind
	m    *Message
	rs   []Recipient
}

// sortEvents groups bookings by what there is to tell, recipients as settled.
func sortEvents(j Job, bs []booking) []event {
	kinds := []Kind{WasDelivered, WasDeferred, WasHeld, WasFailed}
	groups := map[Kind][]Recipient{}
	for _, b := range bs {
		k := WasDeferred
		switch {
		case b.State == Delivered:
			k = WasDelivered
		case b.State == Failed:
			k = WasFailed
		case b.tellHeld:
			k = WasHeld
		}
		groups[k] = append(groups[k], b.after())
	}
	var es []event
	for _, k := range kinds {
		if len(groups[k]) > 0 {
			es = append(es, event{k, j.Message, groups[k]})
		}
	}
	return es
}

// after is the recipient as settled.
func (b *booking) after() Recipient { return b.r.After(b.Result, time.Now()) }

// tell reports what was settled. Failures are told from the store, by
// tellFailures, so that a crash in between loses no notice.
func (s *Scheduler) tell(ctx context.Context, e event) {
	if e.kind == WasFailed {
		s.TellFailures()
		return
	}
	if err := s.report(ctx, e.kind, e.m, e.rs); err != nil {
		s.log.Warn("event not reported", "id", e.m.ID, "err", err)
	}
}

// tellDelay sends the delay notices that bs are due and notes those sent.
func (t *Trip) tellDelay(ctx context.Context, j Job, bs []booking) {
	var rs []Recipient
	for _, b := range bs {
		if b.tellDelay {
			rs = append(rs, b.after())
		}
	}
	if len(rs) == 0 {
		return
	}
	if err := t.s.report(ctx, WasDelayed, j.Message, rs); err != nil {
		t.s.log.Warn("event not reported", "id", j.Message.ID, "err", err)
		return
	}
	for i := range bs {
		bs[i].Delayed = bs[i].tellDelay
	}
}

// TellFailures has senders told at once of what failed, as when the operator gave
// mail up.
func (s *Scheduler) TellFailures() {
	select {
	case s.failed <- struct{}{}:
	default:
	}
}

// tellFailures has senders told of what failed: at once, and what could not be
// told, or was left by a crash, at start and every minute.
func (s *Scheduler) tellFailures(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	stuck := map[ID]bool{}
	for {
		s.tellAll(ctx, stuck)
		select {
		case <-ctx.Done():
			return
		case <-s.failed:
		case <-minute.C:
			clear(stuck)
		}
	}
}

// tellAll goes through the failures once, those in stuck left out. Whose sender
// could not be told joins them; when there is no room for notices at all, the
// rest is not even tried.
func (s *Scheduler) tellAll(ctx context.Context, stuck map[ID]bool) {
	for j, err := range s.w.Unreported(ctx) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("failures not read", "err", err)
			continue
		}
		if stuck[j.Message.ID] {
			continue
		}
		if err := s.tellFailure(ctx, j); err != nil {
			stuck[j.Message.ID] = true
			s.log.Warn("sender not told", "id", j.Message.ID, "err", err)
			if errors.Is(err, ErrFull) || errors.Is(err, ErrUnhealthy) {
				return
			}
		}
	}
}

func (s *Scheduler) tellFailure(ctx context.Context, j Job) error {
	if err := s.report(ctx, WasFailed, j.Message, j.Recipients); err != nil {
		return err
	}
	rs := make([]Result, len(j.Recipients))
	for i, r := range j.Recipients {
		rs[i] = Result{ID: j.Message.ID, N: r.N, State: Reported, Reason: r.Reason}
	}
	return s.w.Reported(context.WithoutCancel(ctx), rs...)
}

func (s *Scheduler) head(ctx context.Context, id ID) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return s.w.Body(ctx, id) }
}

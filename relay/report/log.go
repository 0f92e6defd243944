package report

import (
	"cmp"
	"context"
	"log/slog"

	"smtprelay/queue"
)

// lines writes one line for each recipient.
func (r *Reporter) lines(ctx context.Context, e queue.Event) {
	for _, rc := range e.Recipients {
		attrs := facts(e, rc)
		switch e.Kind {
		case queue.WasDelivered:
			r.log.LogAttrs(ctx, slog.LevelInfo, "delivered", attrs...)
		case queue.WasDeferred:
			r.log.LogAttrs(ctx, slog.LevelInfo, "deferred", attrs...)
		case queue.WasFailed:
			r.log.LogAttrs(ctx, slog.LevelInfo, "failed", attrs...)
		case queue.WasDelayed:
			r.log.LogAttrs(ctx, slog.LevelInfo, "delayed", attrs...)
		case queue.WasHeld:
			// It outlived its lifetime on a fault of ours: the sender hears
			// nothing, the operator must act.
			r.log.LogAttrs(ctx, slog.LevelError, "held", attrs...)
		}
	}
}

// facts are what is known of a recipient; what is not known is left out.
func facts(e queue.Event, rc queue.Recipient) []slog.Attr {
	m, a := e.Message, rc.Last
	attrs := append(make([]slog.Attr, 0, 20), // room for all there are
		slog.String("id", string(m.ID)),
		slog.String("from", m.Envelope.From),
		slog.String("to", rc.Address),
		slog.String("domain", rc.Domain),
	)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("source", a.Source)
	text("host", a.Host)
	if a.Addr.IsValid() {
		text("addr", a.Addr.String())
	}
	if a.Stage != "" && a.Stage != "resolve" && a.Stage != "gate" {
		attrs = append(attrs, slog.String("tls", a.TLS)) // "" says: in clear
	}
	text("stage", a.Stage)
	if a.Reply.Code != 0 {
		attrs = append(attrs, slog.Int("code", a.Reply.Code))
		text("status", a.Reply.Status)
		text("reply", clean(a.Reply.Text, maxReply))
	}
	text("class", a.Class)
	attrs = append(attrs, slog.Int("tries", rc.Tries), slog.Duration("took", a.Took), slog.Int64("size", m.Size))
	if (e.Kind == queue.WasDeferred || e.Kind == queue.WasDelayed) && !rc.Next.IsZero() {
		attrs = append(attrs, slog.Time("next", rc.Next))
	}
	if e.Kind != queue.WasDelivered {
		text("reason", clean(cmp.Or(rc.Reason, a.Why), maxReply))
	}
	return attrs
}

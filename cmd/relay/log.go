package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"smtprelay/relay"
)

// log is a slog.Handler that knows what was lost: a full disk under the log, or a
// reader of it that is gone, must not stop the mail.
type log struct {
	slog.Handler
	lost *losses
}

// losses are lines that could not be written, in all and since one could.
type losses struct{ all, lately atomic.Int64 }

func newLog(w io.Writer, o relay.Options) log {
	h := &slog.HandlerOptions{Level: o.LogLevel}
	if o.LogFormat == "text" {
		return log{slog.NewTextHandler(w, h), new(losses)}
	}
	return log{slog.NewJSONHandler(w, h), new(losses)}
}

// Handle writes a line, and after it, when lines before were lost, how many.
func (l log) Handle(ctx context.Context, r slog.Record) error {
	if err := l.Handler.Handle(ctx, r); err != nil {
		l.lost.all.Add(1)
		l.lost.lately.Add(1)
		return err
	}
	n := l.lost.lately.Swap(0)
	if n == 0 {
		return nil
	}
	told := slog.NewRecord(time.Now(), slog.LevelError, "lines of the log were lost", 0)
	told.AddAttrs(slog.Int64("count", n))
	if err := l.Handler.Handle(ctx, told); err != nil {
		l.lost.lately.Add(n)
		return err
	}
	return nil
}

func (l log) WithAttrs(as []slog.Attr) slog.Handler { return log{l.Handler.WithAttrs(as), l.lost} }
func (l log) WithGroup(name string) slog.Handler    { return log{l.Handler.WithGroup(name), l.lost} }

// withLog hands the log to every stage.
func withLog(o *relay.Options, h log) {
	l := slog.New(h)
	o.Log, o.Submit.Log, o.Deliver.Log, o.Report.Log, o.Admin.Log = l, l, l, l, l
	o.LogLost = h.lost.all.Load
}

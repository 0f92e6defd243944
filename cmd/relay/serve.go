package main

import (
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/preflight"
	"smtprelay/relay"
)

func serveCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "run the relay",
		Long: `serve runs the preflight, opens the listeners and relays mail until it is told
to stop (SIGTERM, SIGINT). If the preflight fails and on_fail is "refuse" it
exits with 78 before a listener is opened.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := config.Load(configPath(c))
			if err != nil {
				return err
			}
			withLog(&o, logger(w.stderr, o))
			r, err := relay.New(o, w.notify)
			if err != nil {
				return &fault{code: exitConfig, err: err}
			}
			return refused(w, r.Run(c.Context()))
		},
	}
}

// refused turns a refusal into the report on stderr and its exit code.
func refused(w world, err error) error {
	var r *relay.Refusal
	if !errors.As(err, &r) {
		if err != nil {
			return &fault{code: exitInternal, err: err}
		}
		return nil
	}
	f := &fault{code: exitConfig, err: err, hint: `publish the records above; or set on_fail to "hold", "warn" or, with a [[smarthost]], "smarthost"`}
	if r.Temporary {
		f.code, f.hint = exitTemporary, `look at [dns] servers; or set on_unknown to "hold"`
	}
	_ = preflight.WriteText(w.stderr, r.Report, preflight.TextOptions{ASCII: !w.utf8, Exit: f.code})
	return f
}

func logger(w io.Writer, o relay.Options) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.LogLevel}
	if o.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, h))
	}
	return slog.New(slog.NewJSONHandler(w, h))
}

// withLog hands the logger to every stage.
func withLog(o *relay.Options, l *slog.Logger) {
	o.Log, o.Submit.Log, o.Deliver.Log, o.Report.Log, o.Admin.Log = l, l, l, l, l
}

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

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
to stop (SIGTERM, SIGINT). SIGHUP has the preflight look at once. If it fails at
the start and on_fail is "refuse", serve exits with 78 before a listener is opened.

Exit code: 0 stopped; 78 the configuration or the preflight does not allow a
start: repair it; 75 something is in the way that may pass: try again later.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := config.Load(configPath(c))
			if err != nil {
				return err
			}
			withLog(&o, newLog(w.stderr, o))
			defer holdMemory()()
			// Neither a closed terminal nor a reader of the log that is gone ends us.
			signal.Ignore(syscall.SIGPIPE)
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			r, err := relay.New(o, w.notify)
			if err != nil {
				return ended(w, err)
			}
			ctx, stop := context.WithCancel(c.Context())
			defer stop()
			go lookWhen(ctx, hup, r)
			return ended(w, r.Run(ctx))
		},
	}
}

// lookWhen has the relay look at DNS for each signal. One that comes before
// there is anybody to look waits.
func lookWhen(ctx context.Context, hup <-chan os.Signal, r *relay.Relay) {
	for {
		select {
		case <-hup:
			_ = r.LookNow(ctx) // it fails only when we end
		case <-ctx.Done():
			return
		}
	}
}

// ended gives the end of the daemon its exit code.
func ended(w world, err error) error {
	var r *relay.Refusal
	var s *relay.StartError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return refused(w, r)
	case errors.As(err, &s) && s.Temporary:
		return &fault{code: exitTemporary, err: err, hint: "free what is in the way: the port, the queue, the disk; systemd tries again meanwhile"}
	case errors.As(err, &s):
		return &fault{code: exitConfig, err: err, hint: startHint(err)}
	}
	return &fault{code: exitInternal, err: err}
}

func startHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "the user that the relay runs as needs the right to it; ports below 1024 want CAP_NET_BIND_SERVICE, which packaging/relay.service gives"
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory, owned by the user that the relay runs as; packaging/relay.service makes /run/relay"
	}
	return ""
}

// refused tells why on stderr: the whole report.
func refused(w world, r *relay.Refusal) error {
	f := &fault{code: exitConfig, err: r, hint: `publish the records above; or set on_fail to "hold", "warn" or, with a [[smarthost]], "smarthost"`}
	if r.Temporary {
		f.code, f.hint = exitTemporary, `look at [dns] servers; or set on_unknown to "hold"`
	}
	_ = preflight.WriteText(w.stderr, r.Report, preflight.TextOptions{ASCII: !w.utf8, Exit: f.code})
	return f
}

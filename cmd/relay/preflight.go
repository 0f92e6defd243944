package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"smtprelay/preflight"
	"smtprelay/relay"
)

func preflightCommand(w world) *cobra.Command {
	var (
		as            shape
		strict, trace bool
		explain       string
		look          lookFlags
	)
	c := &cobra.Command{
		Use:   "preflight",
		Short: "judge what receivers will find, and say what to publish",
		Long: `preflight asks now, of every source and sender domain, what receivers will
ask, and prints what it found, the exact records to publish and whom to ask.
It looks at DNS as it stands and keeps no history.

--watch looks on, straight at the name servers of the zones that are being
mended, and ends with 0 as soon as mail may go direct. --if says what would be
if a record stood. --ip, --ehlo and --from judge any server, not only ours.

Exit code: 0 pass, 1 degraded, 2 fail, 3 unknown (DNS did not answer).`,
		Args: cobra.NoArgs,
	}
	c.Flags().BoolVar(&as.json, "json", false, "print the report as JSON")
	c.Flags().BoolVar(&strict, "strict", false, "exit 2 where it would be 1")
	c.Flags().BoolVar(&as.quiet, "quiet", false, "print one status line")
	c.Flags().BoolVar(&trace, "trace", false, "show the way from the root of DNS to the name of each address, server by server")
	c.Flags().StringVar(&explain, "explain", "", "print all there is to say of a check, by its `ID`, or of PTR, A, EHLO, MX, SPF, DKIM, DMARC")
	_ = c.RegisterFlagCompletionFunc("explain", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		for _, id := range preflight.UnknownID("").Nearest() {
			ids = append(ids, id+"\t"+preflight.TitleOf(id))
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
	look.add(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := together(c); err != nil {
			return err
		}
		if c.Flags().Changed("explain") {
			return explainID(w, explain, as)
		}
		if err := look.read(); err != nil {
			return err
		}
		if look.daemon {
			return askDaemon(c, w, as, strict)
		}
		o, err := look.options(c)
		if err != nil {
			return err
		}
		if look.watch {
			return watch(c.Context(), w, o, as.quiet, strict)
		}
		r := relay.Preflight(c.Context(), o, look.edits...)
		if trace {
			r.Traces = relay.Trace(c.Context(), o, r)
		}
		code := exitCode(r.Exit(), strict)
		if err := writeReport(w, r, as, code); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		return verdict(code, r.Overall)
	}
	return c
}

// explainID prints what is known of an id; of one that is none, what there is.
func explainID(w world, id string, as shape) error {
	say := func() error { return preflight.Explain(w.stdout, id, textOptions(w)) }
	if as.json {
		say = func() error { return preflight.ExplainJSON(w.stdout, id) }
	}
	err := say()
	var unknown preflight.UnknownID
	if errors.As(err, &unknown) {
		return &fault{code: exitUsage, err: err, hint: "what can be explained, the nearest first: " + strings.Join(unknown.Nearest(), ", ")}
	}
	return err
}

// shape of a report.
type shape struct{ json, quiet bool }

// exitCode makes a degraded verdict a failure for those who want that.
func exitCode(code int, strict bool) int {
	if strict && code == 1 {
		return 2
	}
	return code
}

// verdict ends the command with the code that the report has told.
func verdict(code int, overall preflight.Status) error {
	if code == 0 {
		return nil
	}
	return &fault{code: code, err: fmt.Errorf("preflight: %s", overall), quiet: true}
}

func writeReport(w world, r *preflight.Report, as shape, code int) error {
	switch {
	case as.json:
		return preflight.WriteJSON(w.stdout, r)
	case as.quiet:
		_, err := io.WriteString(w.stdout, relay.StatusLine(r)+"\n")
		return err
	}
	o := textOptions(w)
	o.Exit = code
	if err := preflight.WriteText(w.stdout, r, o); err != nil {
		return err
	}
	return preflight.WriteTraces(w.stdout, r.Traces, o)
}

// textOptions are what the screen can show.
func textOptions(w world) preflight.TextOptions {
	return preflight.TextOptions{Colour: w.terminal, ASCII: !w.utf8}
}

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/preflight"
	"smtprelay/relay"
)

func preflightCommand(w world) *cobra.Command {
	var (
		asJSON, strict, quiet, trace bool
		explain                      string
	)
	c := &cobra.Command{
		Use:   "preflight",
		Short: "judge what receivers will find, and say what to publish",
		Long: `preflight asks now, of every source and sender domain, what receivers will
ask, and prints what it found, the exact records to publish and whom to ask.
It looks at DNS as it stands and keeps no history.

Exit code: 0 pass, 1 degraded, 2 fail, 3 unknown (DNS did not answer).`,
		Args: cobra.NoArgs,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	c.Flags().BoolVar(&strict, "strict", false, "exit 2 where it would be 1")
	c.Flags().BoolVar(&quiet, "quiet", false, "print one status line")
	c.Flags().BoolVar(&trace, "trace", false, "show the way from the root of DNS to the name of each address, server by server")
	c.Flags().StringVar(&explain, "explain", "", "print what a check looks at and why, by its `ID`")
	_ = c.RegisterFlagCompletionFunc("explain", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		for _, k := range preflight.Checks {
			ids = append(ids, k.ID+"\t"+k.Title)
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		if explain != "" {
			if err := preflight.Explain(w.stdout, explain); err != nil {
				return &fault{code: exitUsage, err: err}
			}
			return nil
		}
		o, err := config.Load(configPath(c))
		if err != nil {
			return err
		}
		r := relay.Preflight(c.Context(), o)
		if trace {
			r.Traces = relay.Trace(c.Context(), o)
		}
		if err := writeReport(w, r, asJSON, quiet); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		code := r.Exit()
		if strict && code == 1 {
			code = 2
		}
		if code == 0 {
			return nil
		}
		return &fault{code: code, err: fmt.Errorf("preflight: %s", r.Overall), quiet: true}
	}
	return c
}

func writeReport(w world, r *preflight.Report, asJSON, quiet bool) error {
	switch {
	case asJSON:
		return preflight.WriteJSON(w.stdout, r)
	case quiet:
		_, err := io.WriteString(w.stdout, relay.StatusLine(r)+"\n")
		return err
	}
	look := preflight.TextOptions{Colour: w.terminal, ASCII: !w.utf8}
	if err := preflight.WriteText(w.stdout, r, look); err != nil {
		return err
	}
	return preflight.WriteTraces(w.stdout, r.Traces, look)
}

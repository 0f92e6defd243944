package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"smtprelay/preflight"
	"smtprelay/relay/admin"
)

// askDaemon has the running relay look now and prints its report: what it
// believes, history included, and not only what stands at this moment.
func askDaemon(c *cobra.Command, w world, as shape, strict bool) error {
	d, err := desk(c)
	if err != nil {
		return err
	}
	form := admin.Form{Strict: strict, Colour: w.terminal, ASCII: !w.utf8}
	switch {
	case as.json:
		form.As = "json"
	case as.quiet:
		form.As = "line"
	}
	r, err := d.Look(c.Context(), form)
	if errors.Is(err, admin.ErrNotFound) { // a program of another age
		return &fault{code: exitUnavailable, err: err, hint: "restart the relay, so that it is the same program as this one"}
	}
	if err != nil {
		return asked(err)
	}
	if _, err := fmt.Fprint(w.stdout, r.Text); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return verdict(r.Exit, preflight.Status(r.Overall))
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/relay/admin"
)

func queueCommand(w world) *cobra.Command {
	return group("queue", "look at the mail that waits, and act on it",
		`queue talks to the running daemon by admin.socket.`,
		queueList(w), queueShow(w),
		queueAct(w, "retry", "try waiting mail now", "due now"),
		queueAct(w, "hold", "stop mail until it is released", "held"),
		queueAct(w, "release", "let held mail go", "released"),
		queueAct(w, "bounce", "give mail up; its sender is told", "bounced"),
		queueAct(w, "remove", "delete mail; its sender is not told", "removed"),
	)
}

// desk is the way to the daemon.
func desk(c *cobra.Command) (*admin.Client, error) {
	f, err := config.Read(configPath(c))
	if err != nil {
		return nil, err
	}
	return admin.NewClient(f.Admin.Socket), nil
}

// asked makes an error of the daemon one of the command line.
func asked(err error) error {
	var down *admin.Down
	switch {
	case err == nil:
		return nil
	case errors.As(err, &down):
		return &fault{code: exitUnavailable, err: err, hint: down.Hint()}
	case errors.Is(err, admin.ErrNotFound):
		return &fault{code: exitError, err: err, hint: "`relay queue list` prints what there is; mail that was delivered has left"}
	}
	return err
}

// selection are the flags that choose mail.
type selection struct {
	domain, from, state string
	limit               int
}

func (s *selection) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.domain, "domain", "", "only recipients at this domain")
	c.Flags().StringVar(&s.from, "from", "", "only mail of this sender address")
	c.Flags().StringVar(&s.state, "state", "", "only recipients that are waiting, held or failed")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"waiting", "held", "failed"}, cobra.ShellCompDirectiveNoFileComp))
}

func (s *selection) filter() (admin.Filter, error) {
	if s.state != "" && !slices.Contains([]string{"waiting", "held", "failed"}, s.state) {
		return admin.Filter{}, &fault{code: exitUsage, err: fmt.Errorf("--state %q: no such state", s.state), hint: "waiting, held or failed"}
	}
	return admin.Filter{Domain: s.domain, From: s.from, State: admin.State(s.state), Limit: s.limit}, nil
}

func queueList(w world) *cobra.Command {
	var (
		s      selection
		asJSON bool
	)
	c := &cobra.Command{Use: "list", Short: "print what is in the queue, a recipient a line", Args: cobra.NoArgs}
	s.flags(c)
	c.Flags().IntVar(&s.limit, "limit", 0, "at most so many messages (0: all)")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a message")
	c.RunE = func(c *cobra.Command, _ []string) error {
		f, err := s.filter()
		if err != nil {
			return err
		}
		d, err := desk(c)
		if err != nil {
			return err
		}
		if asJSON {
			return listJSON(c.Context(), w, d, f)
		}
		return list(c.Context(), w, d, f)
	}
	return c
}

func listJSON(ctx context.Context, w world, d *admin.Client, f admin.Filter) error {
	out := json.NewEncoder(w.stdout)
	for e, err := range d.List(ctx, f) {
		if err != nil {
			return asked(err)
		}
		if err := out.Encode(e); err != nil {
			return fmt.Errorf("print the queue: %w", err)
		}
	}
	return nil
}

func list(ctx context.Context, w world, d *admin.Client, f admin.Filter) error {
	tw := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for e, err := range d.List(ctx, f) {
		if err != nil {
			return asked(err)
		}
		for _, r := range e.Recipients {
			if n++; n == 1 {
				fmt.Fprintln(tw, "ID\tAGE\tSTATE\tNEXT\tTRIES\tFROM\tTO\tREASON")
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", e.Message.ID, short(r.Age+r.Ours),
				r.State, next(r), r.Tries, address(e.Message.Envelope.From), r.Address, r.Reason)
		}
	}
	if n == 0 {
		fmt.Fprintln(w.stderr, "relay: nothing in the queue matches")
	}
	return tw.Flush()
}

func queueShow(w world) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show ID", Short: "print all that is known of one message", Args: cobra.ExactArgs(1)}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		d, err := desk(c)
		if err != nil {
			return err
		}
		e, err := d.Show(c.Context(), admin.ID(args[0]))
		if err != nil {
			return asked(err)
		}
		if asJSON {
			return json.NewEncoder(w.stdout).Encode(e)
		}
		return show(w.stdout, e)
	}
	return c
}

const chooseHint = "name IDs, use --domain, --from or --state, or say --all"

func queueAct(w world, verb, short, done string) *cobra.Command {
	var (
		s   selection
		all bool
	)
	c := &cobra.Command{
		Use: verb + " [ID...]", Short: short,
		Long: "Name messages by ID, or choose them by flags; --all takes everything.",
	}
	s.flags(c)
	c.Flags().BoolVar(&all, "all", false, "everything there is")
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := s.filter()
		if err != nil {
			return err
		}
		if len(ids) == 0 && !all && f == (admin.Filter{}) {
			return &fault{code: exitUsage, err: fmt.Errorf("%s: nothing is chosen", verb), hint: chooseHint}
		}
		if slices.Contains(ids, "") {
			return &fault{code: exitUsage, err: fmt.Errorf("%s: an empty ID", verb), hint: chooseHint}
		}
		d, err := desk(c)
		if err != nil {
			return err
		}
		n, err := act(c.Context(), d, verb, f, ids, all)
		if err != nil && n == 0 {
			return asked(err)
		}
		_, told := fmt.Fprintf(w.stdout, "%d %s %s\n", n, plural(n, "recipient"), done)
		return errors.Join(asked(err), told)
	}
	return c
}

// act is one call for a filter, and one for each ID.
func act(ctx context.Context, d *admin.Client, verb string, f admin.Filter, ids []string, all bool) (int, error) {
	if len(ids) == 0 {
		return d.Update(ctx, verb, f, all)
	}
	sum := 0
	for _, id := range ids {
		f.ID = admin.ID(id)
		n, err := d.Update(ctx, verb, f, false)
		if err == nil && n == 0 { // not in that state, or not there at all
			_, err = d.Show(ctx, f.ID)
		}
		if err != nil {
			return sum, err
		}
		sum += n
	}
	return sum, nil
}

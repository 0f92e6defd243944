// Command relay is an outbound SMTP relay that proves its DNS before it sends.
//
// One verb, one file. Data goes to standard output, words to standard error
// with the prefix "relay:". The exit code says what happened: 0 all is well;
// 1, 2, 3 the preflight's degraded, fail and unknown (as monitoring plugins
// do), 1 otherwise an error; 64 the command line is wrong; 69 the daemon does
// not answer; 70 the program itself is at fault; 75 try again later; 78 the
// configuration or the preflight does not allow a start (sysexits.h).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"smtprelay/config"
)

// Exit codes besides the preflight's.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 64
	exitUnavailable = 69
	exitInternal    = 70
	exitTemporary   = 75
	exitConfig      = 78
)

// world is all that a command touches.
type world struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool               // stdout is one: colour and prompts are welcome
	utf8           bool               // it can show more than ASCII
	notify         func(state string) // the service manager; nil: none
}

func main() {
	syscall.Umask(0o077) // what we make is ours alone, unless it says otherwise
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, system())
	stop()
	os.Exit(code)
}

// fault is an error that knows its exit code and what to do about it. Quiet
// ones were told already.
type fault struct {
	code  int
	err   error
	hint  string
	quiet bool
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// run is the program.
func run(ctx context.Context, w world) int {
	root := commands(w)
	root.SetArgs(w.args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return tell(w.stderr, err)
}

// tell says what went wrong, once, and what the exit code is.
func tell(stderr io.Writer, err error) int {
	var (
		f  *fault
		ps config.Problems
	)
	switch {
	case errors.As(err, &ps):
		for _, p := range ps {
			say(stderr, p.Text(), p.Hint)
		}
		return exitConfig
	case errors.As(err, &f):
		if !f.quiet {
			say(stderr, f.Error(), f.hint)
		}
		return f.code
	}
	say(stderr, err.Error(), "")
	return exitError
}

func say(w io.Writer, text, hint string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(w, "relay: error: %s\n", strings.TrimRight(line, "\n"))
	}
	if hint != "" {
		fmt.Fprintf(w, "relay: hint: %s\n", hint)
	}
}

func commands(w world) *cobra.Command {
	root := &cobra.Command{
		Use:   "relay",
		Short: "an outbound SMTP relay that proves its DNS before it sends",
		Long: `relay is an outbound SMTP relay that proves its DNS before it sends. It takes
mail from applications, keeps it safe on disk, signs it and delivers it to the
exchangers of the world. Before it sends, and all the time after, it checks
what receivers will check: PTR, A, EHLO, SPF, DKIM, DMARC.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(c *cobra.Command, args []string) error { return noSuch(c, args) },
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringP("config", "c", "/etc/relay/relay.toml", "configuration file")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &fault{code: exitUsage, err: err, hint: "`" + c.CommandPath() + " --help` lists the flags"}
	})
	root.AddCommand(serveCommand(w), preflightCommand(w), dnsCommand(w), queueCommand(w), dkimCommand(w), userCommand(w), configCommand(w), versionCommand())
	ownWords(root)
	usageErrors(root)
	return root
}

// ownWords makes the library's own commands speak as ours do.
func ownWords(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short, c.Long = "explain a command", ""
			help := c.Run
			c.Run, c.RunE = nil, func(c *cobra.Command, args []string) error {
				known, rest, err := c.Root().Find(args)
				if err = errors.Join(err, noSuch(known, rest)); err == nil {
					help(c, args)
				}
				return err
			}
		case "completion":
			c.Short, c.Args = "print a script that completes commands in a shell", noSuch
			c.Long = "completion prints what teaches a shell to complete these commands; in bash:\n\n  source <(relay completion bash)"
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// usageErrors makes a wrong number of arguments a matter of usage everywhere.
func usageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			var f *fault
			if err == nil || errors.As(err, &f) {
				return err
			}
			return &fault{code: exitUsage, err: err, hint: "usage: " + c.UseLine()}
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// noSuch refuses words that name no command of a group.
func noSuch(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &fault{
		code: exitUsage, err: fmt.Errorf("no command %q in %q", args[0], c.CommandPath()),
		hint: "`" + c.CommandPath() + " --help` lists the commands",
	}
}

// group is a command that only holds others.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: noSuch,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	g.AddCommand(subs...)
	return g
}

func configPath(c *cobra.Command) string {
	path, _ := c.Flags().GetString("config")
	return path
}

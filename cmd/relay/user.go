package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"smtprelay/config"
	"smtprelay/relay/submit"
)

func userCommand(w world) *cobra.Command {
	return group("user", "who may submit with a password", `user keeps the users file named by users_file in [submission]. The daemon reads
it when it starts.`, userAdd(w), userList(w), userRemove(w))
}

// usersFile is the path from the configuration; the rest of the file need not
// be in order yet.
func usersFile(c *cobra.Command) (string, error) {
	f, err := config.Read(configPath(c))
	if err != nil {
		return "", err
	}
	if f.Submission.UsersFile == "" {
		return "", &fault{code: exitConfig, err: fmt.Errorf("%s: submission.users_file is not set", configPath(c)), hint: `users_file = "/etc/relay/users" under [submission]`}
	}
	return f.Submission.UsersFile, nil
}

func userAdd(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME",
		Short: "add a user, or give one a new password, read from standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := usersFile(c)
			if err != nil {
				return err
			}
			password, err := readPassword(w)
			if err != nil {
				return err
			}
			if err := submit.AddUser(path, args[0], password); err != nil {
				return err
			}
			fmt.Fprintf(w.stderr, "relay: user %s may submit after a restart\n", args[0])
			return nil
		},
	}
}

func userList(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "print the users, a line each",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := usersFile(c)
			if err != nil {
				return err
			}
			users, err := submit.LoadUsers(path)
			if err != nil {
				return err
			}
			for _, name := range users.Names() {
				if _, err := fmt.Fprintln(w.stdout, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func userRemove(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "remove a user",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := usersFile(c)
			if err != nil {
				return err
			}
			if err := submit.RemoveUser(path, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(w.stderr, "relay: user %s is removed; a running daemon still knows it until it is restarted\n", args[0])
			return nil
		},
	}
}

// readPassword asks on a terminal, without echo, and else takes the first line
// of standard input.
func readPassword(w world) (string, error) {
	if f, ok := w.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(w.stderr, "password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(w.stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return checked(string(b))
	}
	line, err := bufio.NewReader(io.LimitReader(w.stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return checked(strings.TrimRight(line, "\r\n"))
}

func checked(password string) (string, error) {
	if password == "" {
		return "", &fault{code: exitUsage, err: errors.New("no password"), hint: "type it at the prompt, or give it as one line of standard input"}
	}
	return password, nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// relaySystem is ours.
type relaySystem struct {
	speech
	label  string // how it was built, if not as it comes
	path   string // of the program
	config string // the file
	socket string // of administration
	daemon *exec.Cmd
	ended  <-chan struct{}
}

func (r *relaySystem) name() string { return cmp.Or(r.label, "relay") }
func (*relaySystem) drop() error    { return nil }

func (*relaySystem) settings(l *lab, dir string) string { return relaySettings(l, dir, false) }

func (r *relaySystem) start(ctx context.Context, l *lab, dir string, g *group, dkim bool) error {
	r.socket = filepath.Join(dir, "admin.sock")
	r.config = filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(r.config, []byte(relaySettings(l, dir, dkim)), 0o600); err != nil {
		return err
	}
	if dkim {
		record, err := dkimKey(ctx, r.path, r.config, filepath.Join(dir, "state"))
		if err != nil {
			return err
		}
		if err := l.dns.Add(record); err != nil {
			return err
		}
	}
	var err error
	r.daemon = exec.Command(r.path, "serve", "--config", r.config)
	if r.ended, err = r.begin(r.daemon, g); err != nil {
		return err
	}
	return greets(ctx, l.submission.String(), r.ended)
}

// dkimKey makes a key of 2048 bits (RSA) for the sender's domain and returns its record.
func dkimKey(ctx context.Context, path, config, state string) (record string, err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "dkim", "new", senderDomain, "--config", config).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("make a DKIM key: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// relaySettings leaves everything as it comes but what a lab must set: names, addresses
// and ports, and that nobody outside is asked.
func relaySettings(l *lab, dir string, dkim bool) string {
	key := ""
	if dkim {
		key = "dkim = [\"k1\"]\n"
	}
	return fmt.Sprintf(`state = %[1]q

[[source]]
name = "bench"
bind = %[2]q
ehlo = "mail.%[3]s"

[[domain]]
name = %[3]q
%[4]s
[preflight]
on_fail = "refuse"
private = true                  # the addresses are not public ones
discovery = "off"               # nobody outside is asked
probe = [%[5]q]
dnsbl = []

[submission]
listen = [%[6]q]
trusted = [%[9]q]

[queue]
connections = 100               # as Postfix here: to one destination; the default is 20

[delivery]
port = %[7]d

[dns]
servers = ["%[8]s"]
port = %[10]d

[admin]
socket = %[11]q
`, filepath.Join(dir, "state"), l.source, senderDomain, key, domain(0), l.submission, l.smtp.Port(), l.dns.Addr(), l.clients, l.dns.Addr().Port(), filepath.Join(dir, "admin.sock"))
}

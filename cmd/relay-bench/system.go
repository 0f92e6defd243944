package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// system is what is measured.
type system interface {
	name() string
	// start it with an empty queue under dir, its processes in g's control group. It
	// takes mail when start returns.
	start(ctx context.Context, l *lab, dir string, g *group, dkim bool) error
	// settings are those of a run in dir without DKIM.
	settings(l *lab, dir string) string
	// drop takes away what start made beside processes and files, when those have ended.
	drop() error
	// said is the end of what it wrote, for when something went wrong.
	said() string
}

// speech keeps the end of what a program writes; the rest is read and forgotten, so that
// no log of either system costs the disk anything.
type speech struct {
	mu   sync.Mutex
	text []byte
}

func (s *speech) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text = append(s.text, p...); len(s.text) > 64<<10 {
		s.text = append(s.text[:0], s.text[len(s.text)-32<<10:]...)
	}
	return len(p), nil
}

func (s *speech) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(s.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// begin a program in a control group, if there is one; what it writes goes to s.
func (s *speech) begin(c *exec.Cmd, g *group) (ended <-chan struct{}, err error) {
	c.Stdout, c.Stderr = s, s
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	if g != nil {
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(g.file.Fd())
	}
	c.SysProcAttr.Setpgid = true
	if err := c.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() { c.Wait(); close(done) }()
	return done, nil
}

// greets waits until a server at addr greets.
func greets(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			text, err := bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, "QUIT\r\n")
			c.Close()
			if err == nil && strings.HasPrefix(text, "220") {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not greet at %s: %w", addr, errors.Join(ctx.Err(), err))
		}
	}
}

// relaySystem is ours.
type relaySystem struct {
	speech
	path   string // of the program
	socket string // of administration
	daemon *exec.Cmd
	ended  <-chan struct{}
}

func (*relaySystem) name() string { return "relay" }
func (*relaySystem) drop() error  { return nil }

func (*relaySystem) settings(l *lab, dir string) string { return relaySettings(l, dir, false) }

func (r *relaySystem) start(ctx context.Context, l *lab, dir string, g *group, dkim bool) error {
	r.socket = filepath.Join(dir, "admin.sock")
	config := filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(config, []byte(relaySettings(l, dir, dkim)), 0o600); err != nil {
		return err
	}
	if dkim {
		record, err := dkimKey(ctx, r.path, config, filepath.Join(dir, "state"))
		if err != nil {
			return err
		}
		if err := l.dns.Add(record); err != nil {
			return err
		}
	}
	var err error
	r.daemon = exec.Command(r.path, "serve", "--config", config)
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

[delivery]
port = %[7]d

[dns]
servers = ["%[8]s"]
port = %[10]d

[admin]
socket = %[11]q
`, filepath.Join(dir, "state"), l.source, senderDomain, key, domain(0), l.submission, l.smtp.Port(), l.dns.Addr(), l.clients, l.dns.Addr().Port(), filepath.Join(dir, "admin.sock"))
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
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

// greetLimit bounds how long a system may take to its first greeting. A queue of a million
// is read first, and how long that takes is to be told.
const greetLimit = 4 * time.Minute

// greets waits until a server at addr greets.
func greets(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, greetLimit)
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

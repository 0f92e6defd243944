package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// build compiles relay into dir.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "relay")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "smtprelay/cmd/relay")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build relay: %w\n%s", err, out)
	}
	return path, nil
}

// program is relay: commands that end, and the daemon.
type program struct {
	path, config string

	daemon *exec.Cmd
	ended  chan struct{}
	mu     sync.Mutex
	log    bytes.Buffer
	more   chan struct{} // closed and renewed with each write
}

// output runs a command to its end.
func (p *program) output(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, p.path, append(args, "--config", p.config)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		if stdout.Len() == 0 {
			return stderr.String(), exit.ExitCode(), nil
		}
		return stdout.String(), exit.ExitCode(), nil
	}
	return stdout.String(), 0, err
}

// start runs the daemon and waits until it says that it is ready, the way it
// says so to systemd.
func (p *program) start(ctx context.Context) error {
	path := filepath.Join(filepath.Dir(p.config), "notify")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer ready.Close()
	p.more, p.ended = make(chan struct{}), make(chan struct{})
	p.daemon = exec.Command(p.path, "serve", "--config", p.config)
	p.daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	p.daemon.Stderr = p
	if err := p.daemon.Start(); err != nil {
		p.daemon = nil
		return err
	}
	go func() {
		_ = p.daemon.Wait()
		close(p.ended)
		_ = ready.SetReadDeadline(time.Now())
	}()
	if deadline, ok := ctx.Deadline(); ok {
		_ = ready.SetReadDeadline(deadline)
	}
	buf := make([]byte, 4096)
	for {
		n, err := ready.Read(buf)
		if err != nil {
			return fmt.Errorf("relay serve did not become ready: %w", err)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return nil
		}
	}
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.log.Write(b)
}

// awaitLog waits for a line of the daemon's log, since the last forget, that
// contains all of the words.
func (p *program) awaitLog(ctx context.Context, words ...string) (string, error) {
	for {
		p.mu.Lock()
		text, more := p.log.String(), p.more
		p.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && containsAll(line, words) {
				return line, nil
			}
		}
		select {
		case <-more:
		case <-p.ended:
			return "", errors.New("relay ended")
		case <-ctx.Done():
			return "", fmt.Errorf("relay's log never said %s: %w", strings.Join(words, " "), ctx.Err())
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// forget drops what the log said so far, so that the next wait is for news.
func (p *program) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Reset()
}

// tail is the end of the daemon's log, for when something went wrong.
func (p *program) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// stop ends the daemon and waits for it.
func (p *program) stop() error {
	if p.daemon == nil {
		return nil
	}
	_ = p.daemon.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		_ = p.daemon.Process.Kill()
		<-p.ended
		return errors.New("relay did not stop when it was told to")
	}
	if code := p.daemon.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("relay stopped with exit code %d", code)
	}
	return nil
}

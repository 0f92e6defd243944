package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// watch takes profiles of relay, if they are wanted, until stop is called.
func (b *tournament) watch(s system, w workload) (stop func() error) {
	r, ok := s.(*relaySystem)
	if !ok || b.profile == "" {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			b.profiles++
			err = r.profile(filepath.Join(b.profile, fmt.Sprintf("%s-%03d.pprof", w.name, b.profiles)))
		}
		done <- err
	}()
	return func() error { cancel(); return <-done }
}

// profile takes one of a second.
func (r *relaySystem) profile(path string) error {
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket)
		},
	}}
	resp, err := c.Get("http://relay/debug/pprof/profile?seconds=1")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("profile: %s", resp.Status), err)
	}
	return os.WriteFile(path, text, 0o644)
}

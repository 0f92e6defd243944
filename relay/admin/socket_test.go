package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSocket(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	s := New(Options{Socket: path}, store(t), nil)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v, %v, want 0660", st.Mode(), err)
	}
	if err := New(Options{Socket: path}, nil, nil).Listen(); err == nil || !strings.Contains(err.Error(), "another relay answers") {
		t.Errorf("a second one: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if err := s.Listen(); err != nil {
		t.Errorf("over a stale socket: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		file:                                  "something else is there",
		filepath.Join(dir, "none", "x.sock"):  "directory must exist",
		filepath.Join(file, "x.sock"):         "is not a directory",
		"/tmp/" + strings.Repeat("long", 100): "expected at most 107",
	} {
		if err := New(Options{Socket: p}, nil, nil).Listen(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), p) {
			t.Errorf("%.60s: %v, want %q", p, err, want)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file was harmed: %q, %v", text, err)
	}
}

func TestNoSocket(t *testing.T) {
	s := New(Options{}, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(s.Listen(), s.Serve(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	c := NewClient(path)
	check := func(err error) {
		t.Helper()
		var down *Down
		if !errors.Is(err, ErrDown) || !errors.As(err, &down) || !strings.Contains(err.Error(), path) || !strings.Contains(down.Hint(), "relay serve") {
			t.Errorf("got %v", err)
		}
	}
	ask := func() {
		t.Helper()
		_, err := status(t, c)
		check(err)
		for _, err := range c.List(t.Context(), Filter{}) {
			check(err)
		}
	}
	ask()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	ask()
}

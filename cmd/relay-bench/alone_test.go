package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The generator and the sink work by themselves, in two processes for example.
func TestAlone(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	journal := filepath.Join(t.TempDir(), "journal")
	ended := make(chan error, 1)
	go func() {
		_, err := run(ctx, []string{"sink", "-journal", journal, "127.0.0.1:0"}, w)
		ended <- err
	}()
	text, err := bufio.NewReader(r).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(text), "taking mail at ")
	if err != nil || !ok {
		t.Fatalf("it says %q, %v", text, err)
	}
	var out strings.Builder
	if _, err := run(ctx, []string{"send", "-clients", "3", "-messages", "30", addr}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "30 messages, ") {
		t.Errorf("it says %q", out.String())
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	kept, err := os.ReadFile(journal)
	if err != nil || strings.Count(string(kept), idField) != 30 {
		t.Errorf("%d messages in the journal, %v", strings.Count(string(kept), idField), err)
	}
}

package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// What fill writes is a queue of deferred mail, none of it due soon.
func TestFill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	const n = 2*domains + 1
	if err := fillQueue(t.Context(), dir, n); err != nil {
		t.Fatal(err)
	}
	s, err := disk.Open(vfs.Default, dir, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := 0
	for e, err := range s.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got++
		r := e.Recipients[0]
		if r.State != queue.Waiting || r.Tries != 1 || r.Last.Outcome != queue.Deferred || time.Until(r.Next) < 50*time.Minute {
			t.Fatalf("recipient %+v, want one who waits for an hour at least", r)
		}
	}
	if st, err := s.Stat(t.Context()); err != nil || got != n || st.Waiting != n {
		t.Errorf("%d listed, %+v, %v, want %d", got, st, err, n)
	}
	one := 0
	for range s.List(t.Context(), queue.Filter{Domain: domain(0)}) {
		one++
	}
	if one != 3 {
		t.Errorf("%d at the first domain, want 3", one)
	}
}

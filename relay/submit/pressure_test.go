package submit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// So many store at once, the others wait in line and not for long, and nobody
// begins while that is so.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var p *press
		p = newPress(slog.New(slog.NewTextHandler(writer(func(line []byte) (int, error) {
			if !p.mu.TryLock() {
				t.Error("a line is written while others wait for the lock")
			} else {
				p.mu.Unlock()
			}
			return log.Write(line)
		}), nil)))
		var leave func()
		for range storing {
			var err error
			if leave, err = p.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		no := func(err error) {
			t.Helper()
			var r *refusal
			if !errors.As(err, &r) || r.code != 451 || r.status != "4.3.2" {
				t.Errorf("%v, expected 451 4.3.2", err)
			}
		}
		wait := func(after time.Duration) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := p.enter(t.Context())
				done <- err
			}()
			synctest.Wait()
			time.Sleep(after)
			return done
		}
		first, second, third := wait(6*time.Second), wait(time.Second), wait(0)
		if err := p.room(); err != nil {
			t.Errorf("nobody has waited long yet: %v", err)
		}
		leave()
		if err := <-first; err != nil {
			t.Errorf("the first in line has the place: %v", err)
		}
		no(p.room())
		no(<-second)
		no(<-third)
		if took := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); took != 7*time.Second+queuing {
			t.Errorf("the last of them heard after %v", took)
		}
		if err := p.room(); err != nil {
			t.Errorf("nobody waits any more: %v", err)
		}
		gone, stop := context.WithCancel(t.Context())
		stop()
		if _, err := p.enter(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("the server ends: %v", err)
		}
		if s := log.String(); strings.Count(s, "disk is slow") != 1 || strings.Count(s, "disk keeps up again") != 1 || p.refused != 3 {
			t.Errorf("%d refused; the log should say once that it is slow, and once that it is not any more:\n%s", p.refused, s)
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

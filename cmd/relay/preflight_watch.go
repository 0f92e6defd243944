package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"smtprelay/preflight"
	"smtprelay/relay"
)

// watch looks until mail may go direct, or until it is interrupted: then the
// exit code is that of the last verdict.
func watch(ctx context.Context, w world, o relay.Options, quiet, strict bool) error {
	s := &screen{w: w, v: relay.Vigil(o), strict: strict, quiet: quiet}
	for first := true; ; first = false {
		r, ok := s.v.Look(ctx)
		if !ok {
			break
		}
		if err := s.show(r, first); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		if s.v.Done(strict) {
			return nil
		}
		select {
		case <-time.After(s.v.Wait()):
			continue
		case <-ctx.Done():
		}
		break
	}
	code := exitCode(s.v.Exit(), strict)
	return &fault{code: code, err: context.Canceled, quiet: true}
}

// screen shows a watch: on a terminal lines that turn green where they stand,
// elsewhere only what changes.
type screen struct {
	w             world
	v             *preflight.Vigil
	strict, quiet bool
	lines         int    // of the part that is drawn over
	told          string // the last status line
}

func (s *screen) show(r *preflight.Report, first bool) error {
	if s.quiet {
		return s.line(r)
	}
	news, todo := s.v.News()
	out, o := s.w.stdout, textOptions(s.w)
	if s.w.terminal && s.lines > 0 { // up to where it began, and clear from there
		fmt.Fprintf(out, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
	var err error
	switch {
	case first || todo:
		if !first {
			fmt.Fprintln(out)
		}
		err = s.v.WriteReport(out, o)
	case news && !s.w.terminal:
		err = s.v.WriteChanges(out, o)
	}
	done := s.v.Done(s.strict)
	if err != nil || first && done {
		return err
	}
	if s.w.terminal {
		if s.lines, err = s.state(out, o, done); err != nil {
			return err
		}
	}
	if done {
		return s.v.WriteEnd(out, o)
	}
	return nil
}

func (s *screen) state(out io.Writer, o preflight.TextOptions, done bool) (int, error) {
	next := s.v.Wait()
	if done {
		next = 0
	}
	var b bytes.Buffer
	n, err := s.v.WriteState(&b, o, next)
	if err == nil { // what wraps on a narrow terminal could not be drawn over
		_, err = fmt.Fprintf(out, "\n\x1b[?7l%s\x1b[?7h", b.Bytes())
	}
	return n + 1, err
}

// line prints the status line when it is another.
func (s *screen) line(r *preflight.Report) error {
	text := relay.StatusLine(r)
	if text == s.told {
		return nil
	}
	s.told = text
	_, err := io.WriteString(s.w.stdout, text+"\n")
	return err
}

package relay

import (
	"errors"
	"slices"
	"syscall"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Refusal says that the preflight does not allow a start and the operator
// chose not to start then. Its text is short; Report tells all.
type Refusal struct {
	Report    *preflight.Report
	Temporary bool // nothing definite is known: DNS did not answer
}

func (r *Refusal) Error() string {
	if r.Temporary {
		return "preflight: DNS did not answer, and on_unknown is \"refuse\""
	}
	return "preflight: direct delivery is not possible as things stand, and on_fail is \"refuse\""
}

// refusal is nil when the report allows a start.
func refusal(r *preflight.Report) error {
	if r.Action != string(preflight.ActRefuse) {
		return nil
	}
	return &Refusal{Report: r, Temporary: r.Overall == preflight.Unknown}
}

// StartError is what the relay cannot have and cannot start without: the
// queue, a port, the directory of a socket.
type StartError struct {
	Err       error
	Temporary bool // it may go well later without anybody's doing
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// passing are errors that go away: a disk that has room again, an address that
// comes up or is given free, a lock whose holder ends.
var passing = []error{
	queue.ErrUnhealthy, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EAGAIN,
	syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
}

func startError(err error) error {
	return &StartError{err, slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) })}
}

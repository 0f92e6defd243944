package relay

import (
	"fmt"
	"syscall"

	"smtprelay/preflight/dns"
)

// filesWithout is what the process holds open with no mail under way: twenty-odd
// files (measured), a connection of an operator or two, and what the store opens
// for a moment as it goes on: a log, tables that are being merged, a directory to
// sync.
const filesWithout = 40

// filesAtLeast leaves room for half a dozen clients and two deliveries.
const filesAtLeast = 64

// shares say how many descriptors each stage may use. A want of them must meet
// clients, who can come again, and never the store, whose writes would fail.
type shares struct {
	tables     int // of the store, kept open
	questions  int // to DNS, at once
	deliveries int // at once, a connection and a body each, and one that waits for the next message
	clients    int // at once, a connection and a body each
}

// share divides a limit on open files (RLIMIT_NOFILE) among the stages, none of
// which gets more than it wants. Go has raised the soft limit to the hard one.
func share(limit uint64, want shares) shares {
	rest := int(min(limit, 1<<30)) - filesWithout
	got := shares{
		tables:     min(want.tables, rest/6),
		questions:  min(want.questions, rest/6),
		deliveries: min(want.deliveries, rest/12),
	}
	got.clients = min(want.clients, (rest-got.tables-got.questions-3*got.deliveries)/2)
	return got
}

// apportion has the stages keep within the limit on open files, and returns how
// many tables the store may keep open.
func (o *Options) apportion() (tables int, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, &StartError{Err: fmt.Errorf("limit on open files: %w", err)}
	}
	if limit.Cur < filesAtLeast {
		return 0, &StartError{Err: fmt.Errorf("no more than %d files may be open at once (RLIMIT_NOFILE), and %d are needed at least: raise LimitNOFILE of the unit, or ulimit -n", limit.Cur, filesAtLeast)}
	}
	want := shares{tables: 990, questions: 256, deliveries: o.Queue.Workers, clients: o.Submit.Conns}
	got := share(limit.Cur, want)
	if got.clients < want.clients || got.deliveries < want.deliveries {
		o.Log.Warn("few files may be open", "reason", fmt.Sprintf(
			"the limit of %d open files (RLIMIT_NOFILE) leaves room for %d clients and %d deliveries at once, configured are %d and %d",
			limit.Cur, got.clients, got.deliveries, want.clients, want.deliveries))
	}
	o.Submit.Conns, o.Queue.Workers, o.Deliver.Idle = got.clients, got.deliveries, got.deliveries
	dns.AtOnce(got.questions)
	return got.tables, nil
}

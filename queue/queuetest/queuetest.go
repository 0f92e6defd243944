// Package queuetest is what every store must do, as tests. A store passes it or
// is none; the suite knows no store and looks into none.
package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"smtprelay/queue"
)

// Crasher is a store under test that can lose its process: Crash returns what
// the next process finds, without the first having closed anything.
type Crasher interface {
	queue.Store
	Crash(t *testing.T) Crasher
}

// Test runs the suite. Each call of open returns a new, empty store, which is
// a Crasher.
func Test(t *testing.T, open func(t *testing.T) queue.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s Crasher)
	}{
		{"an accepted message survives a crash", survives},
		{"a draft that was not committed does not", draftVanishes},
		{"bodies come back as they were", bodies},
		{"any number of recipients", recipients},
		{"everything about a message comes back", everything},
		{"what cannot be stored is refused", refused},
		{"two workers never hold one recipient", exclusive},
		{"a lease that ran out returns", leaseRunsOut},
		{"a renewed lease does not run out", leaseRenewed},
		{"a lost lease settles nothing", leaseLost},
		{"a release gives back", release},
		{"a job is the worker's own", own},
		{"a released destination rests", rested},
		{"delivered leaves", delivered},
		{"failed leaves after the report", failed},
		{"a delay is waited", delayed},
		{"parked until woken", parked},
		{"claims wait", claimWaits},
		{"oldest first", oldestFirst},
		{"submitters take turns", turns},
		{"list in order, filtered", list},
		{"the operator's changes", update},
		{"the operator's changes during a lease", updateLeased},
		{"put off during a lease", putOffLeased},
		{"given up by the operator", givenUp},
		{"age counts while we run", age},
		{"sending needs the lease", sending},
		{"unknown messages", unknown},
		{"a context that ended", ended},
		{"closed", closed},
		{"random walk", walk},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := open(t).(Crasher)
			if !ok {
				t.Fatal("the store under test has no method Crash")
			}
			c.test(t, s)
		})
	}
}

var ctx = context.Background()

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// rcpts makes a recipient for each domain.
func rcpts(domains ...string) []queue.Recipient {
	var rs []queue.Recipient
	for i, d := range domains {
		rs = append(rs, queue.Recipient{Address: fmt.Sprintf("u%d@%s", i, d), Domain: d})
	}
	return rs
}

func putBody(t *testing.T, s queue.Store, body []byte, rs []queue.Recipient) queue.ID {
	t.Helper()
	d := must[queue.Draft](t)(s.Create(ctx))
	defer d.Abort()
	must[int](t)(d.Write(body))
	m := &queue.Message{Envelope: queue.Envelope{From: "from@example.com"}, Head: []byte("Received: x\r\n")}
	return must[queue.ID](t)(d.Commit(ctx, m, rs))
}

func put(t *testing.T, s queue.Store, domains ...string) queue.ID {
	t.Helper()
	return putBody(t, s, []byte("Subject: hi\r\n\r\nhello\r\n"), rcpts(domains...))
}

// claim claims one destination, which must come within seconds.
func claim(t *testing.T, s queue.Store, ttl time.Duration) queue.Lease {
	t.Helper()
	c, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ls, err := s.Claim(c, 1, ttl)
	if err != nil || len(ls) != 1 {
		t.Fatalf("claim: %v, %v", ls, err)
	}
	return ls[0]
}

// nothing asserts that nothing can be claimed.
func nothing(t *testing.T, s queue.Store) {
	t.Helper()
	c, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if ls, err := s.Claim(c, 10, time.Hour); err == nil {
		t.Fatalf("claimed %v, want nothing", ls)
	}
}

func take(t *testing.T, s queue.Store, l queue.Lease) queue.Job {
	t.Helper()
	js := must[[]queue.Job](t)(s.Take(ctx, l, 1))
	if len(js) != 1 {
		t.Fatalf("took %d jobs, want 1", len(js))
	}
	return js[0]
}

// next claims and takes one job.
func next(t *testing.T, s queue.Store) (queue.Lease, queue.Job) {
	t.Helper()
	l := claim(t, s, time.Hour)
	return l, take(t, s, l)
}

func readBody(t *testing.T, s queue.Store, id queue.ID) []byte {
	t.Helper()
	b := must[io.ReadSeekCloser](t)(s.Body(ctx, id))
	defer b.Close()
	return must[[]byte](t)(io.ReadAll(b))
}

func entries(t *testing.T, s queue.Store, f queue.Filter) []queue.Entry {
	t.Helper()
	var es []queue.Entry
	for e, err := range s.List(ctx, f) {
		ok(t, err)
		es = append(es, e)
	}
	return es
}

func unreported(t *testing.T, s queue.Store) []queue.Job {
	t.Helper()
	var js []queue.Job
	for j, err := range s.Unreported(ctx) {
		ok(t, err)
		js = append(js, j)
	}
	return js
}

// only returns the one recipient that is left.
func only(t *testing.T, s queue.Store) queue.Recipient {
	t.Helper()
	es := entries(t, s, queue.Filter{})
	if len(es) != 1 || len(es[0].Recipients) != 1 {
		t.Fatalf("listed %+v, want one recipient", es)
	}
	return es[0].Recipients[0]
}

func stat(t *testing.T, s queue.Store, want queue.Stat) {
	t.Helper()
	got := must[queue.Stat](t)(s.Stat(ctx))
	got.Twice = 0 // a crash may take what it counts
	if got != want {
		t.Fatalf("stat is %+v, want %+v", got, want)
	}
}

func settle(t *testing.T, s queue.Store, l queue.Lease, j queue.Job, x queue.Result) {
	t.Helper()
	var rs []queue.Result
	for _, r := range j.Recipients {
		x.ID, x.N = j.Message.ID, r.N
		rs = append(rs, x)
	}
	ok(t, s.Settle(ctx, l, rs...))
}

func sameIDs(t *testing.T, es []queue.Entry, ids ...queue.ID) {
	t.Helper()
	var got []queue.ID
	for _, e := range es {
		got = append(got, e.Message.ID)
	}
	if !slices.Equal(got, ids) {
		t.Fatalf("listed %v, want %v", got, ids)
	}
}

func sameBody(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("body of %d octets is not the one of %d octets that was written", len(got), len(want))
	}
}

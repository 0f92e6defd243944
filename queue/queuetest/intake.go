package queuetest

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtprelay/queue"
)

func survives(t *testing.T, s Crasher) {
	body := []byte("Subject: x\r\n\r\nbody\r\n")
	id := putBody(t, s, body, rcpts("a.example", "b.example"))
	s = s.Crash(t)
	stat(t, s, queue.Stat{Messages: 1, Waiting: 2})
	l, j := next(t, s)
	if j.Message.ID != id || len(j.Recipients) != 1 || j.Recipients[0].Domain != l.Destination {
		t.Fatalf("after the crash %+v is due at %s", j, l.Destination)
	}
	sameBody(t, readBody(t, s, id), body)
	s = s.Crash(t) // and what was taken is due again
	next(t, s)
	next(t, s)
}

func draftVanishes(t *testing.T, s Crasher) {
	for _, size := range []int{10, 1 << 20} {
		d := must[queue.Draft](t)(s.Create(ctx))
		must[int](t)(d.Write(make([]byte, size)))
		a := must[queue.Draft](t)(s.Create(ctx))
		must[int](t)(a.Write(make([]byte, size)))
		a.Abort()
		if _, err := a.Commit(ctx, &queue.Message{}, rcpts("a.example")); err == nil {
			t.Fatal("an aborted draft was committed")
		}
	}
	s = s.Crash(t)
	stat(t, s, queue.Stat{})
	nothing(t, s)
}

func bodies(t *testing.T, s Crasher) {
	rng := rand.NewChaCha8([32]byte{1})
	written := map[queue.ID][]byte{}
	for _, size := range []int{0, 1, 100, 128<<10 - 1, 128 << 10, 128<<10 + 1, 256 << 10, 1<<20 + 7} {
		body := make([]byte, size)
		rng.Read(body)
		d := must[queue.Draft](t)(s.Create(ctx))
		for rest := body; len(rest) > 0; {
			n := must[int](t)(d.Write(rest[:min(len(rest), 10_000)]))
			rest = rest[n:]
		}
		r := must[io.ReadCloser](t)(d.Reader())
		sameBody(t, must[[]byte](t)(io.ReadAll(r)), body)
		ok(t, r.Close())
		m := &queue.Message{}
		promised := d.ID()
		id := must[queue.ID](t)(d.Commit(ctx, m, rcpts("a.example")))
		if id != promised {
			t.Fatalf("the draft said it would be %s and became %s", promised, id)
		}
		d.Abort() // does nothing now
		if m.Size != int64(size) || m.ID != id || time.Since(m.Received) > time.Minute {
			t.Fatalf("commit filled in %+v", m)
		}
		written[id] = body
	}
	for range 2 {
		for id, body := range written {
			sameBody(t, readBody(t, s, id), body)
			rewind(t, s, id, body)
		}
		s = s.Crash(t)
	}
}

// rewind reads a part, then all again, as for a second exchanger.
func rewind(t *testing.T, s Crasher, id queue.ID, body []byte) {
	t.Helper()
	b := must[io.ReadSeekCloser](t)(s.Body(ctx, id))
	defer b.Close()
	must[int](t)(io.ReadFull(b, make([]byte, len(body)/2)))
	must[int64](t)(b.Seek(0, io.SeekStart))
	sameBody(t, must[[]byte](t)(io.ReadAll(b)), body)
	if n := must[int64](t)(b.Seek(-int64(len(body))/3, io.SeekEnd)); n != int64(len(body)-len(body)/3) {
		t.Fatalf("seek went to %d of %d", n, len(body))
	}
	sameBody(t, must[[]byte](t)(io.ReadAll(b)), body[len(body)-len(body)/3:])
}

func recipients(t *testing.T, s Crasher) {
	d := must[queue.Draft](t)(s.Create(ctx))
	if _, err := d.Commit(ctx, &queue.Message{}, nil); err == nil {
		t.Fatal("a message to nobody was stored")
	}
	stat(t, s, queue.Stat{})
	for _, n := range []int{1, 1000} {
		var domains []string
		for range n {
			domains = append(domains, "many.example")
		}
		id := put(t, s, domains...)
		s = s.Crash(t)
		l, j := next(t, s)
		if j.Message.ID != id || len(j.Recipients) != n {
			t.Fatalf("job has %d recipients, want %d", len(j.Recipients), n)
		}
		for i, r := range j.Recipients {
			if r.N != i {
				t.Fatalf("recipient %d has N %d", i, r.N)
			}
		}
		settle(t, s, l, j, queue.Result{State: queue.Delivered})
		stat(t, s, queue.Stat{})
		ok(t, s.Release(ctx, l, 0))
	}
}

func everything(t *testing.T, s Crasher) {
	m := queue.Message{
		Envelope: queue.Envelope{
			From: `"a b"@example.com`, Body: "8BITMIME", UTF8: true, RequireTLS: true,
			Return: "HDRS", EnvelopeID: "x+y\x01",
		},
		Author: "example.com", MessageID: "<a@b>", Submitter: "app", Head: []byte("A: \xff\r\n"), Lifetime: time.Hour,
	}
	r := queue.Recipient{
		Address: "üser@exämple.example", Domain: "xn--exmple-cua.example", Notify: "FAILURE,DELAY",
		Original: "rfc822;user@example", Age: time.Minute, Ours: time.Second,
	}
	d := must[queue.Draft](t)(s.Create(ctx))
	must[int](t)(d.Write([]byte("\r\n")))
	must[queue.ID](t)(d.Commit(ctx, &m, []queue.Recipient{r}))
	s = s.Crash(t)
	l, j := next(t, s)
	if diff := cmp.Diff(m, *j.Message); diff != "" {
		t.Fatalf("message (-written +read):\n%s", diff)
	}
	at := queue.Attempt{
		At: time.Unix(1e9, 0).UTC(), Took: time.Second, Outcome: queue.Deferred, Source: "wan1", Host: "mx.example",
		Addr: netip.MustParseAddrPort("[2001:db8::1]:25"), TLS: "TLS1.3", Stage: "rcpt",
		Reply: queue.Reply{Code: 451, Status: "4.7.1", Text: "try\nlater"}, Why: "why", Wait: time.Minute,
	}
	settle(t, s, l, j, queue.Result{State: queue.Waiting, Reason: "451", Delay: time.Hour, Delayed: true, Attempt: &at})
	s = s.Crash(t)
	got := only(t, s)
	if got.Age < time.Minute || got.Age > 2*time.Minute || time.Until(got.Next) < 50*time.Minute {
		t.Fatalf("times are off: %+v", got)
	}
	got.Age, got.Next = 0, time.Time{}
	r.Age, r.State, r.Reason, r.Tries, r.Delayed, r.Last = 0, queue.Waiting, "451", 1, true, at
	if diff := cmp.Diff(r, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Fatalf("recipient (-written +read):\n%s", diff)
	}
}

func refused(t *testing.T, s Crasher) {
	for _, r := range []queue.Recipient{
		{Address: "a\xff@b.example", Domain: "b.example"},
		{Address: "a@b.example", Domain: "b.example", State: queue.Delivered},
	} {
		d := must[queue.Draft](t)(s.Create(ctx))
		if _, err := d.Commit(ctx, &queue.Message{}, []queue.Recipient{r}); err == nil {
			t.Fatalf("%+v was stored", r)
		}
	}
	stat(t, s, queue.Stat{})
}

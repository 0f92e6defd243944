package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"smtprelay/queue"
)

// shelf is a queue that keeps what was committed.
type shelf struct {
	kept  []*draft
	fails error // of Create
	worse error // of Commit
}

type draft struct {
	*shelf
	body   bytes.Buffer
	closed bool
	m      queue.Message
	rs     []queue.Recipient
}

func (s *shelf) Create(context.Context) (queue.Draft, error) {
	if s.fails != nil {
		return nil, s.fails
	}
	return &draft{shelf: s}, nil
}

func (d *draft) Write(p []byte) (int, error) {
	if d.closed {
		return 0, errors.New("written after it was read")
	}
	return d.body.Write(p)
}

func (d *draft) Reader() (io.ReadCloser, error) {
	d.closed = true
	return io.NopCloser(bytes.NewReader(d.body.Bytes())), nil
}

func (d *draft) Commit(_ context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	if d.worse != nil {
		return "", d.worse
	}
	d.m, d.rs = *m, rs
	d.kept = append(d.kept, d)
	return d.ID(), nil
}

func (d *draft) ID() queue.ID { return queue.ID(fmt.Sprintf("N%d", len(d.kept))) }

func (d *draft) Abort() {}

type signer struct{ err error }

func (s signer) Sign(domain string, r io.Reader) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	n, err := io.Copy(io.Discard, r)
	return fmt.Appendf(nil, "DKIM-Signature: d=%s; l=%d\r\n", domain, n), err
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// desk is a Reporter whose notices are the same each time, and what it logs.
func desk(in queue.Intake) (*Reporter, *bytes.Buffer) {
	var log bytes.Buffer
	r := New(Options{
		Hostname: "mail.example.net",
		Log:      slog.New(slog.NewJSONHandler(&log, nil)),
	}, in, signer{})
	r.now = func() time.Time { return noon }
	n := 0
	r.token = func() string { n++; return fmt.Sprintf("TOKEN%d", n) }
	return r, &log
}

const theirs = "From: Ann <ann@example.net>\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nbody text\r\n"

func event(k queue.Kind) queue.Event {
	return queue.Event{
		Kind: k,
		Message: &queue.Message{
			ID:        "0K7",
			Envelope:  queue.Envelope{From: "ann@example.net"},
			MessageID: "<1@example.net>",
			Head:      []byte("Received: from app by mail.example.net; Mon, 23 Nov 2026 07:00:00 +0000\r\n"),
			Size:      int64(len(theirs)),
			Received:  noon.Add(-5 * time.Hour),
			Lifetime:  120 * time.Hour,
		},
		Recipients: []queue.Recipient{{
			Address: "bob@example.org", Domain: "example.org", Tries: 1,
			Last: queue.Attempt{
				At: noon.Add(-time.Second), Took: 120 * time.Millisecond, Outcome: queue.Refused,
				Source: "wan4", Host: "mx.example.org", Addr: netip.MustParseAddrPort("192.0.2.1:25"), TLS: "TLS1.3",
				Stage: "rcpt", Reply: queue.Reply{Code: 550, Status: "5.1.1", Text: "no such user here"},
			},
			Reason: "550 5.1.1 from mx.example.org",
		}},
		Head: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(theirs)), nil },
	}
}

func delayed() queue.Event {
	e := event(queue.WasDelayed)
	rc := &e.Recipients[0]
	rc.State, rc.Age, rc.Tries, rc.Next = queue.Waiting, 4*time.Hour, 7, noon.Add(time.Hour)
	rc.Last.Outcome, rc.Last.Stage, rc.Last.Reply = queue.Deferred, "greet", queue.Reply{Code: 421, Status: "4.7.28", Text: "try later"}
	rc.Reason = "421 4.7.28 from mx.example.org"
	return e
}

func TestNoticeOfFailure(t *testing.T) {
	var s shelf
	r, log := desk(&s)
	if err := r.Report(t.Context(), event(queue.WasFailed)); err != nil {
		t.Fatal(err)
	}
	if len(s.kept) != 1 {
		t.Fatalf("%d notices, want 1", len(s.kept))
	}
	d := s.kept[0]
	want := queue.Envelope{Body: "7BIT"}
	if d.m.Envelope != want {
		t.Errorf("envelope %+v, want %+v", d.m.Envelope, want)
	}
	if d.m.Author != "mail.example.net" || d.m.MessageID != "<TOKEN1@mail.example.net>" || d.m.Lifetime != 24*time.Hour || d.m.Submitter != "" {
		t.Errorf("message %+v", d.m)
	}
	if want := fmt.Sprintf("DKIM-Signature: d=mail.example.net; l=%d\r\n", d.body.Len()); string(d.m.Head) != want {
		t.Errorf("head %q, want %q", d.m.Head, want)
	}
	if len(d.rs) != 1 || d.rs[0].Address != "ann@example.net" || d.rs[0].Domain != "example.net" {
		t.Errorf("recipients %+v", d.rs)
	}
	if got := verbs(t, log); got != "notice queued, failed" {
		t.Errorf("logged %s", got)
	}
}

// TestNotQueued: an error says that the sender does not know yet, and the line
// that ends the story is not written.
func TestNotQueued(t *testing.T) {
	broken := event(queue.WasFailed)
	broken.Head = func() (io.ReadCloser, error) { return nil, errors.New("disk is gone") }
	for name, c := range map[string]struct {
		s    shelf
		e    queue.Event
		want string
	}{
		"no room":     {shelf{fails: queue.ErrFull}, event(queue.WasFailed), "no space left"},
		"not durable": {shelf{worse: queue.ErrUnhealthy}, event(queue.WasFailed), "storage failed"},
		"no body":     {shelf{}, broken, "disk is gone"},
	} {
		r, log := desk(&c.s)
		err := r.Report(t.Context(), c.e)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "0K7") {
			t.Errorf("%s: got %v", name, err)
		}
		if log.Len() > 0 || len(c.s.kept) > 0 {
			t.Errorf("%s: %d queued, logged %s", name, len(c.s.kept), log)
		}
	}
	done := event(queue.WasDelivered)
	done.Recipients[0].Notify = "SUCCESS"
	r, log := desk(&shelf{fails: queue.ErrFull})
	if err := r.Report(t.Context(), done); !errors.Is(err, queue.ErrFull) || verbs(t, log) != "delivered" {
		t.Errorf("a delivery: %v, logged %s", err, log)
	}
}

// TestBodyLost: what the store has lost does not keep the sender uninformed.
func TestBodyLost(t *testing.T) {
	for _, lost := range []error{queue.ErrDamaged, queue.ErrNotFound} {
		for name, open := range map[string]func() (io.ReadCloser, error){
			"opening": func() (io.ReadCloser, error) { return nil, lost },
			"reading": func() (io.ReadCloser, error) { return io.NopCloser(brokenReader{lost}), nil },
			"none":    nil,
		} {
			var s shelf
			r, _ := desk(&s)
			e := event(queue.WasFailed)
			e.Head = open
			if err := r.Report(t.Context(), e); err != nil || len(s.kept) != 1 {
				t.Errorf("%s: %v: %v, %d notices", name, lost, err, len(s.kept))
			} else if !strings.Contains(s.kept[0].body.String(), "Received: from app") {
				t.Errorf("%s: what we know ourselves is missing", name)
			}
		}
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// TestUnsigned: a sender hears of his mail even when no key works.
func TestUnsigned(t *testing.T) {
	for _, sg := range []Signer{nil, signer{errors.New("card pulled")}} {
		var s shelf
		r, log := desk(&s)
		r.sign = sg
		if err := r.Report(t.Context(), event(queue.WasFailed)); err != nil || len(s.kept) != 1 || s.kept[0].m.Head != nil {
			t.Errorf("%v, %d notices", err, len(s.kept))
		}
		if sg != nil && !strings.HasPrefix(verbs(t, log), "notice not signed") {
			t.Errorf("logged %s", log)
		}
	}
}

func TestLines(t *testing.T) {
	r, log := desk(&shelf{})
	e := delayed()
	e.Kind = queue.WasDeferred
	if err := r.Report(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	want := map[string]any{
		"level": "INFO", "msg": "deferred", "id": "0K7", "from": "ann@example.net", "to": "bob@example.org", "domain": "example.org",
		"source": "wan4", "host": "mx.example.org", "addr": "192.0.2.1:25", "tls": "TLS1.3", "stage": "greet",
		"code": 421.0, "status": "4.7.28", "reply": "try later", "tries": 7.0, "took": 0.12e9,
		"size": float64(len(theirs)), "next": "2026-11-23T13:00:00Z", "reason": "421 4.7.28 from mx.example.org",
	}
	if got, want := fmt.Sprint(line), fmt.Sprint(want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestHeldIsLoud: a fault of ours that outlives the mail is the operator's, and
// the sender is not bothered with it.
func TestHeldIsLoud(t *testing.T) {
	var s shelf
	r, log := desk(&s)
	e := delayed()
	e.Kind, e.Recipients[0].State = queue.WasHeld, queue.Held
	if err := r.Report(t.Context(), e); err != nil || len(s.kept) != 0 {
		t.Errorf("%v, %d notices", err, len(s.kept))
	}
	if !strings.Contains(log.String(), `"level":"ERROR","msg":"held"`) {
		t.Errorf("logged %s", log)
	}
}

// TestLogIsOneLine: what a remote says cannot forge a line.
func TestLogIsOneLine(t *testing.T) {
	var log bytes.Buffer
	r := New(Options{Hostname: "mail.example.net", Log: slog.New(slog.NewTextHandler(&log, nil))}, &shelf{}, nil)
	e := event(queue.WasDeferred)
	e.Recipients[0].Last.Reply.Text = "no\nlevel=ERROR msg=forged\x1b[2J\x00" + strings.Repeat("x", 64<<10)
	if err := r.Report(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || strings.ContainsAny(log.String(), "\x1b\x00") || log.Len() > 3000 {
		t.Errorf("%d lines, %d octets: %.300s", n, log.Len(), log.String())
	}
}

func TestDefaults(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "MAILER-DAEMON@mail.example.net",
		"postmaster@example.com":     "postmaster@example.com",
		"Ann <postmaster@example.x>": "postmaster@example.x",
	} {
		r := New(Options{Hostname: "mail.example.net", Postmaster: in}, nil, nil)
		if r.o.Postmaster != want || r.o.Lifetime != 24*time.Hour {
			t.Errorf("%q: %+v", in, r.o)
		}
		if a, b := r.token(), r.token(); a == b || len(a) < 20 {
			t.Errorf("tokens %q, %q", a, b)
		}
	}
}

// verbs are the messages logged, in order.
func verbs(t *testing.T, log *bytes.Buffer) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(log.String()) {
		var l struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l.Msg)
	}
	return strings.Join(slices.Clip(out), ", ")
}

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a real queue, in memory.
func store(t *testing.T) *disk.Store {
	t.Helper()
	s, err := disk.Open(vfs.NewMem(), "queue", disk.Options{MinFree: 1, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s queue.Intake, from string, to ...string) queue.ID {
	t.Helper()
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if _, err := io.WriteString(d, "From: "+from+"\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	var rs []queue.Recipient
	for _, a := range to {
		rs = append(rs, queue.Recipient{Address: a, Domain: a[strings.IndexByte(a, '@')+1:]})
	}
	id, err := d.Commit(t.Context(), &queue.Message{
		Envelope: queue.Envelope{From: from}, MessageID: "<1@x>", Head: []byte("Received: x\r\n"), Lifetime: time.Hour,
	}, rs)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// log is a log that two goroutines may use.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve runs a server until the test ends.
func serve(t *testing.T, s *Server) *Client {
	t.Helper()
	if s.o.Socket == "" {
		s.o.Socket = filepath.Join(t.TempDir(), "admin.sock")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return NewClient(s.o.Socket)
}

// states are the recipients of a listing, in order.
func states(t *testing.T, c *Client, f Filter) string {
	t.Helper()
	var out []string
	for e, err := range c.List(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.Recipients {
			out = append(out, r.Address+" "+string(r.State))
		}
	}
	return strings.Join(out, ", ")
}

func TestActions(t *testing.T) {
	var l log
	q := store(t)
	c := serve(t, New(Options{Log: slog.New(slog.NewTextHandler(&l, nil))}, q, nil))
	one := put(t, q, "ann@example.net", "a@example.org", "b@example.com")
	put(t, q, "eve@example.net", "c@example.org")

	for _, step := range []struct {
		action string
		f      Filter
		all    bool
		n      int
		want   string
	}{
		{"hold", Filter{Domain: "Example.ORG"}, false, 2, "a@example.org held, b@example.com waiting, c@example.org held"},
		{"hold", Filter{Domain: "example.org"}, false, 0, "a@example.org held, b@example.com waiting, c@example.org held"},
		{"release", Filter{From: "eve@example.net"}, false, 1, "a@example.org held, b@example.com waiting, c@example.org waiting"},
		{"retry", Filter{}, true, 2, "a@example.org held, b@example.com waiting, c@example.org waiting"},
		{"hold", Filter{State: queue.Waiting}, false, 2, "a@example.org held, b@example.com held, c@example.org held"},
		{"release", Filter{ID: one, Domain: "example.org"}, false, 1, "a@example.org waiting, b@example.com held, c@example.org held"},
		{"bounce", Filter{ID: one, Domain: "example.org"}, false, 1, "a@example.org failed, b@example.com held, c@example.org held"},
		{"bounce", Filter{ID: one, Domain: "example.org"}, false, 0, "a@example.org failed, b@example.com held, c@example.org held"},
		{"remove", Filter{ID: one}, false, 2, "c@example.org held"},
		{"remove", Filter{ID: one}, false, 0, "c@example.org held"},
		{"remove", Filter{}, true, 1, ""},
	} {
		n, err := c.Update(t.Context(), step.action, step.f, step.all)
		if err != nil || n != step.n {
			t.Fatalf("%s %+v: %d, %v, want %d", step.action, step.f, n, err, step.n)
		}
		if got := states(t, c, Filter{}); got != step.want {
			t.Fatalf("%s %+v: %s, want %s", step.action, step.f, got, step.want)
		}
	}

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("msg=\"given up\" id=%s from=ann@example.net to=a@example.org user=%s\n", one, me.Username); strings.Count(l.String(), want) != 1 {
		t.Errorf("want once %q in\n%s", want, l.String())
	}
	want := fmt.Sprintf("msg=removed id=%s from=ann@example.net to=a@example.org user=%s\n", one, me.Username)
	if !strings.Contains(l.String(), want) || strings.Count(l.String(), "msg=removed") != 3 {
		t.Errorf("want %q and two more in\n%s", want, l.String())
	}
}

func TestReleasedIsDueNow(t *testing.T) {
	q := store(t)
	c := serve(t, New(Options{}, q, nil))
	id := put(t, q, "ann@example.net", "a@example.org")
	for _, action := range []string{"hold", "release"} {
		if _, err := c.Update(t.Context(), action, Filter{ID: id}, false); err != nil {
			t.Fatal(err)
		}
	}
	e, err := c.Show(t.Context(), id)
	if err != nil || len(e.Recipients) != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	if late := time.Until(e.Recipients[0].Next); late > 0 {
		t.Errorf("due in %v, want now", late)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if ls, err := q.Claim(ctx, 1, time.Minute); err != nil || len(ls) != 1 || ls[0].Destination != "example.org" {
		t.Errorf("claimed %v, %v", ls, err)
	}
}

func TestShowAndList(t *testing.T) {
	q := store(t)
	c := serve(t, New(Options{}, q, nil))
	id := put(t, q, "ann@example.net", "a@example.org", "b@example.com")
	put(t, q, "", "c@example.org")
	e, err := c.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if m := e.Message; m.ID != id || m.Envelope.From != "ann@example.net" || m.Head != nil || m.Received.IsZero() || m.Lifetime != time.Hour || len(e.Recipients) != 2 {
		t.Errorf("%+v", e)
	}
	for _, none := range []ID{"nothing", "a/b", "..", "%2e"} {
		if _, err := c.Show(t.Context(), none); err == nil || none == "nothing" && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", none, err)
		}
	}
	for _, l := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "a@example.org waiting, b@example.com waiting, c@example.org waiting"},
		{Filter{Limit: 1}, "a@example.org waiting, b@example.com waiting"},
		{Filter{Domain: "example.org"}, "a@example.org waiting, c@example.org waiting"},
		{Filter{From: "ann@example.net", Domain: "example.com"}, "b@example.com waiting"},
		{Filter{State: queue.Held}, ""},
		{Filter{ID: id, Limit: 5}, "a@example.org waiting, b@example.com waiting"},
		{Filter{From: "x&domain=example.org"}, ""},
	} {
		if got := states(t, c, l.f); got != l.want {
			t.Errorf("%+v: %s, want %s", l.f, got, l.want)
		}
	}
	for range c.List(t.Context(), Filter{}) {
		break // a caller may stop
	}
}

// TestListStreams: a long listing arrives while it is read, and is complete.
func TestListStreams(t *testing.T) {
	const many = 3000
	c := serve(t, New(Options{}, listing(func(yield func(queue.Entry, error) bool) {
		for i := range many {
			if !yield(queue.Entry{Message: queue.Message{ID: queue.ID(fmt.Sprint(i))}}, nil) {
				return
			}
		}
	}), nil))
	n := 0
	for e, err := range c.List(t.Context(), Filter{}) {
		if err != nil || string(e.Message.ID) != fmt.Sprint(n) {
			t.Fatalf("entry %d: %s, %v", n, e.Message.ID, err)
		}
		n++
	}
	if n != many {
		t.Errorf("%d entries, want %d", n, many)
	}
}

// listing is a desk that only lists.
type listing iter.Seq2[queue.Entry, error]

func (l listing) List(context.Context, queue.Filter) iter.Seq2[queue.Entry, error] {
	return iter.Seq2[queue.Entry, error](l)
}

func (l listing) Update(ctx context.Context, _ queue.Filter, _ queue.Change) (int, error) {
	select {
	case <-time.After(300 * time.Millisecond):
		return 7, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (l listing) Stat(context.Context) (queue.Stat, error) {
	return queue.Stat{}, errors.New("index is gone")
}

// TestBreaksOff: a listing that ends early does not look complete.
func TestBreaksOff(t *testing.T) {
	c := serve(t, New(Options{}, listing(func(yield func(queue.Entry, error) bool) {
		if yield(queue.Entry{Message: queue.Message{ID: "1"}}, nil) {
			yield(queue.Entry{}, errors.New("disk is gone"))
		}
	}), nil))
	var last error
	n := 0
	for _, err := range c.List(t.Context(), Filter{}) {
		if last = err; err == nil {
			n++
		}
	}
	if n != 1 || last == nil || !strings.Contains(last.Error(), "disk is gone") {
		t.Errorf("%d entries, %v", n, last)
	}
	if _, err := status(t, c); err == nil || !strings.Contains(err.Error(), "index is gone") {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Update(t.Context(), "remove", Filter{ID: "1"}, false); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("removed without a word in the log: %v", err)
	}
	c = serve(t, New(Options{}, listing(func(yield func(queue.Entry, error) bool) {
		for yield(queue.Entry{Message: queue.Message{ID: "1"}}, nil) {
			if n++; n == 1000 {
				panic(http.ErrAbortHandler)
			}
		}
	}), nil))
	last = nil
	for _, err := range c.List(t.Context(), Filter{}) {
		last = err
	}
	if !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", last)
	}
}

// TestSlowQueue: a change may take longer than a request may take to arrive.
func TestSlowQueue(t *testing.T) {
	s := New(Options{}, listing(nil), nil)
	s.read = 50 * time.Millisecond
	if n, err := serve(t, s).Update(t.Context(), "hold", Filter{ID: "1"}, false); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// status and report are what monitoring asks for.
func status(t *testing.T, c *Client) (s Status, err error) {
	return s, c.into(t.Context(), http.MethodGet, "/api/status", nil, &s)
}

func report(t *testing.T, c *Client) (r json.RawMessage, err error) {
	return r, c.into(t.Context(), http.MethodGet, "/api/preflight", nil, &r)
}

func TestStatusAndPreflight(t *testing.T) {
	q := store(t)
	since := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	lacks := errors.New("no report yet")
	o := Options{Preflight: func(w io.Writer) error {
		fmt.Fprint(w, `{"overall":"pass"}`)
		return lacks
	}}
	c := serve(t, New(o, q, func() Status { return Status{Version: "1.0", Since: since, Verdict: "pass", Action: "direct"} }))
	put(t, q, "ann@example.net", "a@example.org", "b@example.com")
	got, err := status(t, c)
	want := Status{Version: "1.0", Since: since, Verdict: "pass", Action: "direct", Queue: queue.Stat{Messages: 1, Waiting: 2}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if _, err := report(t, c); err == nil || !strings.Contains(err.Error(), "no report yet") {
		t.Errorf("preflight: %v", err)
	}
	lacks = nil
	if got, err := report(t, c); err != nil || string(got) != `{"overall":"pass"}` {
		t.Errorf("preflight: %s, %v", got, err)
	}
	if _, err := report(t, serve(t, New(Options{}, q, nil))); err == nil {
		t.Error("a preflight from nowhere")
	}
}

// TestPanic: what blows up costs one request.
func TestLook(t *testing.T) {
	var got Form
	o := Options{Look: func(_ context.Context, f Form) (Look, error) {
		got = f
		if f.As == "broken" {
			return Look{}, errors.New("no look")
		}
		return Look{Overall: "fail", Exit: 2, Text: "FAIL\n"}, nil
	}}
	c := serve(t, New(o, store(t), nil))
	want := Form{As: "line", Strict: true, ASCII: true}
	l, err := c.Look(t.Context(), want)
	if err != nil || got != want || l.Exit != 2 || l.Overall != "fail" || l.Text != "FAIL\n" {
		t.Errorf("%+v, %v; asked for %+v", l, err, got)
	}
	if _, err := c.Look(t.Context(), Form{As: "broken"}); err == nil || !strings.Contains(err.Error(), "no look") {
		t.Errorf("broken: %v", err)
	}
	if _, err := serve(t, New(Options{}, store(t), nil)).Look(t.Context(), Form{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody looks: %v", err)
	}
}

// Who may open the socket may see where the time goes.
func TestProfiles(t *testing.T) {
	s := New(Options{}, nil, nil)
	serve(t, s)
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.o.Socket)
		},
	}}
	for path, want := range map[string]string{
		"/debug/pprof/goroutine?debug=1": "goroutine profile: total",
		"/debug/pprof/nothing":           "Unknown profile",
	} {
		resp, err := c.Get("http://relay" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, %v:\n%.200s", path, resp.Status, err, text)
		}
	}
}

func TestPanic(t *testing.T) {
	var l log
	c := serve(t, New(Options{Log: slog.New(slog.NewTextHandler(&l, nil))}, store(t), func() Status { panic("bomb") }))
	if _, err := status(t, c); err == nil {
		t.Error("no error")
	}
	if got := states(t, c, Filter{}); got != "" || !strings.Contains(l.String(), "bomb") {
		t.Errorf("%s, logged %s", got, l.String())
	}
}

// TestEnd: when the end comes, a running answer is finished and the socket goes.
func TestEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := New(Options{Socket: path}, listing(nil), nil)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	s.desk = started{listing(nil), running}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	go func() { <-running; cancel() }()
	if n, err := NewClient(path).Update(t.Context(), "hold", Filter{ID: "1"}, false); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

type started struct {
	listing
	running chan struct{}
}

func (s started) Update(ctx context.Context, f queue.Filter, c queue.Change) (int, error) {
	close(s.running)
	return s.listing.Update(ctx, f, c)
}

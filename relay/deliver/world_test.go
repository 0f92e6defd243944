package deliver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
	"smtprelay/queue"
	"smtprelay/queue/disk"
	"smtprelay/relay/deliver/mxtest"
)

// world is a small internet on loopback with a real queue before it.
type world struct {
	t     *testing.T
	dns   *dnstest.Server
	store *disk.Store
	work  queue.Work // what the scheduler is given: store, unless a test puts something around it
	gate  *gate
	o     Options
	q     queue.Options
	log   strings.Builder
	port  uint16
	mxs   map[string]*mxtest.Server
	told  chan queue.Event
}

// gate lets every source send until a test says otherwise.
type gate struct {
	mu      sync.Mutex
	sources []preflight.Source
	final   preflight.Route
	asked   []preflight.Mail
	met     []preflight.Contact
	heard   []preflight.Reply
	instead preflight.Route
	named   []string // that Instead was asked about
}

func (g *gate) Met(c preflight.Contact) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.met = append(g.met, c)
}

func (g *gate) Heard(r preflight.Reply) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = append(g.heard, r)
}

func (g *gate) Instead(named []string) preflight.Route {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.named = named
	return g.instead
}

func (g *gate) Mended(_ preflight.Mail, source string, named []string) string {
	return source + " " + strings.Join(named, " ")
}

func (g *gate) Route(_ context.Context, m preflight.Mail, _ string, tried []string) preflight.Route {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, m)
	for i, s := range g.sources {
		if !slices.Contains(tried, s.Name) {
			return preflight.Route{Source: &g.sources[i]}
		}
	}
	return g.final
}

func newWorld(t *testing.T, zones ...string) *world {
	t.Helper()
	d, err := dnstest.Start(zones...)
	if err != nil {
		t.Fatal(err)
	}
	st, err := disk.Open(vfs.NewMem(), "queue", disk.Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dns: d, store: st, work: st, mxs: map[string]*mxtest.Server{},
		told: make(chan queue.Event, 1000),
		gate: &gate{
			sources: []preflight.Source{{Name: "wan4", Bind: "127.0.0.1", EHLO: "mail.example.test"}},
			final:   preflight.Route{Wait: time.Minute, Why: "no source is left"},
		},
		o: Options{Private: true, Timeouts: Timeouts{
			Connect: 2 * time.Second, Greet: 2 * time.Second, Mail: 2 * time.Second, Rcpt: 2 * time.Second,
			Data: 2 * time.Second, Block: 2 * time.Second, Dot: 2 * time.Second,
		}},
		q: queue.Options{Retry: []time.Duration{time.Hour}, DelayNotice: -1},
	}
	t.Cleanup(func() {
		for _, m := range w.mxs {
			m.Close()
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		d.Close()
	})
	return w
}

// mx starts an exchanger. All share one port, as on the internet.
func (w *world) mx(ip, script string) *mxtest.Server {
	w.t.Helper()
	m, err := mxtest.Start(netip.AddrPortFrom(netip.MustParseAddr(ip), w.port).String(), script)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mxs[ip] = m
	w.port = m.Addr().Port()
	return m
}

// put queues a message.
func (w *world) put(m queue.Message, body string, to ...string) queue.ID {
	w.t.Helper()
	var rs []queue.Recipient
	for _, a := range to {
		_, domain := cut(a)
		rs = append(rs, queue.Recipient{Address: a, Domain: strings.ToLower(domain)})
	}
	return w.putTo(m, body, rs)
}

func (w *world) putTo(m queue.Message, body string, rs []queue.Recipient) queue.ID {
	w.t.Helper()
	d, err := w.store.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		w.t.Fatal(err)
	}
	if m.Envelope.From == "" {
		m.Envelope.From = "alice@example.test"
	}
	id, err := d.Commit(w.t.Context(), &m, rs)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

const hello = "From: alice@example.test\r\nSubject: hello\r\n\r\nhello\r\n"

// run lets the scheduler work until n recipients were told about, and returns
// them by address.
func (w *world) run(n int) map[string]queue.Recipient {
	w.t.Helper()
	return w.until(func(got map[string]queue.Recipient) bool { return len(got) >= n })
}

// until lets the scheduler work until what was told last is enough.
func (w *world) until(enough func(map[string]queue.Recipient) bool) map[string]queue.Recipient {
	w.t.Helper()
	d := w.deliverer()
	defer d.Close()
	return w.untilOn(d, enough)
}

// deliverer of this world, for a test that runs one several times.
func (w *world) deliverer() *Deliverer {
	o := w.o
	if o.Port == 0 {
		o.Port = w.port
	}
	o.Log = slog.New(slog.NewTextHandler(&lockedWriter{w: &w.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return New(o, w.gate, w.dns.Client())
}

func (w *world) runOn(d *Deliverer, n int) map[string]queue.Recipient {
	w.t.Helper()
	return w.untilOn(d, func(got map[string]queue.Recipient) bool { return len(got) >= n })
}

func (w *world) untilOn(d *Deliverer, enough func(map[string]queue.Recipient) bool) map[string]queue.Recipient {
	w.t.Helper()
	s := queue.NewScheduler(w.work, d, w, w.q, d.log)
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	got := map[string]queue.Recipient{}
	timeout := time.After(20 * time.Second)
	for !enough(got) {
		select {
		case e := <-w.told:
			for _, r := range e.Recipients {
				got[r.Address] = r
			}
		case <-timeout:
			stop()
			<-done
			w.t.Fatalf("waited in vain, told: %v\n%s", got, w.log.String())
		}
	}
	stop()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	return got
}

// Report makes world the reporter.
func (w *world) Report(_ context.Context, e queue.Event) error {
	w.told <- e
	return nil
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// is fails the test unless the recipient's last attempt reads so:
// "deferred rcpt 451 4.7.1".
func is(t *testing.T, r queue.Recipient, want string) {
	t.Helper()
	a := r.Last
	got := string(a.Outcome) + " " + a.Stage
	if a.Reply.Code != 0 {
		got += fmt.Sprint(" ", a.Reply.Code)
	}
	if a.Reply.Status != "" {
		got += " " + a.Reply.Status
	}
	if a.Ours {
		got += " ours"
	}
	if got != want {
		t.Errorf("%s: got %q (why %q, reply %q), want %q", r.Address, got, a.Why, a.Reply.Text, want)
	}
}

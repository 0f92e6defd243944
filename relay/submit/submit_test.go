package submit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// box is an intake in memory.
type box struct {
	mu   sync.Mutex
	got  []parcel
	open int   // drafts neither committed nor aborted
	err  error // of Create
	late error // of Commit
}

// parcel is a message that was committed.
type parcel struct {
	m    queue.Message
	rs   []queue.Recipient
	body string
}

func (p parcel) wire() string { return string(p.m.Head) + p.body }

type draft struct {
	b    *box
	buf  bytes.Buffer
	done bool
}

func (b *box) Create(context.Context) (queue.Draft, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	b.open++
	return &draft{b: b}, nil
}

func (d *draft) Write(p []byte) (int, error) { return d.buf.Write(p) }
func (d *draft) Reader() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d.buf.Bytes())), nil
}
func (d *draft) Abort() { d.end() }

func (d *draft) end() {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if !d.done {
		d.b.open--
	}
	d.done = true
}

func (d *draft) Commit(_ context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	d.end()
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if d.b.late != nil {
		return "", d.b.late
	}
	m.ID = d.next()
	m.Size = int64(d.buf.Len())
	d.b.got = append(d.b.got, parcel{*m, rs, d.buf.String()})
	return m.ID, nil
}

func (d *draft) ID() queue.ID {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	return d.next()
}

func (d *draft) next() queue.ID { return queue.ID(fmt.Sprintf("Q%d", len(d.b.got)+1)) }

func (b *box) all() []parcel {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]parcel(nil), b.got...)
}

// drafts counts those still open.
func (b *box) drafts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// rules is a gate; nil accepts all.
type rules func(preflight.Mail) preflight.Ruling

func (f rules) Judge(_ context.Context, m preflight.Mail) preflight.Ruling {
	if f == nil {
		return preflight.Ruling{Do: preflight.ActSend}
	}
	return f(m)
}

// pen is a signer; nil signs nothing.
type pen func(domain string, r io.Reader) ([]byte, error)

func (f pen) Sign(domain string, r io.Reader) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	return f(domain, r)
}

// house is a server that runs for a test.
type house struct {
	*Server
	box  *box
	log  *logBook
	stop func() error // drains and waits
}

type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is what a test may want otherwise.
type world struct {
	Options
	in     queue.Intake
	gate   rules
	pen    pen
	adjust func(*Server)
}

func build(t *testing.T, w world) *house {
	t.Helper()
	h := &house{box: &box{}, log: &logBook{}}
	if w.Listen == nil {
		w.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	}
	if w.Hostname == "" {
		w.Hostname = "relay.test"
	}
	w.Log = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if w.in == nil {
		w.in = h.box
	}
	s, err := New(w.Options, w.in, w.gate, w.pen)
	if err != nil {
		t.Fatal(err)
	}
	h.Server = s
	s.auth.pause = func(int) time.Duration { return 0 }
	if w.adjust != nil {
		w.adjust(s)
	}
	return h
}

func start(t *testing.T, w world) *house {
	t.Helper()
	h := build(t, w)
	if err := h.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx) }()
	h.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := h.box.drafts(); n != 0 {
			t.Errorf("%d drafts neither committed nor aborted", n)
		}
	})
	return h
}

// loopback trusts this machine.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func trusting() world { return world{Options: Options{Trusted: loopback}} }

// client speaks raw SMTP.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (h *house) dial(t *testing.T) *client {
	t.Helper()
	a := h.Addrs()[0]
	return connect(t, a.Network(), a.String())
}

func connect(t *testing.T, network, addr string) *client {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	cl := wrap(t, c)
	cl.want("220 ")
	return cl
}

func wrap(t *testing.T, c net.Conn) *client {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

// reply reads one, of all its lines.
func (c *client) reply() (string, error) {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return b.String(), err
		}
	}
}

func (c *client) want(prefix string) string {
	c.t.Helper()
	got, err := c.reply()
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("reply %q, %v; want %q", got, err, prefix)
	}
	return got
}

// do sends a line and wants a reply.
func (c *client) do(line, prefix string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	got, err := c.reply()
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("%.80s: reply %q, %v; want %q", line, got, err, prefix)
	}
	return got
}

// ended wants nothing but replies before the end of the connection.
func (c *client) ended() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatalf("connection still open after %q", b)
	}
	return string(b)
}

// begin goes as far as 354.
func (c *client) begin() {
	c.t.Helper()
	c.do("EHLO client.test", "250")
	c.envelope()
	c.do("DATA", "354")
}

func (c *client) envelope() {
	c.t.Helper()
	c.do("MAIL FROM:<alice@example.com>", "250")
	c.do("RCPT TO:<bob@example.net>", "250")
}

const head = "From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\n"

// certificate for localhost.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// startTLS goes on under TLS, up to EHLO.
func (c *client) startTLS(pool *x509.CertPool) *client {
	c.t.Helper()
	c.do("STARTTLS", "220")
	t := tls.Client(c.Conn, &tls.Config{ServerName: "localhost", RootCAs: pool})
	if err := t.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	cl := &client{t: c.t, Conn: t, r: bufio.NewReader(t)}
	cl.do("EHLO client.test", "250")
	return cl
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTrustedClientQueuesAMessage(t *testing.T) {
	h := start(t, trusting())
	c := h.dial(t)
	c.begin()
	c.send(head + "Hi Bob\r\n..dot\r\n.\r\n")
	c.want("250 2.0.0 queued as Q1")
	c.do("QUIT", "221")

	ps := h.box.all()
	if len(ps) != 1 {
		t.Fatalf("%d messages", len(ps))
	}
	p := ps[0]
	if p.body != head+"Hi Bob\r\n.dot\r\n" {
		t.Errorf("body %q", p.body)
	}
	if p.m.Envelope.From != "alice@example.com" || p.m.Author != "example.com" || p.m.Submitter != "127.0.0.0/8" {
		t.Errorf("message %+v", p.m)
	}
	if len(p.rs) != 1 || p.rs[0].Address != "bob@example.net" || p.rs[0].Domain != "example.net" {
		t.Errorf("recipients %+v", p.rs)
	}
	for _, f := range []string{"Received: from client.test ([127.0.0.1])\r\n\tby relay.test with ESMTP id ", "\r\n\tfor <bob@example.net>;\r\n\t", "\r\nDate: ", "\r\nMessage-ID: <"} {
		if !strings.Contains(string(p.m.Head), f) {
			t.Errorf("head %q lacks %q", p.m.Head, f)
		}
	}
	if !strings.HasPrefix(p.m.MessageID, "<") || !strings.Contains(string(p.m.Head), p.m.MessageID) {
		t.Errorf("message id %q", p.m.MessageID)
	}
	if log := h.log.String(); !strings.Contains(log, "msg=accepted id=Q1 from=alice@example.com to=[bob@example.net] user=127.0.0.0/8 remote=127.0.0.1 size=") {
		t.Errorf("log %s", log)
	}
}

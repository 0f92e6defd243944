package deliver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
	"smtprelay/queue"
)

// BenchmarkDeliver takes messages of 4 KiB from a store in memory to an exchanger and a
// name server in another process, so that cpu-ns/op is of the delivery alone: over a
// connection that is kept, over one for each message, and to 1,000 domains in turn;
// and messages of 100 KiB over one that is kept.
func BenchmarkDeliver(b *testing.B) {
	far := farSide(b)
	for _, c := range []struct {
		name    string
		to      netip.AddrPort
		domains int
		size    int
	}{
		{"kept", far.kept, 1, 4 << 10}, {"fresh", far.fresh, 1, 4 << 10},
		{"many", far.kept, benchDomains, 4 << 10}, {"large", far.kept, 1, 100 << 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := New(Options{Port: c.to.Port(), Private: true}, benchGate{}, dns.NewClient([]netip.AddrPort{far.dns}))
			w := &benchWork{n: b.N, domains: c.domains, body: benchBody(c.size)}
			ctx, stop := context.WithCancel(b.Context())
			w.done = stop
			s := queue.NewScheduler(w, d, nobody{}, queue.Options{}, nil)
			b.ReportAllocs()
			before := cpuTime()
			b.ResetTimer()
			if err := s.Run(ctx); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
			if w.sent != b.N {
				b.Fatalf("%d of %d messages were sent, at last: %+v", w.sent, b.N, w.last)
			}
		})
	}
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchDomains = 1000

// benchGate lets one source send everything.
type benchGate struct{}

var benchSource = preflight.Source{Name: "wan4", Bind: "127.0.0.1", EHLO: "mail.example.test"}

func (benchGate) Route(context.Context, preflight.Mail, string, []string) preflight.Route {
	return preflight.Route{Source: &benchSource}
}
func (benchGate) Met(preflight.Contact)                          {}
func (benchGate) Heard(preflight.Reply)                          {}
func (benchGate) Instead([]string) preflight.Route               { return preflight.Route{} }
func (benchGate) Mended(preflight.Mail, string, []string) string { return "" }

type nobody struct{}

func (nobody) Report(context.Context, queue.Event) error { return nil }

// benchWork has n messages, in leases of one for each when there are many domains.
type benchWork struct {
	queue.Work
	n, domains int
	body       []byte
	done       func()

	mu            sync.Mutex
	given         int // messages leased
	taken         map[uint64]int
	sent, settled int
	last          queue.Attempt
}

var benchHead = []byte("Received: from client.example.test ([192.0.2.1]) by mail.example.test with ESMTP;\r\n\tWed, 25 Nov 2026 20:00:00 +0000\r\n")

func benchBody(size int) []byte {
	line := strings.Repeat("x", 70) + "\r\n"
	return []byte(hello + strings.Repeat(line, size/len(line)))
}

func (w *benchWork) Claim(ctx context.Context, _ int, _ time.Duration) ([]queue.Lease, error) {
	w.mu.Lock()
	l := queue.Lease{Destination: fmt.Sprintf("d%d.dest.test", w.given%w.domains), Token: uint64(w.given)}
	more := w.given < w.n
	w.given += w.each()
	w.mu.Unlock()
	if more {
		return []queue.Lease{l}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// each is how many messages a lease has.
func (w *benchWork) each() int {
	if w.domains > 1 {
		return 1
	}
	return w.n
}

func (w *benchWork) Take(_ context.Context, l queue.Lease, n int) (js []queue.Job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken == nil {
		w.taken = map[uint64]int{}
	}
	n = min(n, w.each()-w.taken[l.Token])
	for i := range n {
		js = append(js, queue.Job{
			Message: &queue.Message{
				ID:     queue.ID(fmt.Sprintf("%08d%08d", l.Token, w.taken[l.Token]+i)),
				Author: "example.test", Head: benchHead, Size: int64(len(w.body)),
				Envelope: queue.Envelope{From: "alice@example.test"},
			},
			Recipients: []queue.Recipient{{Address: "reader@" + l.Destination, Domain: l.Destination}},
		})
	}
	w.taken[l.Token] += n
	return js, nil
}

func (w *benchWork) Settle(_ context.Context, _ queue.Lease, rs ...queue.Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range rs {
		if w.last = *r.Attempt; w.last.Outcome == queue.Sent {
			w.sent++
		}
		if w.settled++; w.settled == w.n {
			w.done()
		}
	}
	return nil
}

type benchReader struct{ *bytes.Reader }

func (benchReader) Close() error { return nil }

func (w *benchWork) Body(context.Context, queue.ID) (io.ReadSeekCloser, error) {
	return benchReader{bytes.NewReader(w.body)}, nil
}
func (*benchWork) Sending(context.Context, queue.Lease, queue.ID, ...int) error { return nil }
func (*benchWork) Renew(context.Context, queue.Lease, time.Duration) error      { return nil }
func (*benchWork) Release(context.Context, queue.Lease, time.Duration) error    { return nil }
func (*benchWork) Unreported(context.Context) iter.Seq2[queue.Job, error] {
	return func(func(queue.Job, error) bool) {}
}

// side is where the other process listens.
type side struct{ kept, fresh, dns netip.AddrPort }

// farVar tells this program that it is the other process.
const farVar = "DELIVER_FAR_SIDE"

func farSide(b *testing.B) (s side) {
	b.Helper()
	far := exec.Command(os.Args[0])
	far.Env, far.Stderr = append(os.Environ(), farVar+"=1"), os.Stderr
	in, err1 := far.StdinPipe()
	out, err2 := far.StdoutPipe()
	if err := errors.Join(err1, err2, far.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		far.Wait()
	})
	for _, to := range []*netip.AddrPort{&s.kept, &s.fresh, &s.dns} {
		var text string
		if _, err := fmt.Fscan(out, &text); err != nil {
			b.Fatal(err)
		}
		*to = netip.MustParseAddrPort(text)
	}
	return s
}

// beFar is the other process until its input ends.
func beFar() error {
	kept, err1 := listenSink("")
	fresh, err2 := listenSink("LIMITS MAILMAX=1")
	var zone strings.Builder
	fmt.Fprint(&zone, "$ORIGIN dest.test.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 3600\n@ NS ns\nns A 127.0.0.1\nmx A 127.0.0.1\n")
	for i := range benchDomains {
		fmt.Fprintf(&zone, "d%d MX 10 mx.d%d\nmx.d%d A 127.0.0.1\n", i, i, i)
	}
	d, err3 := dnstest.Start(zone.String())
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	fmt.Println(kept, fresh, d.Addr())
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func listenSink(offer string) (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go sink(c, offer)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}

// sink takes everything, and answers what came together together.
func sink(c net.Conn, offer string) {
	defer c.Close()
	in, out := bufio.NewReaderSize(c, 32<<10), bufio.NewWriter(c)
	say := func(lines ...string) {
		for _, l := range lines {
			out.WriteString(l + "\r\n")
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
	say("220 sink.test")
	for data := false; ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch verb := string(line[:min(4, len(line))]); {
		case data:
			if data = string(line) != ".\r\n"; !data {
				say("250 2.0.0 got it")
			}
		case verb == "EHLO" && offer != "":
			say("250-sink.test", "250-PIPELINING", "250-8BITMIME", "250-"+offer, "250 SIZE 104857600")
		case verb == "EHLO":
			say("250-sink.test", "250-PIPELINING", "250-8BITMIME", "250 SIZE 104857600")
		case verb == "DATA":
			data = true
			say("354 go on")
		case verb == "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.1.0 ok")
		}
	}
}

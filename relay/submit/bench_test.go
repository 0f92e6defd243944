package submit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// loadEnv tells a process to be a client: "ADDRESS CLIENTS KEPT MESSAGES".
const loadEnv = "SUBMIT_LOAD"

// nowhere is an intake that keeps nothing: what is measured is submission alone.
type nowhere struct{ n atomic.Int64 }

type lost struct {
	to  *nowhere
	buf []byte
}

func (n *nowhere) Create(context.Context) (queue.Draft, error) { return &lost{to: n}, nil }

func (d *lost) Write(p []byte) (int, error) { d.buf = append(d.buf, p...); return len(p), nil }
func (d *lost) Abort()                      {}
func (d *lost) ID() queue.ID                { return "0123456789ABC" }
func (d *lost) Reader() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d.buf)), nil
}

func (d *lost) Commit(context.Context, *queue.Message, []queue.Recipient) (queue.ID, error) {
	d.to.n.Add(1)
	return d.ID(), nil
}

// BenchmarkAccept takes messages of 4 KiB from clients that wait for each
// reply, as the libraries of applications do, with a connection for each message
// or kept ones. cpu-ns/op is processor time of this process, user and system;
// unlike the time an operation takes, it means something on a machine with other
// work.
func BenchmarkAccept(b *testing.B) {
	for _, conns := range []string{"each", "kept"} {
		b.Run("store=none/conn="+conns, func(b *testing.B) {
			benchAccept(b, &nowhere{}, conns == "kept")
		})
		b.Run("store=disk/conn="+conns, func(b *testing.B) {
			store, err := disk.Open(vfs.Default, b.TempDir(), disk.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			benchAccept(b, store, conns == "kept")
		})
	}
}

func benchAccept(b *testing.B, in queue.Intake, kept bool) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a log line costs its write
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	s, err := New(Options{
		Hostname: "relay.test", Trusted: loopback, Listen: []Listen{{Network: "tcp", Address: "127.0.0.1:0"}},
		Log: slog.New(slog.NewJSONHandler(null, nil)),
	}, in, rules(nil), pen(nil))
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()

	underLoad(b, s.Addrs()[0], kept)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// underLoad measures this process while clients hand in b.N messages at addr.
func underLoad(b *testing.B, addr net.Addr, kept bool) {
	clients := exec.Command(os.Args[0])
	clients.Env = append(os.Environ(), fmt.Sprintf("%s=%s 20 %t %d", loadEnv, addr, kept, b.N))
	clients.Stderr = os.Stderr
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	if err := clients.Run(); err != nil {
		b.Fatal(err)
	}
	after := cpuTime(b)
	b.StopTimer()
	b.ReportMetric(float64(after-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkFloor is what cannot be saved: a server that reads and answers as
// often as SMTP has it, and does nothing.
func BenchmarkFloor(b *testing.B) {
	for _, conns := range []string{"each", "kept"} {
		b.Run("conn="+conns, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			var served errgroup.Group
			served.Go(func() error {
				for {
					c, err := l.Accept()
					if err != nil {
						return nil //nolint:nilerr // closed below
					}
					served.Go(func() error {
						defer c.Close()
						return answer(c)
					})
				}
			})
			underLoad(b, l.Addr(), conns == "kept")
			l.Close()
			if err := served.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// answer the commands of load, whatever they are.
func answer(c net.Conn) error {
	buf := make([]byte, maxAhead)
	for reply, body := "220", false; ; {
		if _, err := io.WriteString(c, reply+" and as many words as there are in an honest reply\r\n"); err != nil || reply == "221" {
			return err
		}
		n, err := c.Read(buf)
		for body && err == nil && !bytes.HasSuffix(buf[:n], []byte("\r\n.\r\n")) {
			n, err = c.Read(buf)
		}
		if err != nil {
			return err
		}
		body = !body && buf[0] == 'D'
		switch {
		case body:
			reply = "354"
		case buf[0] == 'Q':
			reply = "221"
		default:
			reply = "250"
		}
	}
}

// cpuTime of this process so far, user and system, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// benchHead is a header as libraries write it.
const benchHead = "From: Bench <news@bench.test>\r\nTo: <somebody@d0.test>\r\nSubject: message 1\r\n" +
	"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1.bench@bench.test>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=us-ascii\r\nX-Bench-Id: 1\r\n\r\n"

// load hands in messages as how says, see loadEnv.
func load(how string) error {
	var (
		addr        string
		clients, n  int
		kept        bool
		taken       atomic.Int64
		g           errgroup.Group
		message     = benchHead + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 49) + ".\r\n"
		transaction = []string{"MAIL FROM:<news@bench.test>\r\n", "RCPT TO:<somebody@d0.test>\r\n", "DATA\r\n", message}
	)
	if _, err := fmt.Sscan(how, &addr, &clients, &kept, &n); err != nil {
		return err
	}
	for range clients {
		g.Go(func() error {
			var c net.Conn
			var in *bufio.Reader
			say := func(lines ...string) error {
				for _, l := range lines {
					if _, err := io.WriteString(c, l); err != nil {
						return err
					}
					if err := hear(in); err != nil {
						return err
					}
				}
				return nil
			}
			quit := func() error {
				defer c.Close()
				return say("QUIT\r\n")
			}
			for taken.Add(1) <= int64(n) {
				if c == nil {
					var err error
					if c, err = net.Dial("tcp", addr); err != nil {
						return err
					}
					in = bufio.NewReader(c)
					if err := hear(in); err != nil {
						return err
					}
					if err := say("EHLO client.bench.test\r\n"); err != nil {
						return err
					}
				}
				if err := say(transaction...); err != nil {
					return err
				}
				if !kept {
					if err := quit(); err != nil {
						return err
					}
					c = nil
				}
			}
			if c == nil {
				return nil
			}
			return quit()
		})
	}
	return g.Wait()
}

// hear a reply that is no refusal, all its lines.
func hear(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line[0] > '3':
			return fmt.Errorf("refused: %q", line)
		case line[3] == ' ':
			return nil
		}
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// backlog is what relay says of its backlog while it does other work too.
type backlog struct {
	Ready, First    time.Duration // from the start of the program to the greeting, and to the first arrival of new mail
	ListFirst, List time.Duration // `relay queue list`: to its first line, and to its last or the limit
	Listed          int           // lines by then
	ListMemory      int64         // of the daemon at the most, meanwhile
	Show, Domain    time.Duration // `relay queue show`, and a list of one domain in a thousand
}

// queueOf is where relay has its queue in a run in dir.
func queueOf(dir string) string { return filepath.Join(dir, "state", "queue") }

// backlogSize is how large each of its messages is, octets.
const backlogSize = 1 << 10

// fill writes a queue by a process of its own, so that this one stays small.
func fill(ctx context.Context, dir string, n int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "/proc/self/exe", "fill", dir, strconv.Itoa(n)).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", errors.Join(err, ctx.Err()), out)
	}
	unix.Sync() // what is still to be written is no cost of the start
	return nil
}

func fillCommand(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("relay-bench fill", flag.ContinueOnError)
	if err := f.Parse(args); err != nil {
		return err
	}
	n, err := strconv.Atoi(f.Arg(1))
	if f.NArg() != 2 || err != nil || n < 0 {
		return errors.New("usage: relay-bench fill DIR NUMBER")
	}
	return fillQueue(ctx, f.Arg(0), n)
}

// fillQueue writes messages that have been tried once each, at a thousand destinations
// that answered 451, and are due again in one to four hours.
func fillQueue(ctx context.Context, dir string, n int) (err error) {
	s, err := disk.Open(vfs.Default, dir, disk.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	const writers = 256 // share a sync
	m := newMail(backlogSize)
	g, ctx := errgroup.WithContext(ctx)
	for c := range writers {
		g.Go(func() error {
			var buf []byte
			for i := c; i < n; i += writers {
				to := "reader@" + domain(i%domains)
				buf = m.append(buf[:0], i, sender, to)
				if err := put(ctx, s, buf, to, domain(i%domains)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func put(ctx context.Context, s queue.Intake, text []byte, to, domain string) error {
	d, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(text); err != nil {
		return err
	}
	tried := time.Now()
	reply := queue.Reply{Code: 451, Status: "4.2.1", Text: "try again later"}
	_, err = d.Commit(ctx, &queue.Message{
		Envelope: queue.Envelope{From: sender}, Author: senderDomain, MessageID: "<" + string(d.ID()) + "@" + senderDomain + ">",
		Submitter: "198.18.0.0/24", Lifetime: 5 * 24 * time.Hour,
		Head: fmt.Appendf(nil, "Received: from client.%s by mail.%s with ESMTP id %s;\r\n\tThu, 01 Jan 2026 00:00:00 +0000\r\n", senderDomain, senderDomain, d.ID()),
	}, []queue.Recipient{{
		Address: to, Domain: domain, State: queue.Waiting, Tries: 1, Reason: "451 4.2.1 from mx." + domain,
		Next: tried.Add(time.Hour + rand.N(3*time.Hour)),
		Last: queue.Attempt{
			At: tried, Took: 20 * time.Millisecond, Outcome: queue.Deferred, Source: "bench", Host: "mx." + domain,
			Addr: netip.AddrPortFrom(bench(exchangers, 1), 25), Stage: "rcpt", Reply: reply,
		},
	}})
	return err
}

// listLimit bounds each look at the queue; a whole list of a million takes its time.
const listLimit = time.Minute

// backlog looks at a queue of n deferred messages as an operator does.
func (r *relaySystem) backlog(ctx context.Context, g *group, n int) (b *backlog, err error) {
	b = &backlog{}
	g.peakMemory()
	var line []byte
	if line, b.Listed, b.ListFirst, b.List, err = r.lines(ctx, "list", "--json"); err != nil {
		return nil, err
	}
	b.ListMemory = g.peakMemory()
	if b.List < listLimit && b.Listed < n {
		return nil, fmt.Errorf("queue list has %d lines, want %d", b.Listed, n)
	}
	var first struct {
		Message struct {
			ID string `json:"id"`
		} `json:"message"`
	}
	if err := json.Unmarshal(line, &first); err != nil {
		return nil, fmt.Errorf("queue list says %q: %w", line, err)
	}
	if _, _, _, b.Show, err = r.lines(ctx, "show", first.Message.ID); err != nil {
		return nil, err
	}
	var found int
	if _, found, _, b.Domain, err = r.lines(ctx, "list", "--json", "--domain", domain(7)); err != nil {
		return nil, err
	}
	if want := n / domains; found < want {
		return nil, fmt.Errorf("queue list --domain %s has %d lines, want %d", domain(7), found, want)
	}
	return b, nil
}

// lines runs `relay queue` and tells its first line, how many there are, and when the
// first and the last came. At the limit it is broken off.
func (r *relaySystem) lines(ctx context.Context, args ...string) (first []byte, n int, began, ended time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	c := exec.CommandContext(ctx, r.path, append([]string{"queue"}, append(args, "--config", r.config)...)...)
	var words speech
	c.Stderr = &words
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, 0, 0, 0, err
	}
	start := time.Now()
	if err := c.Start(); err != nil {
		return nil, 0, 0, 0, err
	}
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if n++; n == 1 {
			first, began = append(first, s.Bytes()...), time.Since(start)
		}
	}
	ended = time.Since(start)
	err = errors.Join(s.Err(), c.Wait())
	if ctx.Err() == context.DeadlineExceeded && n > 0 {
		return first, n, began, listLimit, nil
	}
	if err != nil {
		err = fmt.Errorf("relay queue %v: %w\n%s", args, err, words.said())
	}
	return first, n, began, ended, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// loopbackLab is a lab without namespaces, on the first network of loopback that is free.
// It has one exchanger only, that of domain 0.
func loopbackLab() (l *lab, err error) {
	for i := range 20 {
		net := func(n, j int) netip.Addr { return netip.AddrFrom4([4]byte{127, 78, byte(8*i + n), byte(j)}) }
		l := &lab{
			net: net, source: net(ours, 25), clients: netip.MustParsePrefix("127.0.0.0/8"),
			submission: netip.AddrPortFrom(net(ours, 26), uint16(2725+i)),
		}
		l.smtp = netip.AddrPortFrom(l.exchanger(0, false), uint16(2625+i))
		var one error
		if l, one = newLab(l, netip.AddrPortFrom(net(ours, 53), uint16(5453+i))); one == nil {
			return l, nil
		}
		err = errors.Join(err, one)
	}
	return nil, fmt.Errorf("no free addresses on loopback: %w", err)
}

// TestSmoke sends a few messages by the real relay through the lab, signed, and sees that
// each arrives once.
func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	r := &relaySystem{path: filepath.Join(dir, "relay")}
	if err := build(t.Context(), r.path, ""); err != nil {
		t.Fatal(err)
	}
	l, err := loopbackLab()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.start(ctx, l, dir, nil, true); err != nil {
		t.Fatalf("%v\n%s", err, r.said())
	}
	defer func() {
		r.daemon.Process.Signal(syscall.SIGTERM)
		<-r.ended
	}()
	m, book := newMail(small), newLedger(50, everyone)
	l.sink.taking(taker(m, book, true))
	if err := (load{to: l.submission.String(), clients: 5, mail: m, rcpt: workload{}.rcpt, book: book}).run(ctx); err != nil {
		t.Fatalf("%v\n%s", err, r.said())
	}
	select {
	case <-book.all:
	case <-ctx.Done():
		t.Errorf("%d of 50 messages did not arrive", book.left.Load())
	}
	if err := book.sound(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(r.said())
	}
}

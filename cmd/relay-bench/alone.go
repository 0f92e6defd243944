package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

func sinkCommand(ctx context.Context, args []string, out io.Writer) (err error) {
	f := flag.NewFlagSet("relay-bench sink", flag.ContinueOnError)
	path := f.String("journal", "", "file that every message is on disk in before its 250")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("usage: relay-bench sink [-journal FILE] ADDR")
	}
	take := func([]byte) error { return nil }
	if *path != "" {
		j, err := newJournal(*path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, j.close()) }()
		take = j.keep
	}
	s, err := newSink(f.Arg(0))
	if err != nil {
		return err
	}
	s.taking(take)
	fmt.Fprintf(out, "taking mail at %s\n", s.ln.Addr())
	<-ctx.Done()
	return s.close()
}

func sendCommand(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("relay-bench send", flag.ContinueOnError)
	w := workload{}
	f.IntVar(&w.clients, "clients", 20, "at once")
	f.IntVar(&w.messages, "messages", 10000, "in all")
	f.IntVar(&w.size, "size", small, "octets of each")
	f.BoolVar(&w.kept, "keep", false, "keep connections")
	rcpt := f.String("to", workload{}.rcpt(0), "recipient")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("usage: relay-bench send [flags] ADDR")
	}
	book := newLedger(w.messages, func(int) bool { return false })
	err := load{to: f.Arg(0), clients: w.clients, kept: w.kept, mail: newMail(w.size), rcpt: func(int) string { return *rcpt }, book: book}.run(ctx)
	if err != nil {
		return err
	}
	r := ratings(book)
	fmt.Fprintf(out, "%d messages, %.0f a second; the 250 after %v, 99 of 100 within %v\n", w.messages, r.Accept, r.P50, r.P99)
	return nil
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// senderDomain is whose mail it is.
const senderDomain = "bench.test"

// sender of every message.
const sender = "news@" + senderDomain

// load is a generator: so many clients at once, each handing in one message after
// another in plain SMTP, waiting for each reply as the libraries of applications do.
type load struct {
	to      string // host:port
	clients int
	kept    bool // connections are kept; else each carries one message
	mail    *mail
	rcpt    func(id int) string
	book    *ledger
}

// run hands in every message of the ledger. Whatever is not taken is an error.
func (l load) run(ctx context.Context) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range l.clients {
		g.Go(func() error {
			c := &client{load: l}
			defer c.drop()
			for {
				id := int(next.Add(1)) - 1
				if id >= len(l.book.acked) {
					return c.quit()
				}
				if err := c.send(ctx, id); err != nil {
					return errors.Join(fmt.Errorf("hand in message %d: %w", id, err), context.Cause(ctx))
				}
				if !l.kept {
					if err := c.quit(); err != nil {
						return err
					}
				}
			}
		})
	}
	return g.Wait()
}

// client is one connection of the generator.
type client struct {
	load
	conn net.Conn    // nil: none is open
	free func() bool // the end of the context no longer closes it
	in   *bufio.Reader
	out  []byte
}

func (c *client) send(ctx context.Context, id int) error {
	if c.conn == nil {
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	to := c.rcpt(id)
	if err := c.say("250", "MAIL FROM:<", sender, ">\r\n"); err != nil {
		return err
	}
	if err := c.say("250", "RCPT TO:<", to, ">\r\n"); err != nil {
		return err
	}
	if err := c.say("354", "DATA\r\n"); err != nil {
		return err
	}
	c.out = append(c.mail.append(c.out[:0], id, sender, to), ".\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	c.book.dotted[id] = c.book.now()
	if err := c.hear("250"); err != nil {
		return err
	}
	c.book.acked[id] = c.book.now()
	return nil
}

// dialer asks for no keep-alive: that is four system calls for each connection.
var dialer = net.Dialer{KeepAlive: -1}

func (c *client) open(ctx context.Context) error {
	conn, err := dialer.DialContext(ctx, "tcp4", c.to)
	if err != nil {
		return err
	}
	c.conn, c.free = conn, context.AfterFunc(ctx, func() { conn.Close() })
	if c.in == nil {
		c.in = bufio.NewReaderSize(conn, 1024)
	}
	c.in.Reset(conn)
	if err := c.hear("220"); err != nil {
		return err
	}
	return c.say("250", "EHLO client."+senderDomain+"\r\n")
}

// say a command, in parts, and hear the reply.
func (c *client) say(code string, parts ...string) error {
	c.out = c.out[:0]
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	return c.hear(code)
}

// hear a reply, all its lines.
func (c *client) hear(code string) error {
	for {
		text, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(text) < 4 || string(text[:3]) != code {
			return fmt.Errorf("expected %s, the answer is %q", code, text)
		}
		if text[3] == ' ' || text[3] == '\r' {
			return nil
		}
	}
}

// quit in good order, if a connection is open.
func (c *client) quit() error {
	if c.conn == nil {
		return nil
	}
	err := c.say("221", "QUIT\r\n")
	c.drop()
	return err
}

func (c *client) drop() {
	if c.conn != nil {
		c.free()
		c.conn.Close()
		c.conn = nil
	}
}

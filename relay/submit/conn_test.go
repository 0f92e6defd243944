package submit

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var strict = limits{idle: time.Minute, session: time.Hour, write: 30 * time.Second, rate: 1024, span: time.Minute, stranger: 1 << 20}

// pair is a conn and its peer, in a bubble of fake time.
func pair(t *testing.T, f func(c *conn, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := newConn(a, strict, nil)
		f(c, b)
		c.Close()
		b.Close()
		time.Sleep(time.Minute) // fake: whoever still sleeps finds it closed
	})
}

func drip(peer net.Conn, n int, every time.Duration) {
	for {
		if _, err := peer.Write(make([]byte, n)); err != nil {
			return
		}
		time.Sleep(every)
	}
}

func TestCommandLineHasOneDeadline(t *testing.T) {
	pair(t, func(c *conn, peer net.Conn) {
		go drip(peer, 1, 10*time.Second)
		began := time.Now()
		c.awaitCommand()
		var err error
		for err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		c.awaitCommand()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("the error does not stick: %v", err)
		}
	})
}

func TestBodyMustKeepItsRate(t *testing.T) {
	for n, want := range map[int]time.Duration{1000: time.Minute, 20000: time.Hour} {
		pair(t, func(c *conn, peer net.Conn) {
			go drip(peer, n, 10*time.Second)
			began := time.Now()
			c.trust()
			c.awaitBody()
			_, err := io.Copy(io.Discard, c)
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != want {
				t.Errorf("%d octets each time: %v after %v", n, err, took)
			}
		})
	}
}

// A connection that is always busy ends between two transactions, and one that
// takes for ever in the midst of one.
func TestSessionEnds(t *testing.T) {
	pair(t, func(c *conn, peer net.Conn) {
		go drip(peer, 70000, 30*time.Second)
		c.trust()
		c.transaction(true)
		began := time.Now()
		for time.Since(began) < 90*time.Minute {
			if !c.awaitCommand() {
				t.Errorf("cut within a transaction after %v", time.Since(began))
				return
			}
			if _, err := c.Read(make([]byte, 70000)); err != nil {
				t.Errorf("%v after %v", err, time.Since(began))
				return
			}
			c.gotCommand()
		}
		c.awaitBody()
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 2*time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.transaction(false)
		if c.awaitCommand() {
			t.Error("another command")
		}
	})
}

// A slow line that breaks off for minutes now and then is good enough.
func TestHonestSlowBody(t *testing.T) {
	srv := build(t, world{})
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := newConn(a, srv.limits, nil)
		c.trust()
		c.transaction(true)
		go func() {
			for n := range 900 {
				if _, err := b.Write(make([]byte, 2000)); err != nil {
					t.Errorf("cut: %v", err)
				}
				time.Sleep(2 * time.Second)
				if n%100 == 0 {
					time.Sleep(2 * time.Minute)
				}
			}
			b.Close()
		}()
		c.awaitBody()
		if n, err := io.Copy(io.Discard, c); n != 900*2000 || err != nil {
			t.Errorf("%d octets, %v", n, err)
		}
		c.Close()
	})
}

func TestSilentBody(t *testing.T) {
	pair(t, func(c *conn, peer net.Conn) {
		began := time.Now()
		go peer.Write(make([]byte, 100<<10)) // ahead of its rate, then nothing
		c.awaitBody()
		_, err := io.Copy(io.Discard, c)
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Minute {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestReaderWhoDoesNotRead(t *testing.T) {
	pair(t, func(c *conn, _ net.Conn) {
		began := time.Now()
		_, err := c.Write([]byte("x"))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 30*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestStrangersCap(t *testing.T) {
	for _, known := range []bool{false, true} {
		pair(t, func(c *conn, peer net.Conn) {
			if known {
				c.trust()
			}
			go func() {
				peer.Write(make([]byte, 2<<20))
				peer.Close()
			}()
			n, err := io.Copy(io.Discard, c)
			if !known && (!errors.Is(err, errTooMuch) || n > 1<<20+64<<10) || known && (errors.Is(err, errTooMuch) || n != 2<<20) {
				t.Errorf("known %v: %d, %v", known, n, err)
			}
		})
	}
}

func TestDrainWakesOnlyWhoWaits(t *testing.T) {
	pair(t, func(c *conn, peer net.Conn) {
		began := time.Now()
		c.awaitCommand()
		go func() {
			time.Sleep(time.Second)
			c.drain()
		}()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
	pair(t, func(c *conn, peer net.Conn) {
		c.transaction(true)
		if !c.awaitCommand() {
			t.Error("no command within a transaction")
		}
		c.drain()
		go func() {
			time.Sleep(time.Second)
			peer.Write([]byte("x"))
		}()
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.gotCommand()
		c.transaction(false)
		if c.awaitCommand() {
			t.Error("a command after the transaction")
		}
	})
}

func TestCloseOnce(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	n := 0
	c := newConn(a, strict, func() { n++ })
	c.Close()
	c.Close()
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}

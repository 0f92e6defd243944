package dns_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	mdns "github.com/miekg/dns"
)

// evil is a server that may say anything: script gets each question and returns the
// packets to send, any number of them.
type evil struct {
	addr   netip.AddrPort
	script func(q *mdns.Msg, tcp bool) [][]byte
	mu     sync.Mutex
	asked  []*mdns.Msg
}

func startEvil(t *testing.T, script func(q *mdns.Msg, tcp bool) [][]byte) *evil {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &evil{addr: l.Addr().(*net.TCPAddr).AddrPort(), script: script}
	p, err := net.ListenPacket("udp", e.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { e.udp(p) })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { e.tcp(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Close()
		running.Wait()
	})
	return e
}

func (e *evil) udp(p net.PacketConn) {
	b := make([]byte, 4096)
	for {
		n, from, err := p.ReadFrom(b)
		if err != nil {
			return
		}
		for _, out := range e.say(b[:n], false) {
			p.WriteTo(out, from)
		}
	}
}

// tcp takes one question. With nothing to say it holds the line until the asker hangs up.
func (e *evil) tcp(c net.Conn) {
	defer c.Close()
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	out := e.say(b, true)
	for _, p := range out {
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...))
	}
	if len(out) == 0 {
		io.Copy(io.Discard, c)
	}
}

func (e *evil) say(b []byte, tcp bool) [][]byte {
	q := new(mdns.Msg)
	if err := q.Unpack(b); err != nil {
		return nil
	}
	e.mu.Lock()
	e.asked = append(e.asked, q)
	e.mu.Unlock()
	return e.script(q, tcp)
}

func (e *evil) questions() []*mdns.Msg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*mdns.Msg(nil), e.asked...)
}

// reply is a plain answer with the records of text.
func reply(q *mdns.Msg, rcode int, answer ...string) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetRcode(q, rcode)
	m.RecursionAvailable = true
	m.Compress = true
	for _, s := range answer {
		rr, err := mdns.NewRR(s)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func pack(m *mdns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

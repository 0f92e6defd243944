package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// errPacket: it is the answer to our question, and it cannot be read.
var errPacket = errors.New("the answer cannot be parsed")

// errHalf: there is more to the answer than a server can send.
var errHalf = errors.New("the answer is cut short even over TCP")

// exchange puts a question to one server. An answer that is cut short, or mangled
// on the way, is fetched again over TCP.
func (w way) exchange(ctx context.Context, server netip.AddrPort, q *dns.Msg) (m *dns.Msg, tcp bool, err error) {
	m, err = w.over(ctx, "udp", server, q, udpTry)
	if errors.Is(err, errPacket) || err == nil && m.Truncated {
		m, err = w.over(ctx, "tcp", server, q, tcpTry)
		if err == nil && m.Truncated {
			err = errHalf
		}
		return m, true, err
	}
	return m, false, err
}

// way is how questions leave.
type way struct {
	from   netip.Addr    // local address; zero: any
	places chan struct{} // for the questions that are out, each of which has a socket
}

// over makes one try, on a socket (and so from a port) and with an id of its own:
// both have to be guessed by who wants to forge an answer (RFC 5452 section 4).
func (w way) over(ctx context.Context, network string, server netip.AddrPort, q *dns.Msg, limit time.Duration) (*dns.Msg, error) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	by := time.Now().Add(limit)
	q.Id = dns.Id()
	r := rooms.Get().(*room)
	defer rooms.Put(r)
	packet, err := q.PackBuffer(r.question[:])
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, network, w.from, server, by)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	sending(ctx)
	conn.SetDeadline(by)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		return talk(tcpLine{conn}, q, packet, make([]byte, 1<<16))
	}
	return talk(conn, q, packet, r.answer[:])
}

// room is what a question and its answer take by UDP: more than we say we take.
type room struct {
	question [512]byte
	answer   [4096]byte
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// connect from a local address; the zero Addr is any. UDP does not wait for anybody.
func connect(ctx context.Context, network string, from netip.Addr, server netip.AddrPort, by time.Time) (net.Conn, error) {
	local := netip.AddrPortFrom(from, 0)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case network == "udp" && from.IsValid():
		return net.DialUDP(network, net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(server))
	case network == "udp":
		return net.DialUDP(network, nil, net.UDPAddrFromAddrPort(server))
	}
	d := net.Dialer{Deadline: by}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	return d.DialContext(ctx, network, server.String())
}

// talk sends the question and waits for its answer. What answers another question
// is passed over (RFC 5452 section 9.1): the right one may be behind it.
func talk(line io.ReadWriter, q *dns.Msg, packet, room []byte) (*dns.Msg, error) {
	if _, err := line.Write(packet); err != nil {
		return nil, err
	}
	for {
		n, err := line.Read(room)
		if err != nil {
			return nil, err
		}
		if m, ours, err := match(q, room[:n]); ours {
			return m, err
		}
	}
}

// match tells whether a packet answers the question. If it does and cannot be
// read, the error is errPacket.
func match(q *dns.Msg, b []byte) (m *dns.Msg, ours bool, err error) {
	if len(b) < 12 || binary.BigEndian.Uint16(b) != q.Id { // the cheap test first: forgeries come in floods
		return nil, false, nil
	}
	m = new(dns.Msg)
	broken := m.Unpack(b)
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, false, nil
	}
	if len(m.Question) == 0 { // some refuse with a bare header
		bare := broken == nil && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
		return m, bare, nil
	}
	asked, got := q.Question[0], m.Question[0]
	if len(m.Question) != 1 || got.Qtype != asked.Qtype || got.Qclass != asked.Qclass || spelled(got.Name) != spelled(asked.Name) {
		return nil, false, nil
	}
	if (broken != nil || short(m, b)) && !m.Truncated {
		return nil, true, errPacket
	}
	return m, true, nil
}

// short tells whether records are missing that the header promises.
func short(m *dns.Msg, b []byte) bool {
	count := func(at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
	return count(6) != len(m.Answer) || count(8) != len(m.Ns) || count(10) != len(m.Extra)
}

// tcpLine frames packets by their length (RFC 1035 section 4.2.2).
type tcpLine struct{ net.Conn }

func (l tcpLine) Write(p []byte) (int, error) {
	return l.Conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...))
}

func (l tcpLine) Read(p []byte) (int, error) {
	var n [2]byte
	if _, err := io.ReadFull(l.Conn, n[:]); err != nil {
		return 0, err
	}
	return io.ReadFull(l.Conn, p[:binary.BigEndian.Uint16(n[:])])
}

// reason is an error of the network in the fewest words.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

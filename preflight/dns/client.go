package dns

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	rounds   = 2 // over all servers
	udpTry   = 2 * time.Second
	tcpTry   = 4 * time.Second
	perName  = 8 * time.Second // a question with all its tries and links
	maxLinks = 8               // of a CNAME chain
	udpSize  = 1232            // octets that pass unfragmented everywhere
	anyTTL   = time.Duration(math.MaxInt64)
)

// Client asks recursive resolvers (Query) and single servers (Ask). It keeps no
// cache: the resolvers have one. It is safe for use by many goroutines.
type Client struct {
	servers func() []netip.AddrPort
	good    atomic.Uint32 // index of the server that gave the last definite answer
	way     way
}

// atOnce is how many questions a new client has out at once.
const atOnce = 256

// NewClient takes the resolvers in the order in which they are to be asked. Their
// AD bit is believed only from loopback: on any other way it can be set by whoever
// stands between (RFC 6840 section 5.8, RFC 3655 section 3).
func NewClient(servers []netip.AddrPort) *Client {
	return newClient(func() []netip.AddrPort { return servers }, atOnce)
}

func newClient(servers func() []netip.AddrPort, n int) *Client {
	return &Client{servers: servers, way: way{places: make(chan struct{}, n)}}
}

// AtOnce is a client of the same servers that has no more than n questions out at
// once, and so many sockets, together with those that are made of it. A new one: 256.
func (c *Client) AtOnce(n int) *Client { return newClient(c.servers, n) }

// To is a client of other servers that has its questions counted with those of c.
func (c *Client) To(servers ...netip.AddrPort) *Client {
	return &Client{servers: func() []netip.AddrPort { return servers }, way: c.way}
}

// Servers are the resolvers, in the order in which they are to be asked.
func (c *Client) Servers() []netip.AddrPort { return c.servers() }

// From is a client of the same servers that asks from a local address. Its questions
// are counted with those of c.
func (c *Client) From(local netip.Addr) *Client {
	return &Client{servers: c.servers, way: way{local, c.way.places}}
}

// Query asks the resolvers in turn until one gives a definite answer, and follows
// aliases to their end. It takes 8 s at most.
func (c *Client) Query(ctx context.Context, name string, t Type) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, perName)
	defer cancel()
	a, open := blank(name, t)
	for open {
		a, open = c.step(ctx, a, c.inTurn(), true)
	}
	return a.finish()
}

// Ask asks one server what it knows of its own zones. An answer that is not
// authoritative is ErrTemporary, and so is an alias that leads out of its
// zones: Chain and Name then tell where.
func (c *Client) Ask(ctx context.Context, server netip.AddrPort, name string, t Type) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, perAuthority)
	defer cancel()
	a, open := blank(name, t)
	if open {
		a, open = c.step(ctx, a, []netip.AddrPort{server}, false)
	}
	switch {
	case open:
		a.Detail = "alias of " + a.Name + ", which this server does not answer for"
	case a.Outcome != Temp && a.Outcome != Broken && !a.Auth:
		a.Outcome, a.Records, a.Detail = Temp, nil, "lame: the server has no authority for it"
	}
	return a.finish()
}

// inTurn are the servers, the one that was good last first: a dead first one
// then costs its timeout once and not with each question.
func (c *Client) inTurn() []netip.AddrPort {
	servers := c.servers()
	if len(servers) == 0 {
		return nil
	}
	i := int(c.good.Load()) % len(servers)
	return slices.Concat(servers[i:], servers[:i])
}

// step asks for the name that the answer has come to. It returns the answer one
// step on, and whether an alias leads further.
func (c *Client) step(ctx context.Context, a Answer, servers []netip.AddrPort, recurse bool) (Answer, bool) {
	worst := a
	worst.Outcome, worst.Detail = Temp, "no server to ask"
	for n := range rounds * len(servers) {
		if ctx.Err() != nil {
			break
		}
		server := servers[n%len(servers)]
		next, open := a.put(ctx, c.way, server, recurse)
		if open || next.Outcome != Temp && next.Outcome != Broken || next.looped() {
			c.remember(server)
			return next, open
		}
		worst = worse(worst, next)
	}
	if len(servers) > 0 && worst.Rcode == "" && ctx.Err() != nil {
		worst.Detail = ended(ctx)
	}
	return worst, false
}

func (c *Client) remember(server netip.AddrPort) {
	for i, s := range c.servers() {
		if s == server {
			c.good.Store(uint32(i))
		}
	}
}

// worse picks what to report when nobody gave a definite answer: bad data before
// a refusal before silence, and the later of equals.
func worse(a, b Answer) Answer {
	rank := func(a Answer) int {
		switch {
		case a.Outcome == Broken:
			return 2
		case a.Rcode != "":
			return 1
		}
		return 0
	}
	if rank(a) > rank(b) {
		return a
	}
	return b
}

// put is one question to one server: by UDP, by TCP where UDP cannot carry the
// answer, and without EDNS where the server does not know that (RFC 6891 section 7).
func (a Answer) put(ctx context.Context, w way, server netip.AddrPort, recurse bool) (Answer, bool) {
	a.Rcode, a.Detail, a.Server, a.TCP, a.Auth, a.Outcome = "", "", "", false, false, Temp
	a.Referral = nil
	q := ask(a.Name, a.Type, recurse)
	began := time.Now()
	m, tcp, err := w.exchange(ctx, server, q)
	if err == nil && ignorant(m.Rcode) {
		q.Extra = nil
		m, tcp, err = w.exchange(ctx, server, q)
	}
	a.RTT, a.TCP = time.Since(began), tcp
	if errors.Is(err, errPacket) {
		a.Server, a.Outcome, a.Detail = server.String(), Broken, err.Error()
		return a, false
	}
	if err != nil {
		a.Detail = reason(err)
		return a, false
	}
	a.Server = server.String()
	a.Secure = a.Secure && recurse && m.AuthenticatedData && trusted(server.Addr())
	return a.read(m)
}

// trusted tells whose AD bit is believed.
func trusted(server netip.Addr) bool { return server.Unmap().IsLoopback() }

// ask makes a question. AD in it asks for AD in the answer (RFC 6840 section 5.7);
// DO does so at resolvers older than that.
func ask(name string, t Type, recurse bool) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), uint16(t))
	q.RecursionDesired, q.AuthenticatedData = recurse, recurse
	q.SetEdns0(udpSize, recurse)
	return q
}

// ignorant tells whether a server may only have choked on EDNS.
func ignorant(rcode int) bool {
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented || rcode == dns.RcodeBadVers
}

// blank is the answer before anything is known. It is not open if the name cannot be asked for.
func blank(name string, t Type) (Answer, bool) {
	a := Answer{Question: name, Name: name, Type: t, Secure: true, TTL: anyTTL}
	c, err := normal(name)
	if err != nil {
		a.Outcome, a.Detail = Broken, err.Error()
		return a, false
	}
	a.Question, a.Name = c, c
	return a, true
}

func (a Answer) finish() (*Answer, error) {
	if a.TTL == anyTTL {
		a.TTL = 0
	}
	if a.Outcome == Temp || a.Outcome == Broken {
		a.Secure = false
	}
	return &a, a.failure()
}

// Line is a resolver and how TCP to it went.
type Line struct {
	Server netip.AddrPort
	Err    string // "" if it answered
	Closed bool   // Err is a definite refusal
}

// OverTCP asks each resolver for the root's name servers over TCP, all at once: answers
// that do not fit into a datagram come no other way (RFC 9210 section 3).
func (c *Client) OverTCP(ctx context.Context) []Line {
	servers := c.servers()
	lines := make([]Line, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		lines[i].Server = server
		all.Go(func() {
			_, err := way{places: c.way.places}.over(ctx, "tcp", server, ask("", TypeNS, true), tcpTry)
			if err != nil {
				lines[i].Err, lines[i].Closed = reason(err), errors.Is(err, syscall.ECONNREFUSED)
			}
		})
	}
	all.Wait()
	return lines
}

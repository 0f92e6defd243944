// Package dial connects to the outside, from a chosen local address, and never
// to an address that mail has no business with. What is judged is the address
// that the socket is about to be connected to, not what DNS said before, so a
// name that changes its mind between two lookups gains nothing.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrForbidden: the address is not for us to connect to. Nothing was sent.
	ErrForbidden = errors.New("forbidden address")
	// ErrSelf: the address is our own. It is an ErrForbidden too.
	ErrSelf = fmt.Errorf("ourselves: %w", ErrForbidden)
)

// Dialer opens TCP connections to literal addresses. The zero value connects to
// public addresses only.
type Dialer struct {
	Private   bool                // internal networks, loopback and this host's own addresses may be dialled
	Listeners []netip.AddrPort    // ours: never dialled, whatever Private says; an unspecified address means all of this host's
	Public    []netip.Addr        // ours as the world sees them, where NAT stands between: like this host's own
	Bind      netip.Addr          // local address; the zero value is any
	Timeout   time.Duration       // of one connect; 0: the system's
	Own       func() []netip.Addr // this host's addresses; nil: asks the interfaces
}

// DialContext connects to address, "192.0.2.1:25" or "[2001:db8::1]:25": it asks
// no DNS. Errors a caller may test for: ErrForbidden, ErrSelf.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: not an address and port", address)
	}
	// Asked here too, because the socket's view has forgotten that an address
	// was an IPv4 one in IPv6 clothes.
	if err := d.Check(to); err != nil {
		return nil, err
	}
	nd := net.Dialer{Timeout: d.Timeout, ControlContext: d.control}
	nd.SetMultipathTCP(false) // its extra paths would pass by the guard
	if d.Bind.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.Bind, 0))
	}
	return nd.DialContext(ctx, network, address)
}

// control runs between socket(2) and connect(2).
func (d Dialer) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q cannot be judged", ErrForbidden, address)
	}
	return d.Check(to)
}

// Check tells whether to may be dialled, without dialling: nil, ErrForbidden or
// ErrSelf, wrapped in the reason.
func (d Dialer) Check(to netip.AddrPort) error {
	a := to.Addr().WithZone("").Unmap()
	if d.listens(a, to.Port()) {
		return fmt.Errorf("%s is a listener of ours: %w", to, ErrSelf)
	}
	if why := never(a); why != "" {
		return fmt.Errorf("%s is %s: %w", to.Addr(), why, ErrForbidden)
	}
	if d.Private {
		return nil
	}
	if why := notPublic(a); why != "" {
		return fmt.Errorf("%s is %s: %w", to.Addr(), why, ErrForbidden)
	}
	if d.owns(a) {
		return fmt.Errorf("%s is an address of this host: %w", to.Addr(), ErrSelf)
	}
	return nil
}

func (d Dialer) listens(a netip.Addr, port uint16) bool {
	for _, l := range d.Listeners {
		if l.Port() != port {
			continue
		}
		la := l.Addr().WithZone("").Unmap()
		if la == a || la.IsUnspecified() && (a.IsLoopback() || d.owns(a)) {
			return true
		}
		if v4, ok := embedded(a); ok && la == v4 {
			return true
		}
	}
	return false
}

// owns tells whether a, or what it leads to, is one of ours.
func (d Dialer) owns(a netip.Addr) bool {
	own := d.Own
	if own == nil {
		own = lately.own
	}
	v4, translated := embedded(a)
	for _, o := range slices.Concat(own(), d.Public) {
		if o = o.WithZone("").Unmap(); o == a || translated && o == v4 {
			return true
		}
	}
	return false
}

// memory of this host's addresses: the system is not asked more than once a second,
// which is how long one that comes up is not known to be ours.
type memory struct {
	ask   func() ([]netip.Addr, error)
	mu    sync.Mutex
	at    time.Time
	addrs []netip.Addr
}

var lately = memory{ask: interfaces}

// own fails to what was known before, at first to nothing: the registries below still stand.
func (m *memory) own() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.at.IsZero() || now.Sub(m.at).Abs() >= time.Second {
		m.at = now
		if all, err := m.ask(); err == nil {
			m.addrs = all
		}
	}
	return m.addrs
}

func interfaces() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var as []netip.Addr
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			as = append(as, p.Addr())
		}
	}
	return as, nil
}

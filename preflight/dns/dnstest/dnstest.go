// Package dnstest is a small internet of names on loopback: a DNS server, UDP and TCP,
// that serves zone-file text. To a question with RD it is the recursive resolver one
// trusts, to one without it is the authoritative server (AA) of every zone it has.
// Its zones can be changed while it runs, and each can be made to fail.
//
// Zone text names its zones by SOA records or by $ORIGIN; a record that neither covers
// founds a zone by itself: its last two labels, the /24 of an IPv4 reverse name, the
// /32 of an IPv6 one. SOA (MINIMUM 900) and NS are made up where the text has none;
// the name server is then ns.dnstest.invalid, which has the address of this server.
// A line "; answers: secure", "insecure" (so without one) or "servfail" says how a validating
// resolver sees the zones of the text: AD is set, is not set, or they are bogus.
package dnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"smtprelay/preflight/dns"
)

// Server is running from Start to Close. All its methods may be called at any time.
type Server struct {
	addr    netip.AddrPort
	servers []*mdns.Server // UDP, TCP
	noTCP   bool           // the second is closed already
	running sync.WaitGroup

	mu    sync.Mutex
	world world
	asked []Question
	delay time.Duration
}

// Question is one that came, over UDP or TCP.
type Question struct {
	Text      string // "example.net. MX"
	Recursive bool   // it was for the resolver
	At        time.Time
}

// Start serves zones on a free port of 127.0.0.1.
func Start(zones ...string) (*Server, error) {
	return StartAt("127.0.0.1:0", zones...)
}

// StartAt serves zones on an address and port of loopback; port 0 takes a free one.
func StartAt(addr string, zones ...string) (*Server, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("start DNS server: %w", err)
	}
	s := &Server{}
	if err := s.Set(zones...); err != nil {
		return nil, fmt.Errorf("start DNS server: %w", err)
	}
	if err := s.listen(at); err != nil {
		return nil, fmt.Errorf("start DNS server: %w", err)
	}
	return s, nil
}

// listen opens one port for both protocols. A free UDP port may be a taken TCP port.
func (s *Server) listen(at netip.AddrPort) error {
	var tcp net.Listener
	var udp net.PacketConn
	for range 20 {
		var err error
		if tcp, err = net.Listen("tcp", at.String()); err != nil {
			return err
		}
		s.addr = tcp.Addr().(*net.TCPAddr).AddrPort()
		if udp, err = net.ListenPacket("udp", s.addr.String()); err == nil {
			break
		}
		tcp.Close()
		if at.Port() != 0 {
			return err
		}
	}
	if udp == nil {
		return errors.New("no port is free for UDP and TCP alike")
	}
	h := mdns.HandlerFunc(s.serve)
	s.servers = []*mdns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}}
	var up sync.WaitGroup
	for _, m := range s.servers {
		up.Add(1)
		m.NotifyStartedFunc = up.Done
		s.running.Go(func() { m.ActivateAndServe() })
	}
	up.Wait()
	return nil
}

// Close stops serving and waits until the last question is answered.
func (s *Server) Close() error {
	var errs []error
	for i, m := range s.servers {
		if err := m.Shutdown(); err != nil && !(i == 1 && s.noTCP) {
			errs = append(errs, err)
		}
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// Addr is where it listens, UDP and TCP.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Client is a resolver that asks this server.
func (s *Server) Client() *dns.Client { return dns.NewClient([]netip.AddrPort{s.addr}) }

// Set replaces all zones. Behaviours stay. On an error nothing has changed.
func (s *Server) Set(zones ...string) error {
	z := newZones()
	for _, text := range zones {
		if err := z.load(text); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.zones = z
	return nil
}

// Add puts records, lines of a zone file with absolute names, beside what stands there.
func (s *Server) Add(rr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.world.zones.clone()
	if err := z.load(rr); err != nil {
		return err
	}
	s.world.zones = z
	return nil
}

// Remove takes away all records of a name and type; type "" or "ANY" is all types.
func (s *Server) Remove(name, rrtype string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.world.zones.clone()
	z.remove(canonical(name), strings.ToUpper(rrtype))
	s.world.zones = z
}

// Behaviours are what Behave takes.
var Behaviours = []string{"", "servfail", "refused", "drop", "nxdomain", "truncate", "absent", "lame", "mute",
	"formerr", "notimp", "forged", "impostor", "oversized", "garbled", "broken", "empty"}

// Behave makes a zone and all below it fail in a certain way; the zone "." is everything:
//
//	""          normal
//	"servfail"  SERVFAIL
//	"refused"   REFUSED
//	"drop"      no answer at all
//	"nxdomain"  no name exists in it
//	"truncate"  an empty answer with TC over UDP, the whole over TCP
//	"lame"      the answer is right, but given without authority (AA)
//	"absent"    the zone is not delegated: the zone above denies its name
//	"mute"      no answer for the name itself where it has no record of the type; names below it are well
//	"formerr"   FORMERR to a question with EDNS, the right answer to one without
//	"notimp"    NOTIMP likewise
//	"forged"    over UDP, denials with another id or question come before the right answer
//	"impostor"  nothing but those comes, over TCP neither
//	"oversized" over UDP, an answer comes whole, however little the asker takes
//	"garbled"   over UDP, the answer is cut off in the middle of a record, without TC
//	"broken"    likewise over TCP
//	"empty"     NOERROR with neither data nor a denial
func (s *Server) Behave(zone, behaviour string) error {
	if !slices.Contains(Behaviours, behaviour) {
		return fmt.Errorf("behaviour %q of zone %s: want one of %q", behaviour, zone, Behaviours)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.world.behave == nil {
		s.world.behave = map[string]string{}
	}
	s.world.behave[canonical(zone)] = behaviour
	if behaviour == "" {
		delete(s.world.behave, canonical(zone))
	}
	return nil
}

// Questions are all that were asked, in order, tries over again included: "example.net. MX".
func (s *Server) Questions() []string {
	var texts []string
	for _, q := range s.Asked() {
		texts = append(texts, q.Text)
	}
	return texts
}

// Asked are the same with all that is known of them.
func (s *Server) Asked() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Delay has every answer take so long.
func (s *Server) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// canonical is a name as the maps here have it: absolute, lower case.
func canonical(name string) string { return mdns.CanonicalName(name) }

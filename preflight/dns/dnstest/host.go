package dnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	mdns "github.com/miekg/dns"
)

// Host is one more machine of the small internet: a name server with an address of
// its own, at the port of the Server whose data it has. It is authoritative for some
// zones only, refers to the servers of the zones that are cut below them, and refuses the
// rest, so that one can walk from a root to a name.
type Host struct {
	addr    netip.AddrPort
	of      *Server
	zones   []string
	servers []*mdns.Server
	running sync.WaitGroup

	mu    sync.Mutex
	how   string
	asked int
}

// Host starts a name server of some zones at another address of loopback.
func (s *Server) Host(addr string, zones ...string) (*Host, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	h := &Host{addr: netip.AddrPortFrom(ip, s.addr.Port()), of: s}
	for _, z := range zones {
		h.zones = append(h.zones, canonical(z))
	}
	tcp, err := net.Listen("tcp", h.addr.String())
	if err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	udp, err := net.ListenPacket("udp", h.addr.String())
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("start name server: %w", err)
	}
	h.servers = []*mdns.Server{{PacketConn: udp}, {Listener: tcp}}
	var up sync.WaitGroup
	for _, m := range h.servers {
		up.Add(1)
		m.Handler, m.NotifyStartedFunc = mdns.HandlerFunc(h.serve), up.Done
		h.running.Go(func() { m.ActivateAndServe() })
	}
	up.Wait()
	return h, nil
}

// Close stops serving.
func (h *Host) Close() error {
	var errs []error
	for _, m := range h.servers {
		errs = append(errs, m.Shutdown())
	}
	h.running.Wait()
	return errors.Join(errs...)
}

// Manners are what Host.Behave takes.
var Manners = []string{"", "refused", "servfail", "drop", "hearsay", "upward"}

// Behave makes the host a bad server of its zones:
//
//	""          normal
//	"refused"   REFUSED, as of a server that was never told of the zone
//	"servfail"  SERVFAIL, as of one whose copy of the zone has expired
//	"drop"      no answer at all
//	"hearsay"   the right answer, without authority
//	"upward"    a referral to the root
func (h *Host) Behave(how string) error {
	if !slices.Contains(Manners, how) {
		return fmt.Errorf("manner %q of a host: want one of %q", how, Manners)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.how = how
	return nil
}

// Asked is how many questions came.
func (h *Host) Asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

func (h *Host) serve(w mdns.ResponseWriter, q *mdns.Msg) {
	h.mu.Lock()
	h.asked++
	how := h.how
	h.mu.Unlock()
	m := new(mdns.Msg)
	switch how {
	case "drop":
		return
	case "refused", "servfail":
		m.SetRcode(q, map[string]int{"refused": mdns.RcodeRefused, "servfail": mdns.RcodeServerFailure}[how])
		w.WriteMsg(m)
		return
	}
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if how == "upward" {
		m = h.refer(q, ".")
	} else {
		m = h.answer(w, q)
		m.Authoritative = m.Authoritative && how != "hearsay"
	}
	w.WriteMsg(m)
}

// answer is what a server of these zones knows. The caller holds the server's lock.
func (h *Host) answer(w mdns.ResponseWriter, q *mdns.Msg) *mdns.Msg {
	name := canonical(q.Question[0].Name)
	home := h.home(name)
	if home == "" {
		m := new(mdns.Msg)
		return m.SetRcode(q, mdns.RcodeRefused)
	}
	if cut := h.cut(home, name); cut != "" {
		return h.refer(q, cut)
	}
	_, udp := w.LocalAddr().(*net.UDPAddr)
	own := *q
	own.RecursionDesired = false
	m := h.of.answer(name, q.Question[0].Qtype, false).packet(&own, udp)
	m.RecursionAvailable = false
	return m
}

// home is the closest zone of this host that a name is in, "" if there is none.
func (h *Host) home(name string) (home string) {
	for _, z := range h.zones {
		if mdns.IsSubDomain(z, name) && (home == "" || mdns.IsSubDomain(home, z)) {
			home = z
		}
	}
	return home
}

// cut is the first zone below home on the way to a name, "" if home has the name itself.
func (h *Host) cut(home, name string) (cut string) {
	for z := range h.of.world.zones.answers {
		below := z != home && mdns.IsSubDomain(home, z) && mdns.IsSubDomain(z, name)
		if below && (cut == "" || mdns.IsSubDomain(z, cut)) {
			cut = z
		}
	}
	return cut
}

// refer sends on to the servers of a zone, glue included.
func (h *Host) refer(q *mdns.Msg, zone string) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(q)
	for _, rr := range h.of.find(zone, zone, mdns.TypeNS) {
		m.Ns = append(m.Ns, rr)
		host := canonical(strings.ToLower(rr.(*mdns.NS).Ns))
		for _, t := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
			m.Extra = append(m.Extra, h.of.find(h.of.zone(host), host, t)...)
		}
	}
	return m
}

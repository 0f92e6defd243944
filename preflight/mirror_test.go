package preflight

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// stunServer tells whoever asks that he is mapped; after so many questions that
// it lets pass. It sends a forged answer first.
func stunServer(t *testing.T, mapped netip.Addr, deaf int) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 100)
		for n := 0; ; n++ {
			size, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if n < deaf {
				continue
			}
			forged := stunReply(stunID{1}, stunXor, there)
			pc.WriteTo(forged, from)
			if id := stunID(b[8:20]); size == stunHeader && string(b[:size]) == string(stunAsk(id)) {
				pc.WriteTo(stunReply(id, stunXor, mapped), from)
			}
		}
	}()
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// stunReply has an attribute that nobody knows, then the address.
func stunReply(id stunID, kind uint16, a netip.Addr) []byte {
	raw, fam := a.AsSlice(), byte(1)
	if a.Is6() {
		fam = 2
	}
	head := append(binary.BigEndian.AppendUint32(nil, stunCookie), id[:]...)
	if kind == stunXor {
		for i := range raw {
			raw[i] ^= head[i]
		}
	}
	value := append([]byte{0, fam, 0, 0}, raw...)
	body := []byte{0x80, 0x22, 0, 5, 's', 'm', 'a', 'l', 'l', 0, 0, 0}
	body = binary.BigEndian.AppendUint16(body, kind)
	body = binary.BigEndian.AppendUint16(body, uint16(len(value)))
	body = append(body, value...)
	b := binary.BigEndian.AppendUint16(nil, stunSuccess)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(append(b, head...), body...)
}

func TestSTUN(t *testing.T) {
	for _, deaf := range []int{0, 1} {
		a, err := stun(t.Context(), netip.MustParseAddr("127.0.0.9"), stunServer(t, here, deaf))
		if err != nil || a != here {
			t.Errorf("%s %v", a, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a, err := stun(ctx, netip.Addr{}, stunServer(t, here, 99)); err == nil {
		t.Errorf("a deaf server said %s", a)
	}
}

func TestStunAnswer(t *testing.T) {
	id := stunID{7}
	six := netip.MustParseAddr("2001:db8::25")
	for _, c := range []struct {
		b    []byte
		want netip.Addr
	}{
		{stunReply(id, stunXor, here), here},
		{stunReply(id, stunXor, six), six},
		{stunReply(id, stunMapped, here), here},
		{stunReply(id, stunMapped, netip.MustParseAddr("::ffff:192.0.2.25")), here},
		{stunReply(stunID{8}, stunXor, here), netip.Addr{}},
		{stunReply(id, stunXor, here)[:30], netip.Addr{}},
		{stunReply(id, 0x8028, here), netip.Addr{}},
		{stunAsk(id), netip.Addr{}},
		{nil, netip.Addr{}},
	} {
		if a, ok := stunAnswer(c.b, id); a != c.want || ok != c.want.IsValid() {
			t.Errorf("%x: %s %v, want %s", c.b, a, ok, c.want)
		}
	}
}

func FuzzStunAnswer(f *testing.F) {
	id := stunID{7}
	f.Add(stunReply(id, stunXor, here))
	f.Add(stunReply(id, stunMapped, netip.MustParseAddr("2001:db8::25")))
	f.Add(stunAsk(id))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := stunAnswer(b, id); ok != a.IsValid() {
			t.Errorf("%x: %s %v", b, a, ok)
		}
	})
}

// silentMail is a network in which no mail server says who we are.
type silentMail struct{}

func (silentMail) Greet(context.Context, Source, string) Greeting {
	return Greeting{Host: "mx.example.org", Code: 220}
}

// Asked actively, two services that agree fill the address in: one by STUN, one
// by DNS, both asked from the bound address. Passively, nobody asks them.
func TestActiveDiscovery(t *testing.T) {
	d, err := dnstest.Start("$ORIGIN example.org.\n@ SOA ns.example.org. h.example.org. 1 1 1 1 1\nstun A 127.0.0.1\nwho TXT 192.0.2.25\nwho TXT \"edns0-client-subnet 198.51.100.0/24\"\nmyip A 192.0.2.25\nliar A 198.51.100.7\n")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := stunServer(t, here, 0)
	from := make(chan netip.Addr, 100)
	out := Outside{
		DNS: d.Client(), Probe: silentMail{},
		Bind:  func(netip.Addr) error { return nil },
		Clock: func() Clock { return Clock{Now: time.Now()} },
		From: func(bind netip.Addr, server netip.AddrPort) dns.Resolver {
			from <- bind
			return dns.NewClient([]netip.AddrPort{server}).From(bind)
		},
	}
	dnsHost, dnsPort := d.Addr().Addr().String(), d.Addr().Port()
	stunOne := Mirror{Operator: "a.example", Host: "stun.example.org", Port: s.Port()}
	dnsOne := Mirror{Operator: "b.example", Host: dnsHost, Port: dnsPort, Name: "who.example.org", Type: dns.TypeTXT}
	liar := Mirror{Operator: "c.example", Host: dnsHost, Port: dnsPort, Name: "liar.example.org", Type: dns.TypeA}
	dead := Mirror{Operator: "d.example", Host: "gone.example.org", Port: 1}
	for _, c := range []struct {
		name, discovery string
		mirrors         []Mirror
		want            string
		status          Status
	}{
		{"two agree", DiscoverActive, []Mirror{stunOne, dnsOne, liar, dead}, "192.0.2.25", Pass},
		{"an address record", DiscoverActive, []Mirror{stunOne, {Operator: "b.example", Host: dnsHost, Port: dnsPort, Name: "myip.example.org", Type: dns.TypeA}}, "192.0.2.25", Pass},
		{"two disagree", DiscoverActive, []Mirror{stunOne, liar}, "", Fail},
		{"nobody answers", DiscoverActive, []Mirror{dead}, "", Unknown},
		{"passive", DiscoverPassive, []Mirror{stunOne, dnsOne}, "", Fail},
	} {
		o := out
		o.Mirrors, o.Observed = c.mirrors, NewObservations()
		p := &Plan{
			Sources: []Source{{Name: "wan4", Bind: "127.0.0.9", EHLO: "mail.example.net"}},
			Special: Special{Prefixes: []SpecialPrefix{{Prefix: netip.MustParsePrefix("127.0.0.9/32"), What: "loopback"}}, Names: []string{}},
			Policy:  Policy{Discovery: c.discovery},
		}
		fs, _ := Run(t.Context(), p, o)
		if got := p.Learn(o.Observed, time.Now()).Sources[0].Public; got != c.want {
			t.Errorf("%s: learnt %q, want %q", c.name, got, c.want)
		}
		f := fs[slices.IndexFunc(fs, func(f Finding) bool { return f.Check == egressKnown })]
		if f.Status != c.status {
			t.Errorf("%s: %s %s", c.name, f.Status, f.Found)
		}
	}
	close(from)
	if len(from) == 0 {
		t.Error("nothing was asked in DNS")
	}
	for b := range from {
		if b != netip.MustParseAddr("127.0.0.9") {
			t.Errorf("asked from %s", b)
		}
	}
}

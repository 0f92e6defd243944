package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"smtprelay/cmd/sandbox"
	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// lab is the small internet of a run: names, addresses, and the sink behind them.
type lab struct {
	net        func(i, j int) netip.Addr // address number j of network number i of it
	smtp       netip.AddrPort            // where the sink listens; its port is that of exchangers
	clients    netip.Prefix              // where the generator comes from
	submission netip.AddrPort            // where the system under test listens
	source     netip.Addr                // where it sends from
	dns        *dnstest.Server
	sink       *sink
}

// Destinations: domain i of them is dI.dest.test. The one that workloads with a single
// destination use is number 0.
const domains = 1000

// deadDomain has an exchanger that cannot be reached.
const deadDomain = "dead.test"

// Networks of the lab, by the first argument of lab.net. From exchangers on there is one
// of 250 addresses for each quarter of the domains.
const (
	ours       = 0
	exchangers = 1
)

// bench is the network set apart for measuring (RFC 2544), all of it local to the namespace.
func bench(i, j int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i), byte(j)}) }

// Networks beyond the lab: packets to lost vanish, dead is known to be unreachable.
var (
	lost = netip.MustParsePrefix("203.0.113.0/24")
	dead = netip.MustParsePrefix("192.0.2.0/24")
)

// fate of a domain on the workload with bad destinations: of nine one answers 451, one
// accepts connections and never greets, and one loses every packet.
func fate(domain int) conduct {
	switch domain % 9 {
	case 2:
		return defers
	case 5:
		return silence
	case 8:
		return vanishes
	}
	return takes
}

// vanishes is what becomes of packets to an exchanger of the network lost.
const vanishes conduct = -1

// domain's name.
func domain(i int) string { return fmt.Sprintf("d%d.dest.test", i) }

// exchanger is the address of a domain's.
func (l *lab) exchanger(i int, bad bool) netip.Addr {
	if bad && fate(i) == vanishes {
		a := lost.Addr().As4()
		a[3] = byte(1 + i%250)
		return netip.AddrFrom4(a)
	}
	return l.net(exchangers+i/250, 1+i%250)
}

// of an exchanger's address: the domain.
func (l *lab) of(a netip.Addr) int {
	b := a.As4()
	first := l.net(exchangers, 0).As4()
	return int(b[2]-first[2])*250 + int(b[3]) - 1
}

// wireUp makes the network of the namespace: nothing in it leads out.
func wireUp() error {
	var steps []func() error
	for _, words := range []string{
		"link set lo up",
		"addr add " + bench(ours, 25).String() + "/32 dev lo",
		"route add local 198.18.0.0/17 dev lo src " + bench(ours, 25).String(),
		"link add nowhere type veth peer name nobody", // who has no address, and hears none of it
		"link set nobody up",
		"link set nowhere arp off up",
		"route add " + lost.String() + " dev nowhere src " + bench(ours, 25).String(),
		"route add unreachable " + dead.String(),
	} {
		steps = append(steps, func() error { return sandbox.Run("ip", strings.Fields(words)...) })
	}
	// Enough ports for a connection a message, and they may be used again at once.
	for name, value := range map[string]string{"ip_local_port_range": "10000 65000", "tcp_tw_reuse": "1", "tcp_max_syn_backlog": "8192"} {
		steps = append(steps, func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0) })
	}
	return sandbox.InTurn(steps...)
}

// newLab starts the servers of the lab.
func newLab(l *lab, resolver netip.AddrPort) (*lab, error) {
	var err error
	if l.dns, err = dnstest.StartAt(resolver.String(), l.zones(false)...); err != nil {
		return nil, err
	}
	if l.sink, err = newSink(l.smtp.String()); err != nil {
		return nil, errors.Join(err, l.dns.Close())
	}
	return l, nil
}

func (l *lab) close() error { return errors.Join(l.dns.Close(), l.sink.close()) }

// suffer makes a third of the domains bad, or all of them good again. records, lines of
// zone files, stand beside what the lab has.
func (l *lab) suffer(bad bool, records ...string) error {
	l.sink.behave(nil)
	if bad {
		l.sink.behave(func(local netip.Addr) conduct { return fate(l.of(local)) })
	}
	if err := l.dns.Set(l.zones(bad)...); err != nil {
		return err
	}
	for _, r := range records {
		if err := l.dns.Add(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) zones(bad bool) []string {
	zone := func(origin, records string) string {
		return fmt.Sprintf("$ORIGIN %s\n$TTL 3600\n@ SOA ns.isp.test. hostmaster.isp.test. 1 3600 600 86400 3600\n@ NS ns.isp.test.\n%s", origin, records)
	}
	var dest strings.Builder
	for i := range domains {
		fmt.Fprintf(&dest, "d%d MX 10 mx.d%d\nmx.d%d A %s\n", i, i, i, l.exchanger(i, bad))
	}
	reverse := dns.Reverse(l.source)
	host, up, _ := strings.Cut(reverse, ".")
	return []string{
		zone(senderDomain+".", fmt.Sprintf("@ MX 10 mail\n@ TXT \"v=spf1 ip4:%[1]s -all\"\nmail A %[1]s\nmail TXT \"v=spf1 a -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n", l.source)),
		zone("isp.test.", fmt.Sprintf("ns A %s\n", l.resolver())),
		zone(strings.TrimSuffix(up, ".")+".", host+" PTR mail."+senderDomain+".\n"),
		zone("dest.test.", dest.String()),
		zone(deadDomain+".", fmt.Sprintf("@ MX 10 mx\nmx A %s\n", dead.Addr().Next())),
	}
}

// resolver is the address of the lab's name server, which answers for all of them too.
func (l *lab) resolver() netip.Addr { return l.net(ours, 53) }

package preflight

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

const (
	hostsFile = "/etc/hosts"
	maxHosts  = 1 << 20 // octets of it that are read
)

var dnsHostsOverride = &Check{
	ID:       "DNS-HOSTS-OVERRIDE",
	Scope:    ScopeHost,
	Title:    "this machine's hosts file agrees with DNS about our names",
	Severity: Informational,
	Change:   "x",
	Why:      "it does not matter to receivers, who never see that file, but a look from this machine shows something else than they see",
	Needs:    []string{"DNS-REACHABLE"},
	Here:     true,
	Words: Words{
		How:       "Reads /etc/hosts and looks for our EHLO names. Each address found there has to be among those that DNS has for the name, A for IPv4 and AAAA for IPv6. The relay itself never reads that file for a look-up.",
		Found:     "/etc/hosts says mail.example.net is 127.0.1.1, DNS 192.0.2.25, 2001:db8::25",
		Expected:  "same",
		Mend:      "Correct line 1 of /etc/hosts",
		Ask:       "whoever runs this machine",
		Basis:     "No standard demands it. Whoever looks at this machine by its own tools is led astray otherwise.",
		Receivers: "None sees it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		path := cmp.Or(p.run.out.Hosts, hostsFile)
		f, err := os.Open(path)
		if err != nil {
			return pass("there is no %s", path)
		}
		defer f.Close()
		for _, h := range readHosts(io.LimitReader(f, maxHosts), p.Plan.greetings()) {
			four, six := p.ask(ctx, h.name, dns.TypeA), p.ask(ctx, h.name, dns.TypeAAAA)
			a := four
			if h.addr.Is6() {
				a = six
			}
			switch {
			case !definite(a):
				return unknown("same", a)
			case !holds(a, h.addr):
				r := Remedy{Title: fmt.Sprintf("Correct line %d of %s", h.line, path), Who: "whoever runs this machine",
					Steps: []string{"It is harmless for delivery; the relay never reads that file."}}
				return fail(r, "same", "%s says %s is %s, DNS %s", path, h.name, h.addr, addressesOf(four, six))
			}
		}
		return pass("%s says nothing else of our names", path)
	},
}

// addressesOf a name, or why it has none.
func addressesOf(four, six *dns.Answer) string {
	if all := append(addrs(four), addrs(six)...); len(all) > 0 {
		return list(all)
	}
	return outcome(four)
}

// greetings are the EHLO names of all sources that DNS can be asked for, each once.
func (p *Plan) greetings() (names []string) {
	for i := range p.Sources {
		probe := Probe{Plan: p, Source: &p.Sources[i]}
		if n := probe.ehlo(); probe.named() && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// hostLine is an address that a hosts file gives a name.
type hostLine struct {
	name string
	addr netip.Addr
	line int
}

// readHosts finds what a hosts file (hosts(5)) says of some names. Lines that cannot
// be read are passed over, as the C library does.
func readHosts(r io.Reader, names []string) (found []hostLine) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, w := range words[1:] {
			if name := strings.ToLower(strings.TrimSuffix(w, ".")); slices.Contains(names, name) {
				found = append(found, hostLine{name, addr.Unmap().WithZone(""), n})
			}
		}
	}
	return found
}

//go:build interop

package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"smtprelay/cmd/sandbox"
)

// nameserver is BIND on a host, authoritative for zones that come and go.
type nameserver struct {
	*host
	mu    sync.Mutex // of what it is doing
	named *program
}

const namedConf = `options {
	directory "/var/cache/bind";
	listen-on { any; };
	listen-on-v6 { any; };
	recursion no;
	allow-update { localhost; };
	allow-new-zones yes;
	empty-zones-enable no;
	check-names primary ignore;
	dnssec-validation no;
	notify no;
};
`

// startName makes a host that has BIND a name server.
func startName(h *host) (*nameserver, error) {
	s := &nameserver{host: h}
	if err := h.write("/etc/bind/named.conf", namedConf, 0o644); err != nil {
		return nil, err
	}
	return s, s.begin()
}

func (s *nameserver) begin() (err error) {
	s.named, err = s.start(s.log, "", "named", "-g", "-n", "1", "-u", "bind")
	if err != nil {
		return err
	}
	return s.named.await("running$")
}

// serve a zone. text may begin with the SOA and NS records; without them it gets
// the server's own. Names are relative to the zone.
func (s *nameserver) serve(zone, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(text, " SOA ") {
		// Denials are forgotten soon, so that what is published is seen.
		text = fmt.Sprintf("@ SOA %[1]s. hostmaster.%[1]s. 1 3600 600 86400 2\n@ NS %[1]s.\n", s.dnsName()) + text
	}
	text = fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n%s", strings.TrimSuffix(zone, "."), text)
	file := strings.NewReplacer("/", "_", ".", "_").Replace(zone) + ".zone"
	if err := s.write("/var/cache/bind/"+file, text, 0o644); err != nil {
		return err
	}
	_, err := s.run("", "rndc", "addzone", zone, fmt.Sprintf(`{ type primary; file "%s"; };`, file))
	return err
}

// dnsName of the server, below the hoster's domain.
func (s *nameserver) dnsName() string { return s.name + ".hoster.test" }

// update changes records, line by line in the words of nsupdate(1).
func (s *nameserver) update(lines ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.command("", "nsupdate")
	c.Stdin = strings.NewReader("server 127.0.0.1\ncheck-names off\n" + strings.Join(lines, "\n") + "\nsend\n")
	_, err := sandbox.Output(c)
	return err
}

// add records as they stand in a zone file, with absolute owners: the lines that
// a report prints, or "OWNER TYPE DATA".
func (s *nameserver) add(records string) error {
	var lines []string
	for line := range strings.Lines(records) {
		if line, _, _ = strings.Cut(strings.TrimSpace(line), " ;"); line == "" || line[0] == ';' {
			continue
		}
		owner, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if rest == "" || rest[0] < '0' || rest[0] > '9' {
			rest = "60 " + rest
		}
		lines = append(lines, "update add "+owner+" "+rest, "send") // each may be of another zone
	}
	return s.update(lines...)
}

// delegate a zone to a server, in its parent zone here.
func (s *nameserver) delegate(zone string, to *nameserver) error {
	lines := []string{
		"update delete " + zone + ". NS",
		fmt.Sprintf("update add %s. 60 NS %s.", zone, to.dnsName()),
	}
	return s.update(lines...)
}

// reverseName of an address, without the final dot.
func reverseName(a netip.Addr) string {
	var b strings.Builder
	raw := a.AsSlice()
	for i := len(raw) - 1; i >= 0; i-- {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", raw[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", raw[i]&15, raw[i]>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

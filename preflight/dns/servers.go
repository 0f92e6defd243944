package dns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	resolvConf = "/etc/resolv.conf"
	rereadConf = 5 * time.Second
	maxServers = 3 // as resolv.conf(5): more could not all be asked in time
)

// NewSystemClient asks the resolvers that the system names, of this moment: a machine
// that starts without a network names others once it has one.
func NewSystemClient() *Client {
	return newClient(follow(resolvConf, rereadConf), atOnce)
}

// follow reads the file again every so often. While it cannot be read what it said
// last stands.
func follow(path string, every time.Duration) func() []netip.AddrPort {
	var mu sync.Mutex
	var servers []netip.AddrPort
	var read time.Time
	return func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); read.IsZero() || now.Sub(read) >= every {
			read = now
			if s, err := serversOf(path); err == nil {
				servers = s
			}
		}
		return servers
	}
}

// SystemServers are the resolvers that the system names in /etc/resolv.conf, three
// at most. As for the C library, a file that is missing or names none means
// the one on this host. A line that cannot be read is an error with its number.
func SystemServers() ([]netip.AddrPort, error) { return serversOf(resolvConf) }

func serversOf(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return readServers(strings.NewReader(""))
	}
	if err != nil {
		return nil, fmt.Errorf("find resolvers: %w", err)
	}
	defer f.Close()
	servers, err := readServers(f)
	if err != nil {
		return nil, fmt.Errorf("find resolvers: %s %w", path, err)
	}
	return servers, nil
}

func readServers(r io.Reader) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if len(words) == 1 {
			return nil, fmt.Errorf("line %d: nameserver without an address", n)
		}
		addr, err := netip.ParseAddr(words[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: nameserver %q is not an address", n, words[1])
		}
		servers = append(servers, netip.AddrPortFrom(addr, 53))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if servers == nil {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, nil
}

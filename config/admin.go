package config

import (
	"net/netip"
	"path/filepath"
	"slices"

	"smtprelay/preflight/dns"
	"smtprelay/relay"
)

// DNS says whom to ask.
type DNS struct {
	Servers []string `toml:"servers"` // resolvers; none: those of resolv.conf
	Port    int      `toml:"port"`    // where authoritative servers listen
}

func (d DNS) fill(l *loader, o *relay.Options) {
	for i, text := range d.Servers {
		if a, ok := server(text); ok {
			o.DNS.Servers = append(o.DNS.Servers, a)
			continue
		}
		l.bad(index("dns.servers", i), `write "127.0.0.1" or "127.0.0.1:53"`, "%q: expected an IP address, with or without port", text)
	}
	if len(d.Servers) == 0 { // the system's are followed while we run; now they only have to make sense
		if _, err := dns.SystemServers(); err != nil {
			l.bad("dns.servers", "name your resolvers", "%v", plain(err))
		}
	}
	if d.Port != 53 && !l.file.Preflight.Private {
		l.bad("dns.port", "in a network of your own set private = true under [preflight]", "%d: authoritative servers of the internet listen on 53", d.Port)
	}
	o.DNS.Port = uint16(l.number("dns.port", d.Port, 1, 65535))
}

// server is an address with a port, 53 where there is none.
func server(text string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 53), true
	}
	ap, err := netip.ParseAddrPort(text)
	return ap, err == nil && ap.Port() != 0
}

// Admin is the socket that the commands talk to.
type Admin struct {
	Socket string `toml:"socket"`
}

func (a Admin) fill(l *loader, o *relay.Options) {
	if a.Socket == "" {
		l.bad("admin.socket", `write "/run/relay/admin.sock"`, "empty: expected a path")
	}
	l.socket("admin.socket", a.Socket)
	if i := slices.Index(l.file.Submission.Listen, "unix:"+a.Socket); i >= 0 {
		l.bad(index("submission.listen", i), "", "%s: admin.socket is the same", a.Socket)
	}
	o.Admin.Socket = a.Socket
}

// What fits into a sockaddr_un (unix(7)), its final zero taken off; and the
// same for the directory, where a socket has another name while it is made.
const (
	maxSocket    = 107
	maxSocketDir = maxSocket - len("/.1234567890/s")
)

func (l *loader) socket(key, path string) {
	if len(path) > maxSocket || len(filepath.Dir(path)) > maxSocketDir {
		l.bad(key, "choose a shorter one, under /run/relay for example", "%d characters, %d of them for the directory: the system allows %d and %d in the path of a socket",
			len(path), len(filepath.Dir(path)), maxSocket, maxSocketDir)
	}
}

// Log is how much is said, and in what form.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

func (g Log) fill(l *loader, o *relay.Options) {
	l.choice("log.level", g.Level, "debug", "info", "warn", "error")
	l.choice("log.format", g.Format, "json", "text")
	_ = o.LogLevel.UnmarshalText([]byte(g.Level)) // one of the four, or a problem already
	o.LogFormat = g.Format
}

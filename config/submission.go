package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"smtprelay/preflight/dns"
	"smtprelay/relay"
	"smtprelay/relay/submit"
)

// Submission is where mail comes in, and from whom.
type Submission struct {
	Hostname    string   `toml:"hostname"` // of banner and Received; "": the first source's ehlo
	Listen      []string `toml:"listen"`
	Certificate string   `toml:"certificate"`
	KeyFile     string   `toml:"key_file"`
	Trusted     []string `toml:"trusted"`
	UsersFile   string   `toml:"users_file"`
	Senders     string   `toml:"senders"` // any, listed
	Size        Size     `toml:"size"`
	Recipients  int      `toml:"recipients"`
	Conns       int      `toml:"connections"`
	ConnsPerIP  int      `toml:"connections_per_address"`
	Idle        Duration `toml:"idle"`
	Session     Duration `toml:"session"`
	Hops        int      `toml:"hops"`
	SocketMode  Mode     `toml:"socket_mode"`
}

func defaultSubmission() Submission {
	return Submission{
		Listen: []string{"127.0.0.1:25"}, Trusted: []string{"127.0.0.1", "::1"}, Senders: "any",
		Size: 50 << 20, Recipients: 1000, Conns: 1000, ConnsPerIP: 50,
		Idle: minutes(5), Session: minutes(60), Hops: 50, SocketMode: 0o660,
	}
}

// complete finds the host name: what we say to the world, else the machine's.
func (s *Submission) complete(f *File) {
	if s.Hostname != "" {
		return
	}
	system, _ := os.Hostname()
	candidates := []string{system}
	if len(f.Source) > 0 {
		candidates = []string{f.Source[0].EHLO, system}
	}
	for _, c := range candidates {
		if name, err := dns.Canonical(c); err == nil && hostish(name) {
			s.Hostname = name
			return
		}
	}
	s.Hostname = "localhost"
}

// names are what we call ourselves, each once, and the foremost of them.
func (f *File) names() (all []string, first string) {
	add := func(text string) {
		if name, err := dns.Canonical(text); err == nil && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	add(f.Submission.Hostname)
	for _, s := range f.Source {
		add(s.EHLO)
	}
	if len(all) > 0 {
		first = all[0]
	}
	return all, first
}

func (s Submission) fill(l *loader, o *relay.Options) {
	o.Submit.Hostname, _ = l.domain("submission.hostname", s.Hostname)
	cert := l.certificate("submission.certificate", s.Certificate, "submission.key_file", s.KeyFile)
	s.listen(l, o)
	for i, text := range s.Trusted {
		if p, ok := l.network(index("submission.trusted", i), text); ok {
			o.Submit.Trusted = append(o.Submit.Trusted, p)
		}
	}
	o.Plan.Submission.Name = o.Submit.Hostname
	if cert != nil {
		o.Submit.TLS, o.Plan.Submission.Certificate = cert.server(), cert.now
	}
	o.Submit.Users = l.users("submission.users_file", s.UsersFile, s.Certificate != "" || l.file.faulty("submission.certificate"))
	o.Plan.Submission.Auth = o.Submit.Users != nil
	o.Submit.Senders = l.senders("submission.senders", s.Senders)
	if s.Size < 1<<10 || s.Size > 1<<30 {
		l.bad("submission.size", "", "%v: expected 1KiB to 1GiB", s.Size)
	}
	o.Submit.Size = int64(s.Size)
	// RFC 5321 section 4.5.3.1.8: at least 100 recipients
	o.Submit.Recipients = l.number("submission.recipients", s.Recipients, 100, 100000)
	o.Submit.Conns = l.number("submission.connections", s.Conns, 1, 100000)
	o.Submit.ConnsPerIP = l.number("submission.connections_per_address", s.ConnsPerIP, 1, 100000)
	o.Submit.Idle = l.between("submission.idle", s.Idle, Duration(time.Second), minutes(60))
	o.Submit.Session = l.between("submission.session", s.Session, Duration(time.Second), minutes(24*60))
	o.Submit.Hops = l.number("submission.hops", s.Hops, 10, 1000)
	o.Submit.SocketMode = uint32(s.SocketMode)
	if s.SocketMode&0o600 != 0o600 {
		l.bad("submission.socket_mode", "", "%04o: expected at least 0600", uint32(s.SocketMode))
	}
}

func (s Submission) listen(l *loader, o *relay.Options) {
	if len(s.Listen) == 0 {
		l.bad("submission.listen", `write for example ["127.0.0.1:25"]`, "empty: expected at least one listener")
	}
	for i, text := range s.Listen {
		key := index("submission.listen", i)
		at, ok := l.listener(key, text)
		if !ok {
			continue
		}
		if slices.Contains(s.Listen[:i], text) {
			l.bad(key, "", "%q: a second time", text)
		}
		if at.Implicit && s.Certificate == "" && !l.file.faulty("submission.certificate") {
			l.bad(key, "set submission.certificate and submission.key_file", "%q: TLS without a certificate", text)
		}
		o.Submit.Listen = append(o.Submit.Listen, at)
		if ap, err := netip.ParseAddrPort(at.Address); err == nil && at.Network == "tcp" {
			o.Plan.Listeners = append(o.Plan.Listeners, ap)
		}
	}
}

// listener parses host:port, tls://host:port or unix:/path.
func (l *loader) listener(key, text string) (submit.Listen, bool) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			l.bad(key, `write "unix:/run/relay/submit.sock"`, "%q: expected unix: and a path from the root", text)
			return submit.Listen{}, false
		}
		l.socket(key, path)
		return submit.Listen{Network: "unix", Address: path}, true
	}
	address, implicit := strings.CutPrefix(text, "tls://")
	ap, err := netip.ParseAddrPort(address)
	if err != nil || ap.Port() == 0 {
		fault, hint := listenFault(address)
		l.bad(key, hint, "%q: %s", text, fault)
		return submit.Listen{}, false
	}
	return submit.Listen{Network: "tcp", Address: ap.String(), Implicit: implicit}, true
}

// listenFault says what keeps text from being address:port.
func listenFault(text string) (fault, hint string) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return "no port: expected host:port", `write "` + netip.AddrPortFrom(a, 587).String() + `"`
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		return "no address: expected host:port", `write "0.0.0.0:` + port + `" or "[::]:` + port + `" for all addresses`
	}
	if strings.Contains(text, "://") {
		return "expected host:port, tls://host:port or unix:/path", ""
	}
	return "expected host:port, the host as an IP address", `write "127.0.0.1:25" or "[::1]:25"`
}

// network is an address or a prefix that may submit without a password.
func (l *loader) network(key, text string) (netip.Prefix, bool) {
	const hint = `write "192.0.2.7" or "10.1.0.0/16"`
	p, err := netip.ParsePrefix(text)
	if a, aerr := netip.ParseAddr(text); aerr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		l.bad(key, hint, "%q: expected an IP address or a network", text)
	case p.Addr().Is4In6():
		l.bad(key, hint, "%q: write an IPv4 address as such", text)
	case p.Addr().Is4() && p.Bits() < 8, p.Bits() < 7: // 10.0.0.0/8 and fc00::/7 are the largest private ones
		l.bad(key, "name your own networks only", "%q: so large a network makes an open relay", text)
	case p.Masked() != p:
		l.bad(key, `write "`+p.Masked().String()+`"`, "%q: an address within a network", text)
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

func (l *loader) users(key, path string, certificate bool) *submit.Users {
	if path == "" {
		return nil
	}
	if !certificate {
		l.bad(key, "set submission.certificate and submission.key_file, or take users_file out", "users log in over TLS only, and there is no certificate")
	}
	remedy := "make it: relay user add NAME"
	fi, err := os.Lstat(path)
	if err != nil {
		l.unreadable(key, err, remedy)
		return nil
	}
	if !l.private(key, path, fi) || !l.guarded(key, path) {
		return nil
	}
	us, err := submit.LoadUsers(path)
	for _, line := range each(err) {
		l.bad(key, "relay user add and relay user remove write the lines of this file", "%v", line)
	}
	return us
}

// each takes joined errors apart.
func each(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// senders is nil for any.
func (l *loader) senders(key, word string) []string {
	l.choice(key, word, "any", "listed")
	if word != "listed" {
		return nil
	}
	if len(l.file.Domain) == 0 {
		l.bad(key, `add a [[domain]], or set senders = "any"`, "%q: there is no [[domain]], so nobody could send", word)
	}
	listed := []string{}
	for _, d := range l.file.Domain {
		for _, text := range []string{d.Name, d.Envelope} {
			if name, err := dns.Canonical(text); err == nil && !slices.Contains(listed, name) {
				listed = append(listed, name)
			}
		}
	}
	return listed
}

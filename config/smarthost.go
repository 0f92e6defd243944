package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay"
)

// SmartHost is a relay that takes our mail.
type SmartHost struct {
	URL          string `toml:"url"` // smtp://user@host:port; smtps: TLS from the first octet
	PasswordFile string `toml:"password_file"`
	TLS          string `toml:"tls"`     // required (and verified), opportunistic, none
	CAFile       string `toml:"ca_file"` // verify by these authorities; "": the system's
}

type smartHosts []SmartHost

func (hs smartHosts) fill(l *loader, o *relay.Options) {
	seen := map[string]bool{}
	for i, h := range hs {
		key := index("smarthost", i)
		s, ok := l.smartURL(key+".url", h.URL)
		if !ok {
			continue
		}
		if seen[s.Name] {
			l.bad(key+".url", "", "%s: a second time", s.Name)
		}
		seen[s.Name] = true
		s.TLS = h.TLS
		l.choice(key+".tls", h.TLS, "required", "opportunistic", "none")
		if s.Implicit && h.TLS == "none" {
			l.bad(key+".tls", "write smtp:// for a connection in clear", "%q: smtps:// is TLS", h.TLS)
		}
		s.Password = l.password(key, h, s)
		s.CA = l.authorities(key+".ca_file", h.CAFile)
		o.Plan.SmartHosts = append(o.Plan.SmartHosts, s)
	}
	o.Deliver.SmartHosts = o.Plan.SmartHosts
}

// smartURL takes a URL apart. What it says of a bad one never repeats it: there
// may be a password in it.
func (l *loader) smartURL(key, text string) (s preflight.SmartHost, ok bool) {
	const hint = `write "smtp://user@smtp.isp.example:587", or smtps:// for TLS from the first octet`
	u, err := url.Parse(text)
	switch {
	case text == "":
		l.bad(key, hint, "missing")
		return s, false
	case err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		l.bad(key, hint, "expected smtp:// or smtps://, then a host")
		return s, false
	}
	if _, has := u.User.Password(); has {
		l.bad(key, "write the password into a file of its own and name it in password_file", "a password stands in the URL")
		return s, false
	}
	s = preflight.SmartHost{Host: u.Hostname(), Port: 587, Implicit: u.Scheme == "smtps", User: u.User.Username()}
	if s.Implicit {
		s.Port = 465
	}
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			l.bad(key, "", "port %s: expected 1 to 65535", u.Port())
			return s, false
		}
		s.Port = uint16(port)
	}
	if _, err := netip.ParseAddr(s.Host); err != nil {
		host, err := dns.Canonical(s.Host)
		if err != nil || !hostish(host) {
			l.bad(key, hint, "%q: expected a host name or an address", s.Host)
			return s, false
		}
		s.Host = host
	}
	s.Name = net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	return s, true
}

func (l *loader) password(key string, h SmartHost, s preflight.SmartHost) preflight.Secret {
	switch {
	case s.User == "" && h.PasswordFile == "":
		return ""
	case s.User == "":
		l.bad(key+".password_file", "write the user into the URL: smtp://user@"+s.Name, "a password without a user")
		return ""
	case h.PasswordFile == "":
		l.bad(key+".url", "name a file that holds the password in password_file", "user %q without a password", s.User)
		return ""
	}
	path := h.PasswordFile
	remedy := fmt.Sprintf("write the password into it: install -m 0600 -o relay /dev/stdin %s", path)
	text := l.secret(key+".password_file", path, remedy, true)
	word := strings.TrimRight(string(text), "\r\n")
	switch {
	case text == nil:
	case word == "":
		l.bad(key+".password_file", "write the password into its first line", "%s: empty", path)
	case strings.ContainsAny(word, "\r\n\x00"):
		l.bad(key+".password_file", "it may hold one line, the password", "%s: more than one line", path)
	}
	return preflight.Secret(word)
}

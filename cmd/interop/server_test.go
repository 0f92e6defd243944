//go:build interop

package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"smtprelay/cmd/sandbox"

	"github.com/rogpeppe/go-internal/testscript"
)

// server is the machine of a set-up: an address, a domain, the relay and the
// applications.
type server struct {
	*world
	*host
	setup, domain string
	ip4, ip6      netip.Addr
	files         string // where those of the script lie

	forecast *forecast

	relay  *program
	booted *booted     // where systemd runs the relay
	out    *transcript // of the relay
	sent   []posted
	count  int
}

// posted is a message on its way.
type posted struct {
	id, queued string // idField, and the relay's own id
	to         *receiver
}

type serverKey struct{}

func serverOf(ts *testscript.TestScript) *server { return ts.Value(serverKey{}).(*server) }

// setup makes the server of a script, its domain and the names of its addresses.
// From then on a script changes what is to be otherwise.
func (w *world) setup(env *testscript.Env) error {
	s := &server{world: w, files: env.WorkDir}
	s.setup = strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	s.domain = s.setup + ".test"
	n := 10 + w.setups.Add(1)
	s.ip4 = netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", n))
	s.ip6 = netip.MustParseAddr(fmt.Sprintf("2001:db8:100::%x", n))
	for _, v := range [][2]string{
		{"DOMAIN", s.domain}, {"IP4", s.ip4.String()}, {"IP6", s.ip6.String()},
		{"REV4", reverseName(s.ip4)}, {"REV6", reverseName(s.ip6)}, {"LAST4", fmt.Sprint(n)},
	} {
		env.Setenv(v[0], v[1])
	}
	s.forecast = w.forecasts.of(s.setup)
	if err := s.common(env); err != nil {
		return err
	}
	var err error
	if s.host, err = w.host(s.setup, serverRoot, []netip.Addr{s.ip4, s.ip6}); err != nil {
		return err
	}
	if s.out, err = newTranscript(filepath.Join(w.work, "logs", s.setup+"-relay.log")); err != nil {
		return err
	}
	env.Values[serverKey{}] = s
	env.Defer(func() {
		if s.relay != nil {
			s.relay.stop()
		}
		if s.booted != nil {
			s.booted.off()
		}
	})
	if err := s.install(); err != nil {
		return err
	}
	return s.inDNS()
}

// common puts the files that a script has not written itself beside those it
// has, and fills in the names in all of them.
func (s *server) common(env *testscript.Env) error {
	commons, err := filepath.Glob("testdata/common/*")
	if err != nil {
		return err
	}
	for _, name := range commons {
		own := filepath.Join(s.files, filepath.Base(name))
		if _, err := os.Stat(own); err == nil {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(own, text, 0o644); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(s.files, "[a-z]*.*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(filled(string(text), env)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// filled has the values of the names that are known; $TTL and the like stay.
func filled(text string, env *testscript.Env) string {
	return os.Expand(text, func(key string) string {
		if v := env.Getenv(key); v != "" {
			return v
		}
		return "$" + key
	})
}

// file of the script, or of the common ones.
func (s *server) file(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.files, name))
	return string(text), err
}

// install the relay as the README says, and the applications.
func (s *server) install() error {
	certificate, err := os.ReadFile(filepath.Join(s.smarthost.dir, "etc/ssl/host.pem"))
	if err != nil {
		return err
	}
	// By another process: what we have open for writing while a command starts
	// could not be executed ("text file busy").
	if err := sandbox.Run("install", "-m", "755", filepath.Join(s.work, "bin/relay"), filepath.Join(s.dir, "usr/local/bin/relay")); err != nil {
		return err
	}
	if _, err := s.run("", "sh", "-ec", `
		useradd --system --user-group --home-dir /var/lib/relay --shell /usr/sbin/nologin relay
		install -d -m 750 -o root -g relay /etc/relay
		install -d -m 700 -o relay -g relay /var/lib/relay
		install -d -m 750 -o relay -g relay /run/relay`); err != nil {
		return err
	}
	for _, app := range s.apps {
		for name, text := range app.sections {
			if err := s.write(name, text, 0o644); err != nil {
				return err
			}
		}
	}
	return sandbox.InTurn(
		func() error { return s.write("/etc/relay/smarthost.pem", string(certificate), 0o644) },
		func() error { return s.write("/etc/relay/smarthost.password", "correct-horse\n", 0o640) },
		func() error {
			_, err := s.run("", "chgrp", "relay", "/etc/relay/smarthost.password")
			return err
		},
		func() error { return s.configure(true) },
	)
}

// configure the relay, with a smart host to fall back to or without.
func (s *server) configure(smarthost bool) error {
	names := []string{"relay.toml", "sources.toml"}
	if smarthost {
		names = append(names, "smarthost.toml")
	}
	whole := ""
	for _, name := range names {
		text, err := s.file(name)
		if err != nil {
			return err
		}
		whole += text
	}
	return s.write("/etc/relay/relay.toml", whole, 0o644)
}

// inDNS makes a DKIM key, and publishes the zone of the domain with the record
// that is printed then, and the reverse records.
func (s *server) inDNS() error {
	printed, err := s.run("", "relay", "dkim", "new", s.domain)
	if err != nil {
		return err
	}
	records, err := s.file("records.zone")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.files, "records.zone"), []byte(records+printed), 0o644); err != nil {
		return err
	}
	if err := s.publish(s.domain, s.names["hoster"], records+printed); err != nil {
		return err
	}
	reverse, err := s.file("reverse.zone")
	if err != nil {
		return err
	}
	return s.names["isp"].add(reverse)
}

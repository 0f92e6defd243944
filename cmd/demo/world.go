package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
	"smtprelay/relay/deliver/mxtest"
)

// world is the small internet: names, addresses and servers, all on loopback.
type world struct {
	source     string // address that relay sends from
	reverse    string // its name in the reverse zone
	submission string // where relay listens
	config     string // path of relay.toml
	dns        *dnstest.Server
	receiver   *mxtest.Server
	smart      *mxtest.Server
}

// ports of the small internet; those below 1024 want rights.
type ports struct{ dns, smtp, submission int }

// newWorld takes the first network of loopback and the first ports that are
// free, so that neither two tours meet nor a tour and what listens everywhere.
func newWorld(dir string) (*world, error) {
	var err error
	for i := range 20 {
		var w *world
		if w, err = worldAt(dir, fmt.Sprintf("127.77.%d", i), ports{5300 + i, 2525 + i, 2587 + i}); err == nil {
			return w, nil
		}
	}
	return nil, fmt.Errorf("no free addresses on loopback: %w", err)
}

func worldAt(dir, net string, at ports) (_ *world, err error) {
	source := netip.MustParseAddr(net + ".25")
	w := &world{
		source:     source.String(),
		reverse:    dns.Reverse(source),
		submission: fmt.Sprintf("%s:%d", source, at.submission),
		config:     filepath.Join(dir, "relay.toml"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dns, err = dnstest.StartAt(fmt.Sprintf("%s.53:%d", net, at.dns), zones(net, w.reverse)...); err != nil {
		return nil, err
	}
	if w.receiver, err = mxtest.Start(fmt.Sprintf("%s.2:%d", net, at.smtp), "tls mx1.dest.test"); err != nil {
		return nil, err
	}
	if w.smart, err = mxtest.Start(fmt.Sprintf("%s.9:%d", net, at.smtp), "tls smtp.isp.test\nauth shop demo-password"); err != nil {
		return nil, err
	}
	files := map[string]string{
		"relay.toml": settings(dir, net, at),
		"password":   "demo-password\n",
		"ca.pem":     string(w.smart.CA()),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() error {
	var errs []error
	if w.dns != nil {
		errs = append(errs, w.dns.Close())
	}
	for _, m := range []*mxtest.Server{w.receiver, w.smart} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// txt looks a TXT record up as the receiver would.
func (w *world) txt(name string) ([]string, error) {
	set, err := dns.LookupTXT(context.Background(), w.dns.Client(), strings.TrimSuffix(name, "."))
	return set.Records, err
}

func zones(net, reverse string) []string {
	zone := func(origin, records string) string {
		return fmt.Sprintf("$ORIGIN %s\n$TTL 1\n@ SOA ns.isp.test. hostmaster.isp.test. 1 3600 600 86400 1\n@ NS ns.isp.test.\n%s", origin, records)
	}
	return []string{
		zone("shop.test.", fmt.Sprintf(`@ MX 10 mail
@ TXT "v=spf1 ip4:%[1]s.25 -all"
mail A %[1]s.25
mail TXT "v=spf1 a -all"
_dmarc TXT "v=DMARC1; p=none"
`, net)),
		zone("isp.test.", fmt.Sprintf("ns A %[1]s.53\nsmtp A %[1]s.9\n", net)),
		zone("dest.test.", fmt.Sprintf("@ MX 10 mx1\nmx1 A %s.2\n", net)),
		zone(strings.TrimPrefix(reverse, "25.")+".", "25 PTR mail.shop.test.\n"),
	}
}

func settings(dir, net string, at ports) string {
	return fmt.Sprintf(`state = %[1]q

[[source]]
name = "shop"
bind = "%[2]s.25"
ehlo = "mail.shop.test"

[[domain]]
name = "shop.test"
dkim = ["k1"]

[preflight]
on_fail = "smarthost"
private = true          # this small internet is on loopback
looks = 2               # a failure is believed when seen twice ...
span = "2s"             # ... over two seconds
settle = "2s"           # after a repair, wait this long
recheck_min = "1s"
recheck_max = "2s"

[[smarthost]]
url = "smtp://shop@smtp.isp.test:%[3]d"
password_file = %[4]q
ca_file = %[5]q

[submission]
listen = ["%[2]s.25:%[8]d"]
trusted = ["127.0.0.0/8"]

[delivery]
port = %[3]d

[dns]
servers = ["%[2]s.53:%[6]d"]
port = %[6]d

[admin]
socket = %[7]q
`, filepath.Join(dir, "state"), net, at.smtp, filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem"), at.dns, filepath.Join(dir, "admin.sock"), at.submission)
}

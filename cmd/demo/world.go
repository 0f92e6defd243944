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

const (
	dnsPort  = 5353
	smtpPort = 2525
)

// newWorld takes the first network of loopback that is free, so that two tours
// do not meet.
func newWorld(dir string) (*world, error) {
	var err error
	for i := range 20 {
		var w *world
		if w, err = worldAt(dir, byte(77), byte(i)); err == nil {
			return w, nil
		}
	}
	return nil, fmt.Errorf("no free addresses on loopback: %w", err)
}

func worldAt(dir string, a, b byte) (_ *world, err error) {
	net := fmt.Sprintf("127.%d.%d", a, b)
	w := &world{
		source:     net + ".25",
		reverse:    dns.Reverse(netip.MustParseAddr(net + ".25")),
		submission: net + ".25:2587",
		config:     filepath.Join(dir, "relay.toml"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dns, err = dnstest.StartAt(fmt.Sprintf("%s.53:%d", net, dnsPort), zones(net, a, b)...); err != nil {
		return nil, err
	}
	if w.receiver, err = mxtest.Start(fmt.Sprintf("%s.2:%d", net, smtpPort), "tls mx1.dest.test"); err != nil {
		return nil, err
	}
	if w.smart, err = mxtest.Start(fmt.Sprintf("%s.9:%d", net, smtpPort), "tls smtp.isp.test\nauth shop demo-password"); err != nil {
		return nil, err
	}
	files := map[string]string{
		"relay.toml": settings(dir, net),
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

func zones(net string, a, b byte) []string {
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
		zone(fmt.Sprintf("%d.%d.127.in-addr.arpa.", b, a), "25 PTR mail.shop.test.\n"),
	}
}

func settings(dir, net string) string {
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
listen = ["%[2]s.25:2587"]
trusted = ["127.0.0.0/8"]

[delivery]
port = %[3]d

[dns]
servers = ["%[2]s.53:%[6]d"]
port = %[6]d

[admin]
socket = %[7]q
`, filepath.Join(dir, "state"), net, smtpPort, filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem"), dnsPort, filepath.Join(dir, "admin.sock"))
}

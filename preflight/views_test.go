package preflight_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
)

// What cases may say of the resolver, of a zone's second name server, and of the
// machine:
//
//	~ resolver answers NAME TYPE DATA       and not what the zone has
//	~ resolver denies NAME TYPE             likewise
//	~ resolver turns NXDOMAIN into A ADDR
//	~ resolver refuses TCP
//	~ resolver does not validate
//	~ resolver asks from ADDR
//	~ second server of ZONE WORD            misbehaves
//	~ second server of ZONE has NAME TYPE DATA
//	~ second server of ZONE lacks NAME TYPE
//	~ port 53 closed                        to all but the resolver
//	~ hosts file says ADDR NAME

// odd is what is odd in a world besides its zones.
type odd struct {
	views    [][3]string // name, type, data
	invented netip.Addr
	noTCP    bool
	blind    bool   // no validation
	from     string // where the resolver asks from
	seconds  []second
	closed   bool
	hosts    string
}

// second is a second name server of a zone.
type second struct {
	zone, does string
	name, kind string
	data       string // instead of what the zone has
}

// misbehaves takes a step that speaks of one of them.
func (o *odd) misbehaves(text string) (ours bool, err error) {
	text, _, _ = strings.Cut(text, ",")
	f := strings.Fields(text)
	starts := func(words string) bool { return strings.HasPrefix(text+" ", words+" ") }
	switch {
	case starts("resolver answers") && len(f) >= 5:
		o.views = append(o.views, [3]string{f[2], f[3], strings.Join(f[4:], " ")})
	case starts("resolver denies") && len(f) == 4:
		o.views = append(o.views, [3]string{f[2], f[3], ""})
	case starts("resolver turns NXDOMAIN into A") && len(f) == 6:
		o.invented, err = netip.ParseAddr(f[5])
	case starts("resolver refuses TCP"):
		o.noTCP = true
	case starts("resolver does not validate"):
		o.blind = true
	case starts("resolver asks from") && len(f) == 4:
		o.from = f[3]
	case starts("second server of") && len(f) == 5 && slices.Contains(dnstest.Behaviours, strings.ToLower(f[4])):
		o.seconds = append(o.seconds, second{zone: f[3], does: strings.ToLower(f[4])})
	case starts("second server of") && len(f) >= 7 && (f[4] == "has" || f[4] == "lacks"):
		o.seconds = append(o.seconds, second{zone: f[3], name: f[5], kind: f[6], data: strings.Join(f[7:], " ")})
	case starts("port 53 closed"):
		o.closed = true
	case starts("hosts file says"):
		o.hosts += strings.Join(f[3:], " ") + "\n"
	case starts("resolver"), starts("second"), starts("port"), starts("hosts"):
		return true, fmt.Errorf("~ %s: the runner cannot do that", text)
	default:
		return false, nil
	}
	return true, err
}

// outer is the part of the world outside that every run asks for.
func (o *odd) outer() []string {
	from := o.from
	if from == "" {
		from = "192.0.2.53"
	}
	signed, bogus := "secure", "servfail"
	if o.blind {
		signed, bogus = "insecure", "insecure"
	}
	return []string{
		"; answers: " + signed + "\ncom. IN SOA a.gtld.invalid. nstld.invalid. 1 1800 900 604800 900\no-o.myaddr.l.google.com. 60 IN TXT " + from + "\n",
		"; answers: " + bogus + "\ndnssec-failed.org. IN SOA ns.invalid. root.invalid. 1 1800 900 604800 900\ndnssec-failed.org. 300 IN A 192.0.2.66\n",
	}
}

// servers are the NS records of the zones with two.
func (o *odd) servers() string {
	var b strings.Builder
	for _, s := range o.seconds {
		fmt.Fprintf(&b, "%s. 3600 IN NS ns.dnstest.invalid.\n%s. 3600 IN NS ns2.invalid.\nns2.invalid. 3600 IN A 127.0.0.2\n", s.zone, s.zone)
	}
	return b.String()
}

// start what is odd, beside a server that is up.
func (o *odd) start(t testing.TB, w *world, s *dnstest.Server, out *preflight.Outside) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for _, v := range o.views {
		check(s.View(v[0], v[1], v[2]))
	}
	s.Invent(o.invented)
	if o.noTCP {
		check(s.CloseTCP())
	}
	if o.closed {
		out.AuthorityPort = 1 // nobody listens there
	}
	out.Lines, out.Hosts = s.Client().OverTCP, os.DevNull
	if o.hosts != "" {
		out.Hosts = filepath.Join(t.TempDir(), "hosts")
		check(os.WriteFile(out.Hosts, []byte(o.hosts), 0o600))
	}
	if len(o.seconds) == 0 {
		return
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), s.Addr().Port())
	two, err := dnstest.StartAt(at.String(), w.texts()...)
	check(err)
	t.Cleanup(func() { two.Close() })
	for _, d := range o.seconds {
		if d.does != "" {
			check(two.Behave(d.zone, d.does))
			continue
		}
		two.Remove(d.name, d.kind)
		if d.data != "" {
			check(two.Add(d.name + ". 300 IN " + d.kind + " " + d.data))
		}
	}
}

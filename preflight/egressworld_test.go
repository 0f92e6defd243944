package preflight_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"smtprelay/preflight"
)

// usual is what a case has of mail servers, clock and listener unless it says otherwise.
func (w *world) usual() {
	w.greets, w.private = map[string]preflight.Greeting{}, map[netip.Addr]bool{}
	w.seen = preflight.NewObservations()
	w.clock = preflight.Clock{Now: time.Now(), Synced: true, Known: true}
	w.plan.Submission = preflight.Submission{Name: "mail.example.net", Certificate: shows(certOf("mail.example.net", 60))}
}

// setEgress does what these say:
//
//	observed gmail=192.0.2.25 outlook=...  what mail servers see; yahoo stays silent
//	port25=closed|open|unsure|absent|refusing|redirected
//	banner=DURATION      the mail servers' clocks are so far ahead of ours
//	clock=unsynced|untold|YEAR
//	listener=NAME, certificate=none|expired|soon|early|other|lone|foreign|broken|botched, auth, listen=ADDR
//	temporary=ADDR       an IPv6 privacy address
//	used=ADDR,EHLO,AGE   a delivery that was
//	stun=ADDR            what two services that are asked over UDP saw
func (w *world) setEgress(key, value string) (done bool, err error) {
	switch key {
	case "discovery":
		w.plan.Policy.Discovery = value
	case "probe":
		w.plan.Policy.Probe = strings.Split(value, ",")
	case "observed":
	case "gmail", "outlook", "yahoo":
		g := usualGreeting(key + ".com")
		g.Hello = fmt.Sprintf("%s at your service, [%s]\nSIZE 1000", g.Host, value)
		w.greets[key+".com"] = g
	case "port25", "banner":
		for _, d := range preflight.DefaultProbe() {
			if err := w.answer(d, key, value); err != nil {
				return true, err
			}
		}
	case "clock":
		return true, w.setClock(value)
	case "listener":
		w.plan.Submission.Name = value
	case "auth":
		w.plan.Submission.Auth = true
	case "listen":
		a, err := netip.ParseAddrPort(value)
		w.plan.Listeners = append(w.plan.Listeners, a)
		return true, err
	case "certificate":
		return true, w.certificate(value)
	case "temporary":
		a, err := netip.ParseAddr(value)
		w.private[a] = true
		return true, err
	case "used":
		return true, w.used(strings.Split(value, ","))
	case "stun":
		a, err := netip.ParseAddr(value)
		preflight.NoteSTUN(w.seen, &w.plan.Sources[0], a, "stun.example.org", "whoami.example.net")
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

// used is told the way that delivery tells it: of the source that has the address, else
// of the first.
func (w *world) used(f []string) error {
	if len(f) != 3 {
		return errors.New("@ used=ADDR,EHLO,AGE")
	}
	a, err := netip.ParseAddr(f[0])
	age, err2 := time.ParseDuration(f[2])
	by := max(0, slices.IndexFunc(w.plan.Sources, func(s preflight.Source) bool { return s.Bind == f[0] }))
	preflight.NoteUse(w.seen, &w.plan.Sources[by], a, f[1], time.Now().Add(-age))
	return errors.Join(err, err2)
}

func usualGreeting(domain string) preflight.Greeting {
	return preflight.Greeting{
		Host: "mx." + domain, Addr: netip.MustParseAddr("198.51.100.99"), At: time.Now(), Code: 220,
		Banner: "mx7." + domain + " ESMTP", Hello: "mx7." + domain,
	}
}

func (w *world) answer(domain, key, value string) error {
	g := usualGreeting(domain)
	if key == "banner" {
		d, err := time.ParseDuration(value)
		g.Banner += " " + g.At.Add(d).Format(time.RFC1123Z)
		w.greets[domain] = g
		return err
	}
	switch value {
	case "open":
	case "closed":
		g.Code, g.Err = 0, "timed out"
	case "unsure":
		g = preflight.Greeting{Err: "MX of " + domain + ": SERVFAIL", Unsure: true}
	case "absent":
		g = preflight.Greeting{Err: "domain " + domain + " does not exist", Absent: true}
	case "refusing":
		g.Code, g.Banner, g.Hello = 554, "go away, 192.0.2.25", ""
	case "redirected":
		g.Banner, g.Hello, g.Names = "mx.isp.example.org ESMTP", "mx.isp.example.org", []string{"*.isp.example.org"}
	case "otherbanner":
		g.Banner, g.Names = "mx.isp.example.org ESMTP", []string{"*." + domain}
	default:
		return fmt.Errorf("port25=%s: no such way", value)
	}
	w.greets[domain] = g
	return nil
}

// Greet makes a world a preflight.Prober. An IPv6 source meets an IPv6 server.
func (w *world) Greet(_ context.Context, s preflight.Source, domain string) preflight.Greeting {
	g, ok := w.greets[domain]
	if !ok {
		g = usualGreeting(domain)
	}
	if strings.Contains(s.Bind, ":") && g.Addr.IsValid() {
		g.Addr = netip.MustParseAddr("2001:db8::99")
	}
	return g
}

func (w *world) setClock(how string) error {
	switch how {
	case "unsynced":
		w.clock.Synced = false
	case "untold":
		w.clock.Known = false
	default:
		at, err := time.Parse("2006", how)
		w.clock.Now = at
		return err
	}
	return nil
}

func (w *world) certificate(how string) error {
	l := &w.plan.Submission
	name := l.Name
	switch how {
	case "none":
		l.Certificate = nil
	case "expired":
		l.Certificate = shows(certOf(name, -1))
	case "soon":
		l.Certificate = shows(certOf(name, 6))
	case "other":
		l.Certificate = shows(certOf("www.example.net", 60))
	case "lone":
		c := *authorityCert(name)
		c.Certificate = c.Certificate[:1]
		l.Certificate = shows(&c)
	case "chain":
		l.Certificate = shows(authorityCert(name))
	case "foreign":
		c := *certOf(name, 60)
		c.PrivateKey = certOf(name, 61).PrivateKey
		l.Certificate = shows(&c)
	case "broken":
		l.Certificate = shows(&tls.Certificate{Certificate: [][]byte{{1, 2, 3}}})
	case "early":
		l.Certificate = shows(sign(template(name, 60, 24*time.Hour), nil))
	case "botched":
		l.Certificate = func() (*tls.Certificate, error) { return certOf(name, 60), errors.New("private key does not match") }
	default:
		return fmt.Errorf("certificate=%s: no such one", how)
	}
	return nil
}

// shows always shows the same.
func shows(c *tls.Certificate) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) { return c, nil }
}

// certOf makes a certificate that signed itself and is good for so many days more.
// Those of one name and age are one.
func certOf(name string, days int) *tls.Certificate {
	key := fmt.Sprint(name, days)
	certs.Lock()
	defer certs.Unlock()
	if certs.made[key] == nil {
		certs.made[key] = sign(template(name, days, -90*24*time.Hour), nil)
	}
	return certs.made[key]
}

var certs = struct {
	sync.Mutex
	made map[string]*tls.Certificate
}{made: map[string]*tls.Certificate{}}

func template(name string, days int, begin time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(begin), NotAfter: time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour),
	}
}

// authorityCert is signed by an authority that nobody knows, whose certificate is with it.
func authorityCert(name string) *tls.Certificate {
	ca := template("Example CA", 60, -time.Hour)
	ca.DNSNames, ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = nil, true, true, x509.KeyUsageCertSign
	issuer := sign(ca, nil)
	leaf := sign(template(name, 60, -time.Hour), issuer)
	leaf.Certificate = append(leaf.Certificate, issuer.Certificate[0])
	return leaf
}

func sign(tmpl *x509.Certificate, issuer *tls.Certificate) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	parent, by := tmpl, any(key)
	if issuer != nil {
		if parent, err = x509.ParseCertificate(issuer.Certificate[0]); err != nil {
			panic(err)
		}
		by = issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

package preflight

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"smtprelay/preflight/dns"
)

var machineChecks = []*Check{hostClock, listenerName, submitCert}

// Submission is what our own listeners show to clients.
type Submission struct {
	Name string // of the banner
	Auth bool   // clients may log in

	// Certificate is what clients are shown from now on. Its error says why that
	// is not what lies on disk. nil: no TLS.
	Certificate func() (*tls.Certificate, error)
}

// shown is a certificate to be looked at.
type shown struct{ *tls.Certificate }

var listenerName = &Check{
	ID:       "LISTENER-NAME",
	Scope:    ScopeHost,
	Title:    "the submission listener has a public name",
	Severity: Informational,
	Change:   "x",
	Why:      "it is good practice and nothing more: what our own clients are greeted with has no effect on delivery",
	Ref:      "RFC 5321 section 4.3.1",
	Needs:    []string{"DNS-REACHABLE"},
	Here:     true,
	Words: Words{
		How:       "Looks at the name in the banner of the submission listener: it has to be a host name with a domain, none of those that are never in public DNS, and one that the certificate is for. Nothing is asked of DNS.",
		Found:     `"relay01" is not fully qualified`,
		Expected:  "a public name",
		Mend:      `hostname = "mail.example.net"`,
		Ask:       "you, under [submission]",
		Quote:     "Note: all the greeting-type replies have the official name (the fully-qualified primary domain name) of the server host as the first word following the reply code.",
		Receivers: "None: only our own clients see it.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		s := p.Plan.Submission
		if s.Name == "" {
			return skip("no listener")
		}
		r := Remedy{
			Title: "Give the submission listener a public name",
			Who:   "you, under [submission]; it has no effect on delivery",
			Under: "[submission]",
		}
		for i := range p.Plan.Sources {
			if name, err := dns.Canonical(p.Plan.Sources[i].EHLO); err == nil && dns.IsHostname(name) {
				r.Setting = fmt.Sprintf("hostname = %q", name)
				break
			}
		}
		name, err := dns.Canonical(s.Name)
		if err != nil || !dns.IsHostname(name) {
			return fail(r, "a public name", "%q is not fully qualified", s.Name)
		}
		if rule, special := p.Plan.specialName(name); special {
			return fail(r, "a public name", "%s: .%s is never in public DNS", name, rule)
		}
		if s.Certificate == nil {
			return pass("%s", name)
		}
		c, _ := s.Certificate()
		if leaf := (shown{c}).leaf(); leaf != nil && leaf.VerifyHostname(name) != nil {
			return fail(r, "the name in the certificate", "the banner says %s, the certificate %s", name, list(leaf.DNSNames))
		}
		return pass("%s", name)
	},
}

// leaf is the listener's own certificate; nil when there is none that can be read.
func (s shown) leaf() *x509.Certificate {
	if s.Certificate == nil || len(s.Certificate.Certificate) == 0 {
		return nil
	}
	c, err := x509.ParseCertificate(s.Certificate.Certificate[0])
	if err != nil {
		return nil
	}
	return c
}

// certDays is how long before its end a certificate should have been renewed:
// what renews them by itself does so weeks before.
const certDays = 14

var submitCert = &Check{
	ID:       "SUBMIT-CERT",
	Scope:    ScopeHost,
	Title:    "clients can verify the submission listener",
	Severity: Recommended,
	Change:   "^",
	Why:      "applications that verify stop sending when it is over, and those that do not hand their passwords to anybody",
	Ref:      "RFC 4954 section 4; RFC 8314 section 3; RFC 9525 section 6",
	Needs:    []string{"DNS-REACHABLE"},
	Here:     true,
	Words: Words{
		How:       "Reads the certificate of the submission listener. It has to parse, the key has to belong to it, it has to be valid now and for more than 14 days, to be for the listener's name, and to come with the certificates of its issuers. Without one the check is skipped, unless AUTH is offered to other machines.",
		Found:     "it expires in 6 days",
		Expected:  "good for mail.example.net and more than 14 days",
		Mend:      `certificate = "/etc/relay/tls/fullchain.pem"`,
		Ask:       "you, under [submission]",
		Quote:     "A server implementation MUST implement a configuration in which it does NOT permit any plaintext password mechanisms, unless either the STARTTLS [SMTP-TLS] command has been negotiated ...",
		Receivers: "None: our own clients are who fail by it.",
		Varies:    "mandatory where AUTH is offered without TLS on an address that other machines can reach",
	},
	Run: func(_ context.Context, p *Probe) Result {
		s := p.Plan.Submission
		r := Remedy{
			Title:   "Renew the certificate of the submission listener",
			Who:     "you, under [submission]",
			Setting: `certificate = "/etc/relay/tls/fullchain.pem"`,
			Under:   "[submission]",
		}
		if s.Certificate == nil {
			if s.Auth && p.Plan.exposed() {
				r.Title, r.Steps = "Have passwords travel over TLS only", []string{"Set certificate and key_file, or listen on loopback only."}
				res := fail(r, "TLS", "AUTH is offered without TLS")
				res.Severity = Mandatory
				return res
			}
			return skip("no certificate is configured")
		}
		r.Steps = []string{"The file holds the certificate and after it those of its issuers. Clients that connect from then on are shown it; no restart is needed."}
		want := fmt.Sprintf("good for %s and more than %d days", s.Name, certDays)
		cert, err := s.Certificate()
		c := shown{cert}
		if fault := c.fault(s.Name, time.Now(), p.Plan.Policy.Private); fault != "" {
			return fail(r, want, "%s", fault)
		}
		until := c.leaf().NotAfter.UTC().Format(time.DateOnly)
		if err != nil {
			r.Title = "Mend the certificate of the submission listener on disk"
			return fail(r, want, "there is another on disk that cannot be used, and clients are shown the old one, good until %s: %v", until, err)
		}
		return pass("good for %s until %s", s.Name, until)
	},
}

// exposed tells whether we listen where others than this machine can connect.
func (p *Plan) exposed() bool {
	for _, l := range p.Listeners {
		if !l.Addr().Unmap().IsLoopback() {
			return true
		}
	}
	return false
}

// fault is what is wrong with the certificate; "" when nothing is.
func (s shown) fault(name string, now time.Time, private bool) string {
	leaf := s.leaf()
	if leaf == nil {
		return "the certificate cannot be read"
	}
	key, ok := s.PrivateKey.(crypto.Signer)
	if same, can := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !can || !same.Equal(key.Public()) {
		return "the key does not belong to the certificate"
	}
	left := leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		return "it is not valid before " + leaf.NotBefore.UTC().Format(time.DateOnly)
	case left <= 0:
		return "it expired on " + leaf.NotAfter.UTC().Format(time.DateOnly)
	case left <= certDays*24*time.Hour:
		return fmt.Sprintf("it expires in %d days", int(left.Hours())/24)
	}
	if err := leaf.VerifyHostname(name); err != nil {
		return fmt.Sprintf("it is for %s, not for %s", list(certNames(leaf)), name)
	}
	if missing := s.missing(leaf, now); missing != "" && !private {
		return "the certificate of its issuer is missing: " + missing
	}
	return ""
}

func certNames(c *x509.Certificate) (names []any) {
	for _, n := range c.DNSNames {
		names = append(names, n)
	}
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, a)
		}
	}
	if len(names) == 0 {
		names = append(names, "no name")
	}
	return names
}

// missing names the issuer whose certificate clients would have to find by
// themselves. A chain is complete when it leads to an authority that the system
// knows, or to one that is in the file itself.
func (s shown) missing(leaf *x509.Certificate, now time.Time) string {
	more := x509.NewCertPool()
	chain := []*x509.Certificate{leaf}
	for _, der := range s.Certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			more.AddCert(c)
			chain = append(chain, c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Intermediates: more, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return "" // known, or wrong in another way than by being incomplete
	}
	last := leaf
	for range chain {
		if last.CheckSignatureFrom(last) == nil || string(last.RawIssuer) == string(last.RawSubject) {
			return "" // of its own making, or of an authority that is with it
		}
		next := (*x509.Certificate)(nil)
		for _, c := range chain {
			if c != last && last.CheckSignatureFrom(c) == nil {
				next = c
			}
		}
		if next == nil {
			break
		}
		last = next
	}
	return last.Issuer.String()
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"smtprelay/preflight/dns"
)

var smartHostChecks = []*Check{smartHostNotSelf, smartHostReachable, smartHostTLS, smartHostAuth}

// named tells whether the smart host is given by a name that DNS has to resolve.
func named(s *SmartHost) bool {
	_, err := netip.ParseAddr(s.Host)
	return err != nil
}

var smartHostNotSelf = &Check{
	ID:       "SMARTHOST-NOT-SELF",
	Scope:    ScopeSmartHost,
	Title:    "the smart host is another machine",
	Severity: Mandatory,
	Change:   "=",
	Why:      "mail handed to ourselves goes round until it is thrown away",
	Ref:      "RFC 5321 section 6.3",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:       "Looks up the addresses of the smart host and compares address and port with our own listeners, those on all interfaces included. One of ours fails.",
		Found:     "192.0.2.200:587 is us (192.0.2.200)",
		Expected:  "another host",
		Mend:      "Name another smart host than ourselves",
		Ask:       "you, under [[smarthost]]",
		Quote:     `Simple counting of the number of "Received:" header fields in a message has proven to be an effective, although rarely optimal, method of detecting loops in mail systems.`,
		Receivers: "None: mail would never leave.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		s := p.SmartHost
		at, err := netip.ParseAddr(s.Host)
		all := []netip.Addr{at}
		if err != nil {
			all = nil
			for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
				a := p.ask(ctx, s.Host, t)
				if !definite(a) {
					return unknown("another host", a)
				}
				all = append(all, addrs(a)...)
			}
		}
		for _, a := range all {
			if p.ours(netip.AddrPortFrom(a, s.Port)) {
				return fail(Remedy{
					Title: "Name another smart host than ourselves",
					Who:   "you, under [[smarthost]]",
					Steps: []string{fmt.Sprintf("%s is an address that this relay listens on.", netip.AddrPortFrom(a, s.Port))},
				}, "another host", "%s is us (%s)", s.Name, a)
			}
		}
		return pass("%s is another host", s.Name)
	},
}

// ours tells whether we listen there.
func (p *Probe) ours(at netip.AddrPort) bool {
	for _, l := range p.Plan.Listeners {
		if l.Port() != at.Port() {
			continue
		}
		if l.Addr().Unmap() == at.Addr().Unmap() {
			return true
		}
		if l.Addr().IsUnspecified() && (at.Addr().IsLoopback() || at.Addr().IsUnspecified() || slices.Contains(p.interfaces(), at.Addr())) {
			return true
		}
	}
	return false
}

var smartHostReachable = &Check{
	ID:       "SMARTHOST-REACHABLE",
	Scope:    ScopeSmartHost,
	Title:    "the smart host greets us",
	Severity: Mandatory,
	Change:   "=",
	Why:      "when direct delivery is off this is the only way out",
	Ref:      "RFC 5321 section 3.1",
	Needs:    []string{"SMARTHOST-NOT-SELF"},
	Words: Words{
		How:       "Connects to the smart host, waits for its greeting, says EHLO and QUIT, within 15 s. A refusal or a network that is not there fails; what may pass by itself leaves it unknown. No message is sent.",
		Found:     "192.0.2.200:587: connect: no route to host",
		Expected:  "220",
		Mend:      "Host and port of [[smarthost]]: is a firewall between? Is it smtps:// where it should be smtp://, or the other way?",
		Ask:       "you; else whoever runs it",
		Quote:     "An SMTP session is initiated when a client opens a connection to a server and the server responds with an opening message.",
		Receivers: "The smart host.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Try == nil {
			return skip("not connected to")
		}
		t := p.try(ctx)
		if t.Connected && t.Err == "" {
			return pass("%s answers", p.SmartHost.Name)
		}
		r := fail(Remedy{
			Title: "Reach the smart host " + p.SmartHost.Name,
			Who:   "you; else whoever runs it",
			Steps: []string{"Host and port of [[smarthost]]: is a firewall between? Is it smtps:// where it should be smtp://, or the other way?"},
		}, "220", "%s: %s", p.SmartHost.Name, t.Err)
		if t.Temporary {
			r.Status = Unknown
		}
		return r
	},
}

var smartHostTLS = &Check{
	ID:       "SMARTHOST-TLS",
	Scope:    ScopeSmartHost,
	Title:    "the smart host proves who it is",
	Severity: Mandatory,
	Change:   "v",
	Why:      "a password and all mail are given to it: they must not go to whoever answers",
	Ref:      "RFC 3207 section 4.1; RFC 9525 section 6",
	Needs:    []string{"SMARTHOST-REACHABLE"},
	Words: Words{
		How:       "Starts TLS on that connection (STARTTLS, or at once for smtps://) and verifies the certificate for the name in `url`, by the system's authorities or `ca_file`. Anything else fails with tls = \"required\"; \"opportunistic\" passes all, \"none\" skips it.",
		Found:     "self-signed certificate",
		Expected:  "verified",
		Mend:      `ca_file = "/etc/relay/smarthost-ca.pem"`,
		Ask:       "whoever runs the smart host; with an authority of your own, you",
		Quote:     "A SMTP client would probably only want to authenticate an SMTP server whose server certificate has a domain name that is the domain name that the client thought it was connecting to.",
		Receivers: "The smart host.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		t, s := p.try(ctx), p.SmartHost
		switch {
		case s.TLS == "none":
			return skip(`tls = "none"`)
		case t.TLS != "" && t.Verified:
			return pass("%s, verified", t.TLS)
		case s.TLS == "opportunistic" && t.TLS != "":
			return pass("%s, not verified: tls = \"opportunistic\"", t.TLS)
		case s.TLS == "opportunistic":
			return pass("in clear: tls = \"opportunistic\"")
		}
		found := "no TLS"
		if t.TLS != "" {
			found = t.TLS + ", not verified"
		}
		if t.TLSErr != "" {
			found = t.TLSErr
		}
		return fail(Remedy{
			Title:   "Have the smart host's certificate verified",
			Who:     "whoever runs " + s.Host + "; with a certificate authority of your own, you",
			Setting: `ca_file = "/etc/relay/smarthost-ca.pem"`,
			Under:   "[[smarthost]]",
			Instead: "with a certificate authority of your own",
			Steps: []string{
				"The certificate has to be good for the name in `url`.",
				fmt.Sprintf("openssl s_client -connect %s:%d%s", s.Host, s.Port, starttls(s)),
			},
		}, "verified", "%s", found)
	},
}

func starttls(s *SmartHost) string {
	if s.Implicit {
		return ""
	}
	return " -starttls smtp"
}

var smartHostAuth = &Check{
	ID:       "SMARTHOST-AUTH",
	Scope:    ScopeSmartHost,
	Title:    "the smart host takes our credentials",
	Severity: Mandatory,
	Change:   "=",
	Why:      "it relays for those it knows, and for nobody else",
	Ref:      "RFC 4954 section 6",
	Needs:    []string{"SMARTHOST-REACHABLE"},
	Words: Words{
		How:       "Logs in with the user of `url` and the password file, over verified TLS unless `tls` says otherwise. A definite refusal fails, one that may pass leaves it unknown. Without a user it is skipped. No message is sent.",
		Found:     "535 5.7.8 no",
		Expected:  "235",
		Mend:      "User and password file of [[smarthost]].",
		Ask:       "you; else whoever runs it",
		Quote:     "This response to the AUTH command indicates that the authentication failed due to invalid or insufficient authentication credentials.",
		Receivers: "The smart host.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		t, s := p.try(ctx), p.SmartHost
		switch {
		case s.User == "":
			return skip("no user")
		case t.Authed:
			return pass("%s is let in", s.User)
		case s.TLS != "none" && s.TLS != "opportunistic" && !t.Verified:
			return awaits("SMARTHOST-TLS")
		}
		r := fail(Remedy{
			Title: "Correct the credentials for " + s.Name,
			Who:   "you; else whoever runs it",
			Steps: []string{"User and password file of [[smarthost]]."},
		}, "235", "%s", t.AuthErr)
		if t.AuthErr == "" {
			r.Found = "AUTH was not possible"
		}
		if !t.Refused {
			r.Status = Unknown
		}
		return r
	},
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"smtprelay/preflight/dns"
)

var resolverChecks = []*Check{dnsTCP, dnsHonest, dnsOwnResolver, dnsValidates, dnsHostsOverride}

var dnsTCP = &Check{
	ID:       "DNS-TCP",
	Scope:    ScopeHost,
	Title:    "the resolvers answer over TCP",
	Severity: Recommended,
	Change:   "v",
	Why:      "long answers (DKIM keys, many TXT records) come over TCP only; without it they are never seen",
	Ref:      "RFC 7766 section 5; RFC 9210 section 3",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:       "Opens a TCP connection to each resolver and asks it one question. One that refuses the connection fails the check. A timeout leaves it unknown, for a slow path looks the same.",
		Found:     "TCP refused by 127.0.0.1:53",
		Expected:  "open",
		Mend:      "Open tcp/53 to the resolver",
		Ask:       "whoever runs this machine and its network",
		Quote:     "All general-purpose DNS implementations MUST support both UDP and TCP ...",
		Receivers: "None sees it; what we miss without TCP is long answers about ourselves.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Lines == nil {
			return skip("not asked")
		}
		var closed, open, good []string
		for _, l := range p.run.out.Lines(ctx) {
			switch {
			case l.Err == "":
				good = append(good, l.Server.String())
			case l.Closed:
				closed = append(closed, "TCP refused by "+l.Server.String())
			default:
				open = append(open, "TCP to "+l.Server.String()+": "+l.Err)
			}
		}
		r := Remedy{
			Title: "Open tcp/53 to the resolver", Who: "whoever runs this machine and its network",
			Steps: []string{"dig . ns +tcp"},
		}
		switch {
		case len(closed) > 0:
			return fail(r, "open", "%s", list(closed))
		case len(open) > 0:
			return Result{Status: Unknown, Found: list(open), Expected: "open", Remedy: r}
		}
		return pass("%s answers over TCP", list(good))
	},
}

var dnsOwnResolver = &Check{
	ID:       "DNS-OWN-RESOLVER",
	Scope:    ScopeHost,
	Title:    "the resolver is not one of the big public ones",
	Severity: Informational,
	Change:   "^",
	Why:      "lists of bad addresses refuse questions that come through public resolvers, so nobody there can tell whether we are listed",
	Needs:    []string{"DNS-REACHABLE"},
	Outward:  true,
	Words: Words{
		How:       "Asks the resolver for o-o.myaddr.l.google.com TXT, whose answer is the address that the question came from. It fails where that address is one from which Google, Cloudflare, Cisco OpenDNS or Quad9 ask. A TXT without an address skips it.",
		Found:     "queries leave from 172.253.4.5 (Google)",
		Expected:  "own resolver",
		Mend:      `servers = ["127.0.0.1:53"]`,
		Ask:       "whoever runs this machine and its network; the setting goes under [dns]",
		Basis:     "No standard demands it. Spamhaus answers 127.255.255.254 to questions that come through public resolvers, instead of telling whether an address is listed.",
		Receivers: "None sees it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.ask(ctx, p.landmarks().Whoami, dns.TypeTXT)
		if !definite(a) {
			return unknown("own resolver", a)
		}
		from := toldAddr(a)
		if !from.IsValid() {
			return skip(p.landmarks().Whoami + " told no address")
		}
		if operator := publicResolver(from); operator != "" {
			r := betterResolver("Run a resolver of your own, such as unbound, on this machine")
			return fail(r, "own resolver", "queries leave from %s (%s)", from, operator)
		}
		return pass("queries leave from %s", from)
	},
}

// toldAddr is the first text that is an address.
func toldAddr(a *dns.Answer) netip.Addr {
	for _, r := range a.Records {
		if addr, err := netip.ParseAddr(strings.TrimSpace(r.Text)); err == nil {
			return addr.Unmap().WithZone("")
		}
	}
	return netip.Addr{}
}

var dnsValidates = &Check{
	ID:       "DNS-VALIDATES",
	Scope:    ScopeHost,
	Title:    "the resolver validates DNSSEC, and its word can be trusted",
	Severity: Informational,
	Change:   "x",
	Why:      "only then can a receiver's DANE records be believed; mail is delivered without as well",
	Ref:      "RFC 4035 section 3.2.3; RFC 7672 section 2.2",
	Needs:    []string{"DNS-REACHABLE"},
	Outward:  true,
	Words: Words{
		How:       "Asks for the name servers of com, which is signed, and for dnssec-failed.org, whose signature is wrong on purpose. It passes where the first is marked as secure (AD), the second gets SERVFAIL, and the resolver is on this machine: what comes over the network can be changed on the way.",
		Found:     "not validating: the resolver hands out dnssec-failed.org, whose signature is wrong",
		Expected:  "validating",
		Mend:      "Run a validating resolver, such as unbound with its trust anchor, on this machine",
		Ask:       "whoever runs this machine and its network",
		Quote:     "The name server side of a security-aware recursive name server MUST NOT set the AD bit in a response unless the name server considers all RRsets in the Answer and Authority sections of the response to be authentic.",
		Receivers: "None sees it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		const expected = "validating"
		signed := p.ask(ctx, p.landmarks().Signed, dns.TypeNS)
		bogus := p.ask(ctx, p.landmarks().Bogus, dns.TypeA)
		r := betterResolver("Run a validating resolver, such as unbound with its trust anchor, on this machine")
		r.Steps = []string{fmt.Sprintf("dig @127.0.0.1 %s. ns +dnssec", p.landmarks().Signed)}
		switch {
		case !definite(signed):
			return unknown(expected, signed)
		case bogus.Outcome == dns.Present:
			return fail(r, expected, "not validating: the resolver hands out %s, whose signature is wrong", bogus.Question)
		case absent(bogus):
			return skip(bogus.Question + " does not exist")
		case bogus.Rcode != "SERVFAIL":
			return unknown(expected, bogus)
		case signed.Secure:
			return pass("%s validates", signed.Server)
		case remote(signed.Server):
			return fail(r, expected, "%s validates, but its word comes over the network, where anybody may change it", signed.Server)
		}
		return fail(r, expected, "not validating: %s does not mark %s as secure", signed.Server, signed.Question)
	},
}

// remote tells whether a resolver is on another machine.
func remote(server string) bool {
	at, err := netip.ParseAddrPort(server)
	return err == nil && !at.Addr().Unmap().IsLoopback()
}

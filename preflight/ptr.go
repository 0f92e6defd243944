package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"smtprelay/preflight/dns"
)

var ptrChecks = []*Check{ptrExists, ptrNameValid, ptrForwardConfirmed, ptrAllConfirmed, ptrSingle, ptrTargetNotAlias,
	ptrNotGeneric, ptrDelegation}

var ptrExists = &Check{
	ID:       "PTR-EXISTS",
	Scope:    ScopeSource,
	Title:    "the address has a name",
	Severity: Mandatory,
	Change:   "=",
	Why:      "Gmail, Outlook, Yahoo, GMX, T-Online and many others refuse mail from an address without a name",
	Ref:      "RFC 1912 section 2.1",
	Needs:    []string{"EGRESS-PUBLIC"},
	Words: Words{
		How:      "Turns the address round (octets under in-addr.arpa, all 32 nibbles under ip6.arpa) and asks for PTR, following aliases. Any name passes. NXDOMAIN, NODATA and an alias that leads nowhere fail, once the zone's own servers say the same. SERVFAIL and silence leave it unknown.",
		Found:    "192.0.2.25 has no name (NXDOMAIN)",
		Expected: "mail.example.net",
		Mend:     "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
		Do:       Add,
		Ask:      "whoever runs the reverse zone: the provider of the address as a rule",
		Quote:    "For every IP address, there should be a matching PTR record in the in-addr.arpa domain.",
		Basis:    `Google's guidelines for senders: "Ensure that sending domains or IPs have valid forward and reverse DNS records, also referred to as PTR records." Outlook.com's policies: "Email servers must have valid reverse DNS records."`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.names(ctx)
		expected := p.wanted()
		if expected == "" {
			expected = "a name"
		}
		switch {
		case a.Outcome == dns.Present:
			return pass("%s is %s", p.addr(), list(hosts(a)))
		case a.Outcome == dns.Temp:
			r := unknown(expected, a)
			r.Remedy.Title = fmt.Sprintf("Find out why DNS has no answer to who %s is", p.addr())
			r.Remedy.Who = "whoever runs " + parent(dns.Reverse(p.addr())) + ": receivers that ask get no answer either, and send us away for now"
			r.Remedy.Steps = []string{fmt.Sprintf("dig %s ptr +trace", dns.Reverse(p.addr()))}
			return r
		}
		return fail(p.renaming(ctx, a, Add), expected, "%s has no name (%s)", p.addr(), outcome(a))
	},
}

// names asks for the names of the source's address.
func (p *Probe) names(ctx context.Context) *dns.Answer {
	return p.ask(ctx, dns.Reverse(p.addr()), dns.TypePTR)
}

// valid are the names among a PTR answer that can be host names on the internet.
func (p *Probe) valid(a *dns.Answer) (names []string) {
	for _, n := range hosts(a) {
		if _, special := p.Plan.specialName(n); !special && dns.IsHostname(n) {
			names = append(names, n)
		}
	}
	return names
}

var ptrNameValid = &Check{
	ID:       "PTR-NAME-VALID",
	Scope:    ScopeSource,
	Title:    "the address's name is a host name",
	Severity: Mandatory,
	Change:   "v",
	Why:      "a name that cannot be looked up is no name: receivers treat the address as nameless",
	Ref:      "RFC 1123 section 2.1",
	Needs:    []string{"PTR-EXISTS"},
	Words: Words{
		How:       "Looks at the names that the address has. One of them has to be a host name: letters, digits and inner hyphens, labels of 63 octets at most, two labels at least, the last of them no number. It must be none that public DNS never holds. Other names are passed over from here on.",
		Found:     `"mail_out.example.net" is not a public host name`,
		Expected:  "a host name",
		Mend:      "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
		Do:        Replace,
		Ask:       "whoever runs the reverse zone",
		Quote:     "Host software MUST handle host names of up to 63 characters and SHOULD handle host names of up to 255 characters.",
		Receivers: "Those that want a name: one that cannot be looked up is none.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.names(ctx)
		if names := p.valid(a); len(names) > 0 {
			return pass("%s is a host name", names[0])
		}
		return fail(p.renaming(ctx, a, Replace), "a host name", "%s is not a public host name", list(quoted(hosts(a))))
	},
}

func quoted(names []string) (all []string) {
	for _, n := range names {
		all = append(all, `"`+n+`"`) // escaped already, as a name in a zone file
	}
	return all
}

// maxNames are looked at when an address has more names than anybody needs.
const maxNames = 16

// forward is a name of the address and where it leads.
type forward struct {
	name   string
	answer *dns.Answer
}

func (p *Probe) forwards(ctx context.Context) (fs []forward) {
	names := p.valid(p.names(ctx))
	if i := slices.Index(names, p.ehlo()); i > 0 { // the one that matters first
		names[0], names[i] = names[i], names[0]
	}
	for _, n := range names[:min(len(names), maxNames)] {
		fs = append(fs, forward{n, p.ask(ctx, n, family(p.addr()))})
	}
	return fs
}

func (f forward) confirms(addr netip.Addr) bool { return holds(f.answer, addr) }

func (f forward) String() string {
	if f.answer.Outcome == dns.Present {
		return fmt.Sprintf("%s is %s", f.name, list(addrs(f.answer)))
	}
	return fmt.Sprintf("%s has no %s record (%s)", f.name, typeName(f.answer.Type), outcome(f.answer))
}

var ptrForwardConfirmed = &Check{
	ID:       "PTR-FORWARD-CONFIRMED",
	Scope:    ScopeSource,
	Title:    "the address's name leads back to it",
	Severity: Mandatory,
	Change:   "=",
	Why:      "anybody can claim any name in his own reverse zone; Gmail and most others believe only a name that points back",
	Ref:      "RFC 1912 section 2.1",
	Needs:    []string{"PTR-NAME-VALID"},
	Words: Words{
		How:      "Asks for the addresses of each valid name of the address: A for an IPv4 source, AAAA for an IPv6 one. One name whose answer holds the address passes. Where none does, a question without answer leaves it unknown; definite answers fail it. Names beyond the sixteenth are not asked for.",
		Found:    "mail.example.net is 192.0.2.99",
		Expected: "contains 192.0.2.25",
		Mend:     "mail.example.net. 3600 IN A 192.0.2.25",
		Do:       Replace,
		Ask:      "whoever runs the zone of the name",
		Quote:    "Make sure your PTR and A records match.",
		Basis:    `Google's guidelines for senders: "Ensure that sending domains or IPs have valid forward and reverse DNS records, also referred to as PTR records."`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		addr, fs := p.addr(), p.forwards(ctx)
		expected := "contains " + addr.String()
		for _, f := range fs {
			if f.confirms(addr) {
				return pass("%s is %s", f.name, addr)
			}
		}
		for _, f := range fs {
			if !definite(f.answer) {
				return unknown(expected, f.answer)
			}
		}
		return fail(p.confirming(ctx, fs), expected, "%s", list(fs))
	},
}

// confirming makes name and address agree: by the name's address record if it is
// the name we call ourselves, else by giving the address that name.
func (p *Probe) confirming(ctx context.Context, fs []forward) Remedy {
	if !p.named() {
		return p.pointing(ctx, fs[0].answer)
	}
	ehlo := p.ehlo()
	for _, f := range fs {
		if f.name == ehlo {
			return p.pointing(ctx, f.answer)
		}
	}
	r := p.renaming(ctx, p.names(ctx), Replace)
	p.agreeing(ctx, &r, ehlo)
	return r
}

var ptrAllConfirmed = &Check{
	ID:       "PTR-ALL-CONFIRMED",
	Scope:    ScopeSource,
	Title:    "every name of the address leads back to it",
	Severity: Recommended,
	Change:   "x",
	Why:      "Postfix and others test only the first name they get, and the order changes with every answer",
	Ref:      "RFC 1912 section 2.1; RFC 2181 section 10.2",
	Needs:    []string{"PTR-FORWARD-CONFIRMED"},
	Words: Words{
		How:      "Asks what PTR-FORWARD-CONFIRMED asks, of every valid name. Each has to lead back to the address. One that definitely does not fails it, one without answer leaves it unknown.",
		Found:    "former.example.org has no A record (NXDOMAIN)",
		Expected: "every name confirms",
		Mend:     "25.2.0.192.in-addr.arpa. 3600 IN PTR former.example.org.",
		Do:       Remove,
		Ask:      "whoever runs the reverse zone",
		Quote:    "Make sure your PTR and A records match.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		addr, owner := p.addr(), p.names(ctx)
		r := Remedy{Title: fmt.Sprintf("Take the stale names of %s away", addr)}
		var stale []forward
		for _, f := range p.forwards(ctx) {
			switch {
			case f.confirms(addr):
			case !definite(f.answer):
				return unknown("every name confirms", f.answer)
			default:
				stale = append(stale, f)
				r.Records = append(r.Records, record(Remove, owner.Name, "PTR", absolute(f.name)))
			}
		}
		if len(stale) == 0 {
			return pass("every name of %s leads back to it", addr)
		}
		p.reverse(ctx, &r, owner)
		return fail(r, "every name confirms", "%s", list(stale))
	},
}

var ptrSingle = &Check{
	ID:       "PTR-SINGLE",
	Scope:    ScopeSource,
	Title:    "the address has one name",
	Severity: Recommended,
	Change:   "x",
	Why:      "several names are legal, but a receiver that looks at one of them may see one that is not in our EHLO",
	Ref:      "RFC 2181 section 10.2",
	Needs:    []string{"PTR-EXISTS"},
	Words: Words{
		How:       "Counts the PTR records of the address. One passes, more fail. The record to keep is that of the EHLO name, else one that leads back.",
		Found:     "2 names: mail.example.net, www.example.net",
		Expected:  "1",
		Mend:      "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
		Do:        Replace,
		Ask:       "whoever runs the reverse zone",
		Quote:     "There is no implication in that section that only one PTR record is permitted for a name.",
		Basis:     "So several are legal; a receiver that looks at one of them decides by whichever comes first.",
		Receivers: "Those that compare the EHLO name with the first name they get.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.names(ctx)
		if len(a.Records) == 1 {
			return pass("%s has one name", p.addr())
		}
		names := hosts(a)
		r := Remedy{
			Title:   fmt.Sprintf("Leave %s one name", p.addr()),
			Records: []Record{record(Replace, a.Name, "PTR", absolute(p.kept(ctx, names)))},
		}
		p.reverse(ctx, &r, a)
		return fail(r, "1", "%d names: %s", len(names), list(names))
	},
}

// kept is the one name that the address is to have: that of the EHLO, else one
// that leads back, else the one that PTR-FORWARD-CONFIRMED has lead back.
func (p *Probe) kept(ctx context.Context, names []string) string {
	if p.named() {
		return p.ehlo()
	}
	fs := p.forwards(ctx)
	for _, f := range fs {
		if f.confirms(p.addr()) {
			return f.name
		}
	}
	if len(fs) > 0 {
		return fs[0].name
	}
	return cmp.Or(p.wanted(), names[0])
}

var ptrTargetNotAlias = &Check{
	ID:       "PTR-TARGET-NOT-ALIAS",
	Scope:    ScopeSource,
	Title:    "the address's name is no alias",
	Severity: Recommended,
	Change:   "x",
	Why:      "a reverse record must name a host and not an alias; some receivers do not follow it",
	Ref:      "RFC 1912 section 2.1; RFC 2181 section 10.2",
	Needs:    []string{"PTR-NAME-VALID"},
	Words: Words{
		How:       "Asks for the addresses of each valid name of the address and looks at the way to them. A CNAME on it fails.",
		Found:     "mail.example.net is an alias of srv1.example.net",
		Expected:  "an address record",
		Mend:      "mail.example.net. 3600 IN A 192.0.2.25",
		Do:        Replace,
		Ask:       "whoever runs the zone of the name",
		Quote:     "PTR records must point back to a valid A record, not a alias defined by a CNAME.",
		Receivers: "None is known to refuse for it alone.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		r := Remedy{}
		var found []string
		for _, f := range p.forwards(ctx) {
			if !definite(f.answer) {
				return unknown("an address record", f.answer)
			}
			if len(f.answer.Chain) > 0 {
				r = r.with(p.unaliasing(ctx, f.answer, f.name == p.ehlo() || !p.named()))
				found = append(found, fmt.Sprintf("%s is an alias of %s", f.name, f.answer.Chain[0]))
			}
		}
		if len(found) > 0 {
			return fail(r, "an address record", "%s", list(found))
		}
		return pass("%s is no alias", list(p.valid(p.names(ctx))))
	},
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"

	"smtprelay/preflight/dns"
)

var domainChecks = []*Check{senderResolves, senderSOA, mxPresent, mxNotNull, mxNotIP, mxNotAlias, mxResolves}

// exchangers asks for the MX records of the sender's envelope domain.
func (p *Probe) exchangers(ctx context.Context) *dns.Answer {
	return p.ask(ctx, p.envelope(), dns.TypeMX)
}

// receiving has mail for the domain go to an exchanger, whose name only the
// operator knows.
func (p *Probe) receiving(a *dns.Answer, do Change) Remedy {
	return Remedy{
		Title:   "Say who receives mail for " + a.Question,
		Who:     "whoever runs the zone of " + a.Name,
		Records: []Record{record(do, a.Name, "MX", "10 mx."+absolute(a.Name))},
		Steps: append([]string{"mx." + a.Name + " stands for the server that receives your mail; it may be a provider's. It need not be this relay."},
			elsewhere(a)...),
	}
}

var senderResolves = &Check{
	ID:       "SENDER-RESOLVES",
	Scope:    ScopeSender,
	Title:    "the sender domain can receive mail",
	Severity: Mandatory,
	Change:   "v",
	Why:      "Postfix (450 4.1.8), Yahoo and Apple refuse a sender whose domain could not take a bounce",
	Ref:      "RFC 5321 section 2.3.5; RFC 5321 section 5.1",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:      "Asks for MX of the MAIL FROM domain, and where there is none for A and AAAA. Any of them passes. A definite answer to all three without one fails.",
		Found:    "example.net has no MX, A or AAAA record (NODATA)",
		Expected: "an MX, A or AAAA record",
		Mend:     "example.net. 3600 IN MX 10 mx.example.net.",
		Do:       Add,
		Ask:      "whoever runs the zone of the domain",
		Quote:    "Only resolvable, fully-qualified domain names (FQDNs) are permitted when domain names are used in SMTP.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		const expected = "an MX, A or AAAA record"
		mx := p.exchangers(ctx)
		if mx.Outcome == dns.Present {
			return pass("%s has an MX record", mx.Question)
		}
		if !absent(mx) && mx.Outcome != dns.Broken {
			return unknown(expected, mx)
		}
		for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
			switch a := p.ask(ctx, p.envelope(), t); a.Outcome {
			case dns.Present:
				return pass("%s has an %s record", a.Question, typeName(t))
			case dns.Temp:
				return unknown(expected, a)
			}
		}
		return fail(p.receiving(mx, Add), expected, "%s has no MX, A or AAAA record (%s)", mx.Question, outcome(mx))
	},
}

var mxPresent = &Check{
	ID:       "MX-PRESENT",
	Scope:    ScopeSender,
	Title:    "the sender domain has an MX record",
	Severity: Informational,
	Change:   "x",
	Why:      "bounces and replies find their way by it; the address record serves too, but nobody maintains it for mail",
	Ref:      "RFC 5321 section 5.1",
	Needs:    []string{"SENDER-RESOLVES"},
	Words: Words{
		How:       "Asks for MX of the MAIL FROM domain. A domain that has only an address fails, which counts for nothing: mail for it goes to that address. The exchangers need not be this relay, and are never compared with it.",
		Found:     "implicit: example.net has only an address",
		Expected:  "MX",
		Mend:      "example.net. 3600 IN MX 10 mx.example.net.",
		Do:        Add,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "If an empty list of MXs is returned, the address is treated as if it was associated with an implicit MX RR, with a preference of 0, pointing to that host.",
		Receivers: "None is known to act on it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.exchangers(ctx)
		switch {
		case a.Outcome == dns.Present:
			return pass("%s", outcome(a))
		case !definite(a):
			return unknown("MX", a)
		}
		return fail(p.receiving(a, Add), "MX", "implicit: %s has only an address", a.Question)
	},
}

// maxExchangers of a domain are looked at.
const maxExchangers = 32

// mxRecords are the exchangers for a check that has nothing to say without any.
func (p *Probe) mxRecords(ctx context.Context) (*dns.Answer, *Result) {
	a := p.exchangers(ctx)
	switch {
	case absent(a):
		r := skip("no MX record")
		return a, &r
	case a.Outcome != dns.Present:
		r := unknown("MX", a)
		return a, &r
	}
	return a, nil
}

var mxNotNull = &Check{
	ID:       "MX-NOT-NULL",
	Scope:    ScopeSender,
	Title:    "the sender domain has not said that it takes no mail",
	Severity: Mandatory,
	Change:   "v",
	Why:      "Postfix refuses senders that could not take a bounce (550 5.7.27), and so does Yahoo",
	Ref:      "RFC 7505 section 4.2",
	Needs:    []string{"SENDER-RESOLVES"},
	Words: Words{
		How:      "Looks at the MX records of the MAIL FROM domain. A single one whose exchanger is the root (`MX 0 .`) says that the domain takes no mail, and fails.",
		Found:    "null MX: 0 .",
		Expected: "a real MX",
		Mend:     "example.net. 3600 IN MX 10 mx.example.net.",
		Do:       Replace,
		Ask:      "whoever runs the zone of the domain; or send from another domain",
		Quote:    "... mail systems SHOULD NOT publish a null MX record for domains that they use in RFC5321.MailFrom or RFC5322.From addresses.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a, r := p.mxRecords(ctx)
		if r != nil && r.Status == Skip {
			return pass("no null MX")
		} else if r != nil {
			return *r
		}
		for _, rr := range a.Records {
			if rr.Host == "" {
				fix := p.receiving(a, Replace)
				fix.Steps = append(fix.Steps, "Or send from another domain, one that takes replies.")
				return fail(fix, "a real MX", "null MX: %s", outcome(a))
			}
		}
		return pass("no null MX")
	},
}

var mxNotIP = &Check{
	ID:       "MX-NOT-IP",
	Scope:    ScopeSender,
	Title:    "the sender domain's exchangers are names",
	Severity: Recommended,
	Change:   "x",
	Why:      "an MX names a host; an address in its place is a name that does not exist",
	Ref:      "RFC 5321 section 5.1",
	Needs:    []string{"MX-NOT-NULL"},
	Words: Words{
		How:       "Looks at the exchangers in the MX records of the MAIL FROM domain. One that reads as an IP address fails: as a name it does not exist.",
		Found:     "MX 10 192.0.2.10. is an address",
		Expected:  "a name",
		Mend:      "example.net. 3600 IN MX 10 mx.example.net.",
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "When a domain name associated with an MX RR is looked up and the associated data field obtained, the data field of that response MUST contain a domain name.",
		Receivers: "Those that send bounces and replies to the domain.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a, r := p.mxRecords(ctx)
		if r != nil {
			return *r
		}
		fix := Remedy{Title: "Name the exchangers of " + a.Question, Who: "whoever runs the zone of " + a.Name}
		var found []string
		next := 1
		for _, rr := range a.Records {
			ip, err := netip.ParseAddr(rr.Host)
			if err != nil {
				continue
			}
			found = append(found, "MX "+data(rr)+" is an address")
			name, there := p.exchangerName(ctx, a.Name, ip, &next)
			fix.Records = append(fix.Records, record(Remove, a.Name, "MX", data(rr)),
				record(Add, a.Name, "MX", fmt.Sprintf("%d %s", rr.Pref, absolute(name))))
			if !there {
				fix.Records = append(fix.Records, record(Add, name, familyName(ip), ip.String()))
			}
		}
		if len(found) > 0 {
			return fail(fix, "a name", "%s", list(found))
		}
		return pass("every exchanger is a name")
	},
}

// exchangerName finds a name for an address, the next from mx, mx2, mx3 that is
// free; there means that it leads to the address already.
func (p *Probe) exchangerName(ctx context.Context, domain string, ip netip.Addr, next *int) (name string, there bool) {
	for ; *next <= maxExchangers; *next++ {
		name = "mx." + domain
		if *next > 1 {
			name = fmt.Sprintf("mx%d.%s", *next, domain)
		}
		a := p.aside(ctx, name, family(ip))
		if there = holds(a, ip); there || a.Outcome == dns.NoName || !definite(a) {
			break
		}
	}
	*next++
	return name, there
}

var mxNotAlias = &Check{
	ID:       "MX-NOT-ALIAS",
	Scope:    ScopeSender,
	Title:    "the sender domain's exchangers are no aliases",
	Severity: Recommended,
	Change:   "x",
	Why:      "an exchanger must not be an alias; some senders do not follow it and your bounces are lost",
	Ref:      "RFC 2181 section 10.3; RFC 5321 section 5.1",
	Needs:    []string{"MX-NOT-IP"},
	Words: Words{
		How:       "Asks for A of each exchanger of the MAIL FROM domain, of 32 at most. A CNAME at its name fails.",
		Found:     "mx.example.net is an alias of in.isp.example.org",
		Expected:  "an address record",
		Mend:      "mx.example.net. 3600 IN A 192.0.2.10",
		Do:        Replace,
		Ask:       "whoever runs the zone of the exchanger",
		Quote:     "The domain name used as the value of a NS resource record, or part of the value of a MX resource record must not be an alias.",
		Receivers: "Those that send bounces and replies to the domain: some follow an alias, some do not.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a, r := p.mxRecords(ctx)
		if r != nil {
			return *r
		}
		fix := Remedy{}
		var found []string
		for _, rr := range a.Records[:min(len(a.Records), maxExchangers)] {
			addr := p.ask(ctx, rr.Host, dns.TypeA)
			if len(addr.Chain) > 0 {
				fix = fix.with(p.unaliasing(ctx, addr, false))
				found = append(found, fmt.Sprintf("%s is an alias of %s", rr.Host, addr.Chain[0]))
			} else if !definite(addr) {
				return unknown("an address record", addr)
			}
		}
		if len(found) > 0 {
			return fail(fix, "an address record", "%s", list(found))
		}
		return pass("no exchanger is an alias")
	},
}

var mxResolves = &Check{
	ID:       "MX-RESOLVES",
	Scope:    ScopeSender,
	Title:    "every exchanger of the sender domain has a public address",
	Severity: Recommended,
	Change:   "x",
	Why:      "an exchanger that cannot be reached loses or delays bounces and replies",
	Ref:      "RFC 5321 section 5.1",
	Needs:    []string{"MX-NOT-IP"},
	Words: Words{
		How:       "Asks for A and AAAA of each exchanger of the MAIL FROM domain, of 32 at most. Each needs a public address. One without fails, if both answers are definite.",
		Varies:    "mandatory where no exchanger has an address at all: nobody can answer such a sender, and receivers that try its address refuse it",
		Found:     "mx2.example.net has no address (NXDOMAIN)",
		Expected:  "all",
		Mend:      "example.net. 3600 IN MX 20 mx2.example.net.",
		Do:        Remove,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "That domain name, when queried, MUST return at least one address record (e.g., A or AAAA RR) that gives the IP address of the SMTP server to which the message should be directed.",
		Receivers: "Those that send bounces and replies to the domain.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a, r := p.mxRecords(ctx)
		if r != nil {
			return *r
		}
		fix := Remedy{Title: "Repair the exchangers of " + a.Question, Who: "whoever runs the zone of " + a.Name}
		var found []string
		known := len(a.Records) > maxExchangers // one that is not looked at may have an address
		for _, rr := range a.Records[:min(len(a.Records), maxExchangers)] {
			ok, private, why, open := p.reachable(ctx, rr.Host)
			known = known || ok || private
			switch {
			case open != nil:
				return unknown("all", open)
			case !ok:
				found = append(found, why)
				fix.Records = append(fix.Records, record(Remove, a.Name, "MX", data(rr)))
			}
		}
		switch {
		case len(found) == 0:
			return pass("every exchanger has a public address")
		case len(found) == len(a.Records):
			fix.Records = nil // the last one is not to be deleted but repaired
			fix.Steps = []string{"Give the exchangers address records, or name others in the MX."}
		default:
			fix.Steps = []string{"Or give it an address record, if it is still in use."}
		}
		f := fail(fix, "all", "%s", list(found))
		if !known {
			f.Severity = Mandatory
		}
		return f
	},
}

// reachable tells whether a host has a public address, or else others only; open is
// a question without answer that leaves it undecided.
func (p *Probe) reachable(ctx context.Context, host string) (ok, private bool, why string, open *dns.Answer) {
	why = host + " has no address"
	for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
		a := p.ask(ctx, host, t)
		if !definite(a) {
			open = a
		} else if a.Outcome != dns.Present && t == dns.TypeA {
			why = fmt.Sprintf("%s has no address (%s)", host, outcome(a))
		}
		for _, addr := range addrs(a) {
			what, special := p.Plan.special(addr)
			if !special {
				return true, false, "", nil
			}
			private, why = true, fmt.Sprintf("%s is %s, %s", host, addr, what)
		}
	}
	return false, private, why, open
}

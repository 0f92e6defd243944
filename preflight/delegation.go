package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"smtprelay/preflight/dns"
)

var ptrDelegation = &Check{
	ID:       "PTR-DELEGATION",
	Final:    true, // it asks the servers themselves
	Scope:    ScopeSource,
	Title:    "it is known who runs the reverse zone of the address",
	Severity: Informational,
	Change:   "x",
	Why:      "only whoever runs that zone can give the address a name: the provider as a rule, unless it was delegated on",
	Ref:      "RFC 2317 section 4; RFC 8020 section 2",
	Needs:    []string{"EGRESS-PUBLIC"},
	Words: Words{
		How:       "Asks for the SOA of the reverse name: its owner is the zone to edit, where a classless delegation leads as well. Then for the servers of that zone and its mailbox. It passes when they are known, and is printed beside whatever is wrong with the name. Where the resolver has no answer the way is walked from the root.",
		Found:     "zone 2.0.192.in-addr.arpa, ns.dnstest.invalid, hostmaster@2.0.192.in-addr.arpa: CNAME loop at 25.2.0.192.in-addr.arpa",
		Expected:  "a zone, and servers that answer for it",
		Mend:      "nslookup -q=ns 2.0.192.in-addr.arpa.",
		Ask:       "whoever holds the network: the provider of the address as a rule",
		Basis:     "It is no demand but an answer: whom to ask for the record.",
		Receivers: "None: it is for whoever has to mend the name.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.names(ctx)
		if !definite(a) {
			return p.lost(ctx, a)
		}
		d := p.delegation(ctx, p, a)
		r := d.remedy(p, a)
		switch {
		case a.Outcome == dns.Broken:
			return fail(r, wantDelegation, "zone %s: %s", d, cmp.Or(a.Detail, "an alias that leads nowhere"))
		case errors.Is(d.err, dns.ErrTemporary):
			return Result{Status: Unknown, Found: d.err.Error(), Expected: wantDelegation, Remedy: r}
		case d.err != nil:
			return fail(r, wantDelegation, "%v", d.err)
		}
		found := "zone " + d.String()
		if len(a.Chain) > 0 {
			found = fmt.Sprintf("%s is an alias of %s: %s", a.Question, a.Name, found)
		}
		if d.missing != "" {
			found += fmt.Sprintf("; %s does not exist, so nothing below it does", d.missing)
		}
		return Result{Status: Pass, Found: found, Expected: wantDelegation, Remedy: r}
	},
}

const wantDelegation = "a zone, and servers that answer for it"

// delegation is who runs the zone that the name of an address stands in.
type delegation struct {
	dns.Zone
	missing string // where only a registry's zone is left: the highest name on the way to it that does not exist
	err     error
}

// delegation looks for the zone of an answer to the PTR question: where its last
// alias leads (RFC 2317), but of aliases that lead nowhere that of the first.
func (p *Probe) delegation(ctx context.Context, r dns.Resolver, a *dns.Answer) delegation {
	owner := a.Name
	if a.Outcome == dns.Broken {
		owner = parent(a.Question)
	}
	var d delegation
	d.Zone, d.err = dns.Authority(ctx, r, owner)
	if d.err != nil {
		d.Zone.Name = cmp.Or(a.Zone, d.Zone.Name, parent(owner))
	} else if absent(a) && ofRegistry(d.Zone.Name) {
		d.missing = p.highest(ctx, owner, d.Zone.Name)
	}
	return d
}

// String is the zone, its servers, and the mailbox of who runs it.
func (d delegation) String() string {
	all := append([]string{cmp.Or(d.Name, "the root zone")}, d.hosts()...)
	if d.Mailbox != "" {
		all = append(all, mailbox(d.Mailbox))
	}
	return list(all)
}

func (d delegation) hosts() (all []string) {
	for _, s := range d.Servers {
		all = append(all, s.Host)
	}
	return all
}

// whose says of a remedy in which zone its records stand, and who runs that.
func (d delegation) whose(r *Remedy) {
	r.Zone, r.Servers = d.Name, d.hosts()
	reach := list(r.Servers)
	if d.Mailbox != "" {
		reach = strings.TrimPrefix(reach+"; "+mailbox(d.Mailbox), "; ")
	}
	r.Who = "whoever runs " + cmp.Or(d.Name, "the root zone")
	if reach != "" {
		r.Who += " (" + reach + ")"
	}
}

// remedy says whom to ask, and by which commands anybody can see it too.
func (d delegation) remedy(p *Probe, a *dns.Answer) Remedy {
	r := Remedy{}
	d.whose(&r)
	switch {
	case d.missing != "": // nobody is to write to a registry
		r.Who = fmt.Sprintf("whoever holds the network of %s, as a rule its provider", p.addr())
	case len(a.Chain) > 0 && a.Outcome != dns.Broken:
		r.Who += ", to whom " + a.Question + " is delegated"
	default:
		r.Who += ", as a rule the provider of the address"
	}
	if d.missing != "" {
		r.Steps = append(r.Steps, fmt.Sprintf("Nothing is delegated for %s: %s does not exist, and %s above it is a registry's as a rule. Whoever holds the network has to have a zone of it delegated first.",
			p.addr(), d.missing, cmp.Or(d.Name, "the root zone")))
	}
	r.Steps = append(r.Steps,
		fmt.Sprintf("nslookup -q=ns %s", shellWord(d.Name+".")),
		fmt.Sprintf("dig %s ptr +trace", dns.Reverse(p.addr())))
	return r
}

// reverse says of a remedy whose records stand in the reverse zone who runs that.
// The answer is that to the PTR question.
func (p *Probe) reverse(ctx context.Context, r *Remedy, a *dns.Answer) {
	d := p.delegation(ctx, p.run.dns, a).remedy(p, a)
	r.Who, r.Zone, r.Servers = d.Who, d.Zone, d.Servers
	r.Steps = append(r.Steps, d.Steps...)
}

// ofRegistry tells whether a zone of the reverse tree is so far up that no network
// is its: a /8 of IPv4 or a /24 of IPv6, or above.
func ofRegistry(zone string) bool {
	for top, labels := range map[string]int{"in-addr.arpa": 1, "ip6.arpa": 6} {
		if below, ok := strings.CutSuffix(zone, "."+top); ok {
			return strings.Count(below, ".") < labels
		}
	}
	return zone == "" || zone == "arpa" || zone == "in-addr.arpa" || zone == "ip6.arpa"
}

// highest is the highest name between a name and its zone that does not exist, ""
// if all do. What is below a name that does not exist does not exist either (RFC
// 8020), so few questions find it.
func (p *Probe) highest(ctx context.Context, name, zone string) string {
	var up []string
	for n := parent(name); n != zone && n != ""; n = parent(n) {
		up = append(up, n)
	}
	slices.Reverse(up)
	i := sort.Search(len(up), func(i int) bool { return p.aside(ctx, up[i], dns.TypeSOA).Outcome == dns.NoName })
	if i == len(up) {
		return ""
	}
	return up[i]
}

// shellWord is a name as a command line takes it. Names come from DNS, and
// somebody will paste the command.
func shellWord(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._/-") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

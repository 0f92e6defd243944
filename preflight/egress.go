package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

var egressChecks = []*Check{egressKnown, egressPublic, egressBindable}

var egressKnown = &Check{
	ID:       "EGRESS-KNOWN",
	Scope:    ScopeSource,
	Title:    "the source's public address is known",
	Severity: Mandatory,
	Change:   "=",
	Why:      "receivers judge the address they see; behind address translation nobody but the operator can say which it is",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:       "Takes `public` of the source, else `bind` if that is a public address, else an address that two independent parties have seen us by. It fails where none of these says an address. With discovery = \"active\" and nobody to be reached it is unknown.",
		Found:     "no public address for source wan4 (bound to 10.0.0.5)",
		Expected:  "one",
		Mend:      `public = "203.0.113.5"`,
		Ask:       "you; the provider of the connection knows it",
		Basis:     "No standard demands it: an address behind translation cannot be found from outside, so whoever runs the machine has to say which it is.",
		Receivers: "All judge the address that they see; none says which it was unless it refuses.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		s := p.Source
		named := sourceNamed(s)
		switch a := p.addr(); {
		case s.learned != nil:
			return pass("%s leaves from %s, as %s saw; to pin it: public = %q", s.Name, a, both(s.learned), a)
		case a.IsValid():
			return pass("%s leaves from %s", s.Name, a)
		}
		r := Remedy{
			Title:   "Say which address the world sees " + s.Name + " by",
			Who:     "you; the provider of the connection knows it",
			Setting: `public = "203.0.113.5"`,
			Under:   named + ", your own address in place of this one",
		}
		if s.Public != "" {
			return fail(r, "one", "public = %q of source %s is not an address", s.Public, s.Name)
		}
		bound := "bound to no address"
		if s.Bind != "" {
			bound = "bound to " + s.Bind
		}
		return p.nameless(ctx, r, bound)
	},
}

// sourceNamed says where the settings of a source stand.
func sourceNamed(s *Source) string { return "the [[source]] named " + s.Name }

// nameless is a source that nobody has told us the address of.
func (p *Probe) nameless(ctx context.Context, r Remedy, bound string) Result {
	res := fail(r, "one", "no public address for source %s (%s)", p.Source.Name, bound)
	if !p.Plan.discovers() {
		return res
	}
	n := p.inquire(ctx)
	vs := p.run.seen.views(p.Source.key(), time.Now())
	if len(vs) > 0 && vs[0].asked { // not to be believed, but worth a look
		res.Remedy.Setting = fmt.Sprintf("public = %q", vs[0].addr)
		res.Remedy.Under = sourceNamed(p.Source)
		res.Remedy.Steps = []string{fmt.Sprintf("It is the address that %s saw: make sure that it is yours, and stays.", both(vs[0].operators))}
	}
	switch active := p.Plan.Policy.Discovery == DiscoverActive; {
	case active && len(vs) == 0:
		res.Status = Unknown // as likely nobody could be reached as nobody would tell
	case n.unsure():
		res.Status = Unknown
	case !active:
		res.Remedy.Steps = append(res.Remedy.Steps, `Or set discovery = "active" under [preflight]: services that tell the address are asked.`)
	}
	for i, v := range vs {
		if i == 0 {
			res.Found += "; one party is not believed:"
		}
		res.Found += fmt.Sprintf(" %s saw %s", both(v.operators), v.addr)
	}
	return res
}

var egressPublic = &Check{
	ID:       "EGRESS-PUBLIC",
	Scope:    ScopeSource,
	Title:    "the address is a public one",
	Severity: Mandatory,
	Change:   "=",
	Why:      "no receiver can answer, name or trust an address that is not on the public internet",
	Ref:      "RFC 6890 section 2.2.2",
	Needs:    []string{"EGRESS-KNOWN"},
	Words: Words{
		How:       "Looks the address up in the registries of special-purpose addresses, IPv4 and IPv6. It fails for private, shared, link-local, documentation, multicast and reserved ones. Nothing is asked of DNS.",
		Found:     "100.64.3.9 is shared address space (RFC 6598)",
		Expected:  "a public address",
		Mend:      "Get a public address for wan4",
		Ask:       "the provider of the connection",
		Basis:     "IANA's registries of special-purpose addresses say which addresses are not globally reachable.",
		Receivers: "None can be reached from such an address; what they see is another one.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		a := p.addr()
		what, special := p.Plan.special(a)
		if !special {
			return pass("%s is a public address", a)
		}
		r := Remedy{
			Title: "Get a public address for " + p.Source.Name,
			Who:   "the provider of the connection",
			Steps: []string{
				"Behind carrier address translation: ask for a static public address, or send through a smart host ([[smarthost]]).",
				"If the world sees another address than this one, set it as `public`.",
			},
		}
		if p.Plan.Foreign {
			r.Title, r.Steps = "Ask about the address that the world sees", []string{"--ip takes the address that connections come from once they are translated."}
		}
		return fail(r, "a public address", "%s is %s", a, what)
	},
}

var egressBindable = &Check{
	ID:       "EGRESS-BINDABLE",
	Scope:    ScopeSource,
	Title:    "connections can be made from the bind address",
	Severity: Mandatory,
	Change:   "=",
	Why:      "mail that cannot leave from this address would leave from another, which has no name, or not at all",
	Needs:    []string{"DNS-REACHABLE"},
	Here:     true,
	Words: Words{
		How:       "Binds a TCP socket to `bind`, at a port that the system chooses, and closes it again. An address that is on no interface fails, and so does one of another family than the public address. Where the system is short of sockets or memory it is unknown.",
		Found:     "cannot bind 192.0.2.26: not on any interface",
		Expected:  "bindable",
		Mend:      `bind = "192.0.2.25"`,
		Ask:       "you, under the [[source]]",
		Basis:     "No standard demands it. Unbound, mail would leave from whatever address the system picks.",
		Receivers: "All judge the address that mail leaves from.",
	},
	Run: func(_ context.Context, p *Probe) Result {
		bind := p.Source.Bind
		if bind == "" {
			return pass("the system chooses the address")
		}
		r := Remedy{
			Title: "Bind " + p.Source.Name + " to an address of this machine",
			Who:   "you, under " + sourceNamed(p.Source),
			Under: sourceNamed(p.Source),
		}
		if all := p.bindable(); len(all) > 0 {
			r.Setting = fmt.Sprintf("bind = %q", all[0])
			r.Steps = []string{"Addresses of this machine: " + list(all)}
		}
		a, err := netip.ParseAddr(bind)
		if err != nil {
			return fail(r, "an address of this machine", "bind = %q is not an address", bind)
		}
		if pub := p.addr(); pub.IsValid() && pub.Is4() != a.Unmap().Is4() {
			return fail(r, "two addresses of one family", "bind = %q and the public address %s are of different families", bind, pub)
		}
		if err := p.bind(a); err == nil {
			return pass("%s can be bound", a)
		} else if momentary(err) {
			return Result{Status: Unknown, Found: fmt.Sprintf("cannot bind %s just now: %v", a, err), Expected: "bindable"}
		} else {
			return fail(r, "bindable", "cannot bind %s: %v", a, bindFault(err))
		}
	},
}

// bindable are the machine's addresses that a source could use, of the family
// that it has.
func (p *Probe) bindable() (all []netip.Addr) {
	want := p.addr()
	for _, a := range p.interfaces() {
		if a.IsLoopback() || a.IsLinkLocalUnicast() || want.IsValid() && a.Is4() != want.Is4() {
			continue
		}
		all = append(all, a)
	}
	return all
}

func (p *Probe) bind(a netip.Addr) error {
	if p.run.out.Bind != nil {
		return p.run.out.Bind(a)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return err
	}
	return l.Close()
}

// momentary errors say something of the moment and nothing of the address.
func momentary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func bindFault(err error) string {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return "not on any interface"
	}
	return err.Error()
}

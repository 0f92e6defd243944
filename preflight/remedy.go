package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// RecordTTL is the life of the records that remedies print.
const RecordTTL = time.Hour

// Quote is a text as the data of a TXT record: strings of at most 255 octets
// (RFC 1035 section 3.3.14), quoted.
func Quote(text string) string {
	var b strings.Builder
	b.Grow(len(text) + 2 + len(text)/255*3)
	for first := true; first || text != ""; first = false {
		if !first {
			b.WriteByte(' ')
		}
		part := text[:min(len(text), 255)]
		text = text[len(part):]
		b.WriteByte('"')
		for _, c := range []byte(part) {
			switch {
			case c == '"' || c == '\\':
				b.Write([]byte{'\\', c})
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

func record(do Change, owner, rrtype, data string) Record {
	return Record{Do: do, Owner: owner, TTL: RecordTTL, Type: rrtype, Data: data}
}

func absolute(name string) string { return name + "." }

// mailbox reads the RNAME of an SOA as an address (RFC 1035 section 3.3.13).
func mailbox(rname string) string {
	for i := range len(rname) {
		if rname[i] == '.' && (i == 0 || rname[i-1] != '\\') {
			return strings.ReplaceAll(rname[:i], `\.`, ".") + "@" + rname[i+1:]
		}
	}
	return rname
}

func parent(name string) string {
	_, up, _ := strings.Cut(name, ".")
	return up
}

// possible takes the records out of a remedy that would stand beside an alias
// that is broken: that has to be repaired first, in a way we cannot know.
func (p *Probe) possible(r Remedy) Remedy {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.answers {
		ours := func(rec Record) bool { return rec.Owner == a.Name || rec.Owner == a.Question }
		cut := func(rec Record) bool { return rec.Do == Remove && rec.Type == "CNAME" && rec.Owner == a.Question }
		if a.Outcome == dns.Broken && slices.ContainsFunc(r.Records, ours) && !slices.ContainsFunc(r.Records, cut) {
			r.Records = nil
			r.Steps = append(r.Steps, fmt.Sprintf("Repair the records of %s first: %s.", a.Question, outcome(a)))
		}
	}
	return r
}

// named tells whether the source has an EHLO name that can stand in public DNS.
func (p *Probe) named() bool {
	_, special := p.Plan.specialName(p.ehlo())
	return p.ehlo() != "" && !special
}

// wanted is the name that the source is to have: its EHLO name, else mail under
// the first sender domain. "" when nothing suggests itself.
func (p *Probe) wanted() string {
	if p.named() {
		return p.ehlo()
	}
	return p.mailName()
}

// mailName is mail under the first sender domain that is a host name then.
func (p *Probe) mailName() string {
	for _, s := range p.Plan.naming() {
		if dns.IsHostname("mail." + s.Domain) {
			return "mail." + s.Domain
		}
	}
	return ""
}

// renaming has the reverse zone name the address as we call ourselves. The
// answer is that to the PTR question: its last alias owns the record (RFC 2317).
func (p *Probe) renaming(ctx context.Context, a *dns.Answer, do Change) Remedy {
	return p.nameTo(ctx, a, do, p.wanted())
}

// nameTo likewise, by any name; "" is none that suggests itself.
func (p *Probe) nameTo(ctx context.Context, a *dns.Answer, do Change, name string) Remedy {
	addr := p.addr()
	r := Remedy{Title: fmt.Sprintf("Give %s its name", addr)}
	p.reverse(ctx, &r, a)
	if name == "" {
		return r
	}
	r.Records = []Record{record(do, a.Name, "PTR", absolute(name))}
	which := addr.String()
	if !addr.Is4() {
		which += " (" + dns.Reverse(addr) + ")"
	}
	r.Message = fmt.Sprintf("Please set the reverse lookup (PTR) record for %s to %s.", which, name)
	if holds(p.aside(ctx, name, family(addr)), addr) {
		r.Message += fmt.Sprintf(" The %s record of that name already points to %s.", familyName(addr), addr)
	}
	return r
}

// pointing has a name point to the source's address. What stands there is
// replaced, unless all of it are sources of ours. The answer is that to the
// question for the name's addresses. An alias that leads the EHLO name elsewhere
// is taken away: what it leads to may be another machine.
func (p *Probe) pointing(ctx context.Context, a *dns.Answer) Remedy {
	if len(a.Chain) > 0 && a.Question == p.ehlo() {
		return p.unaliasing(ctx, a.Question, a)
	}
	addr := p.addr()
	do, gone := Add, []netip.Addr(nil)
	for _, other := range addrs(a) {
		if !slices.Contains(p.Plan.egresses(), other) {
			do, gone = Replace, append(gone, other)
		}
	}
	r := Remedy{
		Title:   fmt.Sprintf("Point %s to %s", a.Question, addr),
		Who:     "whoever runs the zone of " + a.Name,
		Records: []Record{record(do, a.Name, familyName(addr), addr.String())},
	}
	if do == Replace {
		for _, other := range addrs(a) {
			if slices.Contains(p.Plan.egresses(), other) {
				r.Records = append(r.Records, record(Add, a.Name, familyName(addr), other.String()))
			}
		}
		r.Steps = []string{fmt.Sprintf("It replaces %s. If something there needs the name, give this source another: ehlo = \"...\", and the same in its PTR.", list(gone))}
	}
	return r
}

// unaliasing puts address records where an alias stands, and an SPF record that
// was seen through it. The EHLO name gets what the source needs. The answer is any
// that went through the alias.
func (p *Probe) unaliasing(ctx context.Context, name string, a *dns.Answer) Remedy {
	r := Remedy{
		Title:   fmt.Sprintf("Give %s address records instead of the alias", name),
		Who:     "whoever runs the zone of " + name,
		Records: []Record{record(Remove, name, "CNAME", absolute(a.Chain[0]))},
	}
	ours := name == p.ehlo()
	for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
		all := addrs(p.aside(ctx, name, t))
		if ours && t == family(p.addr()) && !slices.Contains(all, p.addr()) {
			all = []netip.Addr{p.addr()}
			r.Steps = []string{fmt.Sprintf("If what is behind %s needs the name, give this source another: ehlo = \"...\", and the same in its PTR.", a.Chain[0])}
		}
		for _, addr := range all {
			r.Records = append(r.Records, record(Add, name, typeName(t), addr.String()))
		}
	}
	texts := spfTexts(p.aside(ctx, name, dns.TypeTXT))
	if ours && len(texts) == 0 {
		texts = []string{spfOfHost}
	}
	for _, text := range texts {
		r.Records = append(r.Records, record(Add, name, "TXT", Quote(text)))
	}
	return r
}

// elsewhere says that a record is to stand where an alias leads.
func elsewhere(a *dns.Answer) []string {
	if len(a.Chain) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s is an alias, so its record stands at %s. If that is not yours, put records of your own in the alias's place.", a.Question, a.Name)}
}

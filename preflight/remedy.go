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

// Remedy says what to do. All of it is for people; Records can be applied to a zone as they are.
type Remedy struct {
	Title   string   // "Give 192.0.2.25 its name"
	Who     string   // whom to ask, or whose zone it is: "whoever runs 2.0.192.in-addr.arpa"
	Zone    string   // that the records stand in, canonical, where it was looked for
	Servers []string // name servers of Zone, canonical
	Records []Record
	Message string   // words to paste for the ISP
	Setting string   // lines of relay.toml
	Under   string   // where they go: "the [[source]] named wan4"; "" where they say so themselves
	Instead string   // when they are another way than the rest: "where port 25 stays closed"
	Steps   []string // commands or steps
}

// Record is one change of a zone.
type Record struct {
	Do    Change
	Owner string // without the final dot; String adds it
	TTL   time.Duration
	Type  string
	Data  string // presentation form, names absolute
}

// Change of a record set.
type Change string

const (
	Add     Change = "add"     // beside what stands
	Replace Change = "replace" // instead of all records of that owner and type (TXT: of those with the same version tag)
	Remove  Change = "remove"
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

// possible makes of a remedy one that a zone can take where aliases lead nowhere: the
// record stands in the place of the first of them. Where that would not do, there
// are none until what is broken is repaired, in a way we cannot know.
func (p *Probe) possible(r Remedy) Remedy {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.answers {
		cut := func(rec Record) bool {
			return slices.ContainsFunc(r.Records, func(o Record) bool { return o.Do == Remove && o.Type == "CNAME" && o.Owner == rec.Owner })
		}
		ours := func(rec Record) bool { return (rec.Owner == a.Name || rec.Owner == a.Question) && !cut(rec) }
		switch {
		case a.Outcome != dns.Broken || !slices.ContainsFunc(r.Records, ours):
		case len(a.Chain) == 0, a.Under != "":
			r.Records = nil
			r.Steps = append(r.Steps, fmt.Sprintf("Repair the records of %s first: %s.", a.Question, outcome(a)))
		default:
			rs := slices.Clone(r.Records)
			for i, rec := range rs {
				if ours(rec) {
					rs[i].Do, rs[i].Owner = Add, a.Question
				}
			}
			r.Records = append([]Record{record(Remove, a.Question, "CNAME", absolute(a.Chain[0]))}, rs...)
			r.Steps = append(r.Steps, fmt.Sprintf("The alias of %s leads to nothing (%s).", a.Question, outcome(a)))
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
	switch {
	case do == Replace && name != "":
		r.Title = fmt.Sprintf("Rename %s to %s", addr, name)
	case do == Replace:
		r.Title = fmt.Sprintf("Give %s another name", addr)
	}
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
// question for the name's addresses. An alias is taken away: what it leads to may be
// another machine.
func (p *Probe) pointing(ctx context.Context, a *dns.Answer) Remedy {
	if len(a.Chain) > 0 {
		return p.unaliasing(ctx, a, true)
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
// was seen through it. A name that is ours gets what the source needs. The answer is any
// that went through the alias.
func (p *Probe) unaliasing(ctx context.Context, a *dns.Answer, ours bool) Remedy {
	name := a.Question
	if a.Under != "" {
		r := Remedy{
			Title: fmt.Sprintf("Take another name than %s", name),
			Who:   "you, and whoever runs the reverse zone",
			Steps: []string{fmt.Sprintf("Everything below %s is an alias, by a DNAME record: no other record can stand there.", a.Under)},
		}
		if name == p.ehlo() {
			r.Setting = `ehlo = "..."`
			r.Steps = append(r.Steps, "The new name has to have address records of its own, and stand in the PTR.")
		}
		return r
	}
	r := Remedy{
		Title:   fmt.Sprintf("Give %s address records instead of the alias", name),
		Who:     "whoever runs the zone of " + name,
		Records: []Record{record(Remove, name, "CNAME", absolute(a.Chain[0]))},
	}
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

// with is one remedy with another of its kind besides.
func (r Remedy) with(o Remedy) Remedy {
	if r.Title == "" {
		return o
	}
	r.Title += "; " + strings.ToLower(o.Title[:1]) + o.Title[1:]
	if r.Who != o.Who {
		r.Who += "; " + o.Who
	}
	for _, rec := range o.Records {
		if !slices.Contains(r.Records, rec) {
			r.Records = append(r.Records, rec)
		}
	}
	r.Steps = union(r.Steps, o.Steps)
	return r
}

// elsewhere says that a record is to stand where an alias leads.
func elsewhere(a *dns.Answer) []string {
	if len(a.Chain) == 0 || a.Outcome == dns.Broken {
		return nil
	}
	step := fmt.Sprintf("%s is an alias, so its record stands at %s.", a.Question, a.Name)
	if a.Under == "" {
		step += " If that is not yours, put records of your own in the alias's place."
	}
	return []string{step}
}

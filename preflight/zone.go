package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// What the plan needs to stand in DNS, zone by zone, beside what stands. What is
// needed and does not stand is what the remedies of the findings say: this is
// the report, read as zone files.

// Zone is the part of a zone that the plan has to do with.
type Zone struct {
	Name    string // canonical
	Guess   string // why its name is only a guess; "": it is not
	Records []ZoneRecord
	Notes   []string // what could not be found out, and what is not there

	servers []dns.NameServer
	soa     *dns.RR
	ttl     map[string]time.Duration // of the NS records and of the servers' addresses, by owner and type
}

// ZoneRecord is a record and how it stands.
type ZoneRecord struct {
	Record
	Is RecordState
}

// RecordState says whether a record is there, and should be.
type RecordState string

const (
	Stands  RecordState = "stands"
	Missing RecordState = "missing"
	Differs RecordState = "differs" // missing, and something else stands in its place
	Goes    RecordState = "goes"    // stands, and should not
)

// Zones runs the checks and says what each zone needs. It returns the findings
// too: without a resolver there is nothing to say.
func Zones(ctx context.Context, p *Plan, o Outside) ([]*Zone, []Finding) {
	ctx, cancel := context.WithTimeout(ctx, 2*runTime)
	defer cancel()
	z := &zoneFiles{ctx: ctx, sets: map[string]*ZoneRecord{}}
	if o.Observed == nil {
		o.Observed = NewObservations()
	}
	p = learned(ctx, p, o)
	needs := p.needs()
	due := map[string]bool{}
	for _, n := range needs {
		due[n.name+". "+typeName(n.t)] = true
	}
	plain := dns.NewMemo(o.DNS)
	o.DNS = plain
	o.DNS = dns.NewMemo(&firsthand{o, due}) // as they stand, TTL and all, and not as they are cached
	z.r, z.plain = o.DNS, plain
	fs, _ := Run(ctx, p, o)
	for _, n := range needs {
		z.stands(n)
	}
	z.apply(fs)
	z.hosts()
	return z.all(), fs
}

// zoneFiles collects.
type zoneFiles struct {
	ctx      context.Context
	r, plain dns.Resolver
	sets     map[string]*ZoneRecord // by record, without TTL
	order    []*ZoneRecord
	notes    []zoneNote
}

type zoneNote struct{ owner, text string }

func (z *zoneFiles) put(rec Record, is RecordState) {
	key := rec.Owner + " " + rec.Type + " " + rec.Data
	if z.sets[key] != nil {
		return
	}
	z.sets[key] = &ZoneRecord{rec, is}
	z.order = append(z.order, z.sets[key])
}

// stands takes in what answers a need, aliases on the way included.
func (z *zoneFiles) stands(n need) {
	a, _ := z.r.Query(z.ctx, n.name, n.t)
	owner := a.Question
	for i, to := range a.Chain {
		if i == 0 && a.Under != "" {
			z.notes = append(z.notes, zoneNote{n.name, fmt.Sprintf("%s is an alias of %s, by the DNAME at %s", absolute(owner), absolute(to), absolute(a.Under))})
			owner = to
			continue
		}
		z.put(Record{Owner: owner, TTL: a.TTL, Type: "CNAME", Data: absolute(to)}, Stands)
		owner = to
	}
	found := false
	for _, rr := range a.Records {
		if n.kind == "" || versionTag(rr.Text) == n.kind {
			found = true
			z.put(Record{Owner: a.Name, TTL: rr.TTL, Type: typeName(rr.Type), Data: data(rr)}, Stands)
		}
	}
	switch {
	case a.Outcome == dns.Temp || a.Outcome == dns.Broken:
		z.notes = append(z.notes, zoneNote{n.name, absolute(n.name) + " " + typeName(n.t) + ": not known: " + outcome(a)})
	case !found: // where the aliases lead
		z.notes = append(z.notes, zoneNote{a.Name, absolute(a.Name) + " " + typeName(n.t) + ": " + strings.TrimSpace("none "+n.kind)})
	}
}

// versionTag is the first word of a text: what a Replace of texts goes by.
func versionTag(text string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(strings.TrimSpace(text)), ";", " "), " ")
	return first
}

// hosts takes in the addresses of exchangers: one inside a zone of these is
// nothing without.
func (z *zoneFiles) hosts() {
	for _, r := range slices.Clone(z.order) {
		if r.Type != "MX" || r.Is == Goes {
			continue
		}
		_, host, _ := strings.Cut(r.Data, " ")
		if host = strings.TrimSuffix(host, "."); host != "" {
			z.addresses(host)
		}
	}
}

func (z *zoneFiles) addresses(host string) {
	for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
		a, _ := z.plain.Query(z.ctx, host, t)
		if len(a.Chain) > 0 {
			return // not ours to show: the check says so
		}
		for _, rr := range a.Records {
			z.put(Record{Owner: host, TTL: rr.TTL, Type: typeName(t), Data: data(rr)}, Stands)
		}
	}
}

// all sorts records into zones, in the order in which they are needed.
func (z *zoneFiles) all() (all []*Zone) {
	byName, byOwner := map[string]*Zone{}, map[string]*Zone{}
	find := func(owner string) *Zone {
		if byOwner[owner] == nil {
			n := z.zoneOf(owner)
			if byName[n.Name] == nil {
				byName[n.Name] = n
				all = append(all, n)
			}
			byOwner[owner] = byName[n.Name]
		}
		return byOwner[owner]
	}
	told := map[string]bool{} // what remedies answer needs no note
	for _, r := range z.order {
		n := find(r.Owner)
		n.Records = append(n.Records, *r)
		told[absolute(r.Owner)+" "+r.Type] = told[absolute(r.Owner)+" "+r.Type] || r.Is == Missing || r.Is == Differs
	}
	for _, note := range z.notes {
		what, _, _ := strings.Cut(note.text, ":")
		if n := find(note.owner); !told[what] {
			n.Notes = append(n.Notes, note.text)
		}
	}
	for _, n := range all {
		slices.SortStableFunc(n.Records, func(a, b ZoneRecord) int { return cmp.Compare(a.Owner, b.Owner) })
	}
	return all
}

func (z *zoneFiles) zoneOf(owner string) *Zone {
	found, err := dns.OwnZone(z.ctx, z.plain, owner)
	if err != nil && found.Name == "" {
		guess := organisation(owner)
		if strings.HasSuffix(owner, ".arpa") {
			guess = parent(owner)
		}
		return &Zone{Name: guess, Guess: err.Error()}
	}
	n := &Zone{Name: found.Name, servers: found.Servers, ttl: map[string]time.Duration{}}
	if a, err := z.plain.Query(z.ctx, found.Name, dns.TypeSOA); err == nil && len(a.Records) > 0 {
		n.soa = &a.Records[0]
	}
	z.lives(n, n.Name, dns.TypeNS)
	for _, s := range n.servers {
		if n.holds(s.Host) {
			z.lives(n, s.Host, dns.TypeA)
			z.lives(n, s.Host, dns.TypeAAAA)
		}
	}
	return n
}

// lives notes how long records of a zone live.
func (z *zoneFiles) lives(n *Zone, owner string, t dns.Type) {
	if a, err := z.plain.Query(z.ctx, owner, t); err == nil {
		n.ttl[owner+" "+typeName(t)] = a.TTL
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

package dnstest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// zones is all data. It is replaced as a whole and never changed once it serves.
type zones struct {
	answers map[string]string               // of each zone: secure, insecure, servfail
	rrs     map[string]map[uint16][]mdns.RR // owner, type
	serial  uint32
}

func newZones() *zones {
	return &zones{answers: map[string]string{}, rrs: map[string]map[uint16][]mdns.RR{}, serial: 1}
}

func (z *zones) clone() *zones {
	c := &zones{answers: maps.Clone(z.answers), rrs: map[string]map[uint16][]mdns.RR{}, serial: z.serial + 1}
	for owner, sets := range z.rrs {
		c.rrs[owner] = map[uint16][]mdns.RR{}
		for t, set := range sets {
			c.rrs[owner][t] = slices.Clone(set)
		}
	}
	return c
}

var (
	originLine  = regexp.MustCompile(`(?mi)^\$ORIGIN[ \t]+(\S+\.)(?:\s|$)`)
	answersLine = regexp.MustCompile(`(?m)^;[ \t]*answers:[ \t]*(\S*)`)
)

// load reads one zone text.
func (z *zones) load(text string) error {
	rrs, err := parse(text)
	if err != nil {
		return err
	}
	answers := ""
	if m := answersLine.FindStringSubmatch(text); m != nil {
		answers = m[1]
		if !slices.Contains([]string{"secure", "insecure", "servfail"}, answers) {
			return fmt.Errorf("zone text: answers %q: want secure, insecure or servfail", answers)
		}
	}
	for _, name := range z.founded(text, rrs) {
		if _, old := z.answers[name]; !old || answers != "" {
			z.answers[name] = answers
		}
	}
	for _, rr := range rrs {
		z.add(rr)
	}
	return nil
}

func parse(text string) ([]mdns.RR, error) {
	p := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	p.SetDefaultTTL(3600)
	var rrs []mdns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("zone text: %w", err)
	}
	return rrs, nil
}

// founded are the zones of a text, new and old: those of its SOA records, its outermost
// $ORIGINs, and for what these leave over the usual cuts.
func (z *zones) founded(text string, rrs []mdns.RR) []string {
	var names []string
	inside := func(name string) bool {
		return slices.ContainsFunc(names, func(zone string) bool { return mdns.IsSubDomain(zone, name) })
	}
	for _, rr := range rrs {
		if rr.Header().Rrtype == mdns.TypeSOA {
			names = append(names, canonical(rr.Header().Name))
		}
	}
	for _, m := range originLine.FindAllStringSubmatch(text, -1) {
		if origin := canonical(m[1]); origin != "." && !inside(origin) {
			names = append(names, origin)
		}
	}
	for _, rr := range rrs {
		owner := canonical(rr.Header().Name)
		if !inside(owner) && z.of(owner) == "" {
			names = append(names, usualCut(owner))
		}
	}
	return names
}

// of is the zone that a name stands in; "" if there is none.
func (z *zones) of(name string) string {
	for {
		if _, ok := z.answers[name]; ok {
			return name
		}
		if name == "." {
			return ""
		}
		name = above(name)
	}
}

// usualCut guesses where the zone of a name is cut.
func usualCut(name string) string {
	switch {
	case mdns.IsSubDomain("in-addr.arpa.", name):
		return last(name, 5)
	case mdns.IsSubDomain("ip6.arpa.", name):
		return last(name, 10)
	}
	return last(name, 2)
}

// add puts a record in its place, once.
func (z *zones) add(rr mdns.RR) {
	h := rr.Header()
	owner := canonical(h.Name)
	if z.rrs[owner] == nil {
		z.rrs[owner] = map[uint16][]mdns.RR{}
	}
	set := z.rrs[owner][h.Rrtype]
	if slices.ContainsFunc(set, func(old mdns.RR) bool { return mdns.IsDuplicate(old, rr) }) {
		return
	}
	z.rrs[owner][h.Rrtype] = append(set, rr)
}

func (z *zones) remove(owner, rrtype string) {
	for t := range z.rrs[owner] {
		if rrtype == "" || rrtype == "ANY" || mdns.TypeToString[t] == rrtype {
			delete(z.rrs[owner], t)
		}
	}
	if len(z.rrs[owner]) == 0 {
		delete(z.rrs, owner)
	}
}

// above is the name one label up.
func above(name string) string {
	if next, end := mdns.NextLabel(name, 0); !end {
		return name[next:]
	}
	return "."
}

// last is what the last n labels of a name are, or the name if it has fewer.
func last(name string, n int) string {
	if at, start := mdns.PrevLabel(name, n); !start {
		return name[at:]
	}
	return name
}

package preflight

import (
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// need is a record set that the plan looks at. Of texts only those of a kind.
type need struct {
	name string
	t    dns.Type
	kind string // "v=spf1"
}

func (p *Plan) needs() (all []need) {
	add := func(n need) {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for i := range p.Senders {
		s := &p.Senders[i]
		add(need{s.Domain, dns.TypeMX, ""})
		add(need{s.envelope(), dns.TypeMX, ""})
		add(need{s.envelope(), dns.TypeTXT, "v=spf1"})
		for _, k := range s.Keys {
			add(need{keyName(s.Domain, k.Selector), dns.TypeTXT, ""})
		}
		add(need{"_dmarc." + s.Domain, dns.TypeTXT, "v=dmarc1"})
	}
	for i := range p.Sources {
		s := &p.Sources[i]
		addr := p.egress(s)
		if !addr.IsValid() {
			continue
		}
		pr := &Probe{Plan: p, Source: s}
		if pr.named() {
			add(need{pr.ehlo(), family(addr), ""})
			add(need{pr.ehlo(), dns.TypeTXT, "v=spf1"})
		}
		if _, special := p.special(addr); !special {
			add(need{dns.Reverse(addr), dns.TypePTR, ""})
		}
	}
	return all
}

// apply makes the changes that the findings ask for: what is to go goes first,
// so that no change undoes another.
func (z *zoneFiles) apply(fs []Finding) {
	var todo []Record
	for _, f := range fs {
		if f.Status == Fail && f.Severity != Informational {
			todo = append(todo, f.Remedy.Records...)
		}
	}
	wanted := map[string]bool{}
	for _, rec := range todo {
		if rec.Do != Remove {
			wanted[rec.Owner+" "+rec.Type+" "+rec.Data] = true
		}
	}
	replaced := map[Record]bool{}
	for _, rec := range todo {
		if rec.Do == Remove {
			z.put(rec, Goes)
		}
		for key, old := range z.sets {
			if old.Is == Stands && rec.outs(old.Record) && !wanted[key] {
				old.Is = Goes
				replaced[rec] = rec.Do == Replace
			}
		}
	}
	for _, rec := range todo {
		if rec.Do == Remove {
			continue
		}
		is := Missing
		if replaced[rec] {
			is = Differs
		}
		z.put(rec, is)
	}
}

// outs tells whether a change takes away a record that stands.
func (r Record) outs(old Record) bool {
	if r.Owner != old.Owner || r.Type != old.Type {
		return false
	}
	switch r.Do {
	case Remove:
		return r.Data == old.Data
	case Replace:
		return r.Type != "TXT" || versionTag(strings.TrimPrefix(r.Data, `"`)) == versionTag(strings.TrimPrefix(old.Data, `"`))
	}
	return false
}

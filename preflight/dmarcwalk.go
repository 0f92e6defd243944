package preflight

import (
	"context"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

const (
	walkLabels    = 8 // longer names are cut to 7 labels, RFC 9989 section 4.10
	dmarcQuestion = "_dmarc."
)

// treeWalk is what a walk from a domain to the root finds of DMARC records: those
// that stand alone at their name, the longest name first.
type treeWalk struct {
	start string
	found []placed
	open  []*dns.Answer // questions without answer
}

// placed is a record and the domain that it stands at.
type placed struct {
	domain string
	dmarcRecord
}

// walk asks for the records of a domain and of those above it.
func (p *Probe) walk(ctx context.Context, domain string) (w treeWalk) {
	w.start = domain
	for _, name := range dmarcWalk(domain) {
		a := p.ask(ctx, dmarcQuestion+name, dns.TypeTXT)
		if !definite(a) {
			w.open = append(w.open, a)
		}
		if all := dmarcRecords(a); len(all) == 1 { // several count as none
			w.found = append(w.found, placed{name, all[0]})
			if all[0].PSD != "u" {
				break
			}
		}
	}
	return w
}

// dmarcWalk lists the names that are asked, from the domain to its top level:
// eight at most.
func dmarcWalk(domain string) (names []string) {
	labels := strings.Split(domain, ".")
	names = append(names, domain)
	labels = labels[max(1, len(labels)-walkLabels+1):]
	for ; len(labels) > 0; labels = labels[1:] {
		names = append(names, strings.Join(labels, "."))
	}
	return names
}

// organisation is the organizational domain of where the walk began (RFC 9989
// section 4.10.2); open is a question without answer that may change it.
func (w treeWalk) organisation() (domain string, open *dns.Answer) {
	if len(w.open) > 0 {
		open = w.open[0]
	}
	for _, f := range w.found {
		switch {
		case f.PSD == "n":
			return f.domain, open
		case f.PSD == "y" && f.domain != w.start:
			labels := strings.Split(w.start, ".")
			return strings.Join(labels[len(labels)-strings.Count(f.domain, ".")-2:], "."), open
		}
	}
	if n := len(w.found); n > 0 {
		return w.found[n-1].domain, open
	}
	return w.start, open
}

// applies finds the record that receivers go by for mail of the domain where the
// walk began: its own, else that of the organisation, else that of the public
// suffix. nil and no open question: there is none.
func (w treeWalk) applies() (rec *placed, open *dns.Answer) {
	if len(w.found) > 0 && w.found[0].domain == w.start {
		return &w.found[0], nil
	}
	for _, a := range w.open {
		if a.Question == dmarcQuestion+w.start || len(w.found) == 0 {
			return nil, a
		}
	}
	org, _ := w.organisation()
	for i := range w.found {
		if w.found[i].domain == org || w.found[i].PSD == "y" {
			return &w.found[i], nil
		}
	}
	return nil, nil
}

// policy is what the record asks for mail of the domain where the walk began
// (RFC 9989 section 4.10.1); open is a question without answer that decides it.
func (p *Probe) policy(ctx context.Context, w treeWalk, rec *placed) (policy string, open *dns.Answer) {
	below := rec.Policy
	if rec.Subdomain != "" {
		below = rec.Subdomain
	}
	switch {
	case rec.domain == w.start:
		return rec.Policy, nil
	case rec.Missing == "" || rec.Missing == below:
		return below, nil
	}
	switch a := p.ask(ctx, w.start, dns.TypeMX); {
	case a.Outcome == dns.NoName: // and nothing but that, RFC 9989 section 3.2.13
		return rec.Missing, nil
	case !definite(a):
		return rec.Missing, a
	}
	return below, nil
}

// aligned tells whether an authenticated domain speaks for an author's domain
// (RFC 9989 section 4.4).
func (p *Probe) aligned(ctx context.Context, authenticated string, author treeWalk, strict bool) (ok bool, open *dns.Answer) {
	if authenticated == author.start || strict || authenticated == "" {
		return authenticated == author.start, nil
	}
	org, open := author.organisation()
	other, open2 := p.walk(ctx, authenticated).organisation()
	if open == nil {
		open = open2
	}
	if open != nil {
		return false, open
	}
	return org == other, nil
}

// dmarcRecords are the DMARC records of an answer; what cannot be read is none.
func dmarcRecords(a *dns.Answer) (all []dmarcRecord) {
	for _, r := range a.Records {
		if d, err := parseDMARC(r.Text); err == nil {
			all = append(all, d)
		}
	}
	return all
}

// dmarcTexts are the texts of an answer that are DMARC records or were meant to
// be, in an order of their own: servers hand them out in turn.
func dmarcTexts(a *dns.Answer) (all []string) {
	for _, r := range a.Records {
		if strings.Contains(compact(r.Text), "dmarc1") {
			all = append(all, r.Text)
		}
	}
	slices.Sort(all)
	return all
}

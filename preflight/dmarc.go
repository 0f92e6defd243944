package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

var dmarcChecks = []*Check{dmarcPresent, dmarcValid, dmarcRUA}

var dmarcPresent = &Check{
	ID:       "DMARC-PRESENT",
	Scope:    ScopeSender,
	Title:    "the sender domain has a DMARC record",
	Severity: Recommended,
	Change:   "^",
	Why:      "Gmail (4.7.31, 5.7.40) and Outlook want one of larger senders, if only p=none",
	Ref:      "RFC 9989 section 5.1.4; RFC 9989 section 4.10",
	Needs:    []string{"DNS-REACHABLE"},
	Words: Words{
		How:      "Asks for TXT at _dmarc. of the From domain and of the domains above it, eight questions at most, until a record is found that applies. None at all fails, if every answer is definite.",
		Found:    "no DMARC record for example.net",
		Expected: "one",
		Mend:     `_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.net"`,
		Do:       Add,
		Ask:      "whoever runs the zone of the domain",
		Quote:    `For best results, Domain Owners usually start with "p=none" (see Section 5.1.5) with the "rua" tag containing a URI that references the mailbox created in the previous step.`,
	},
	Run: func(ctx context.Context, p *Probe) Result {
		domain := p.Sender.Domain
		w := p.walk(ctx, domain)
		own := p.ask(ctx, dmarcQuestion+domain, dns.TypeTXT)
		texts := dmarcTexts(own)
		rec, open := w.applies()
		switch {
		case rec != nil && rec.domain == domain:
			return pass("p=%s", rec.Policy)
		case len(texts) > 0: // whether they are any good is DMARC-VALID's to say
			return pass("%s", strings.Join(texts, ", "))
		case open != nil:
			return unknown("one", open)
		case rec != nil:
			policy, _ := p.policy(ctx, w, rec)
			return pass("p=%s; that of %s", policy, rec.domain)
		}
		r := Remedy{
			Title: "Publish a DMARC record for " + domain,
			Who:   "whoever runs the zone of " + domain,
			Records: []Record{record(Add, own.Name, "TXT",
				Quote(fmt.Sprintf("v=DMARC1; p=none; rua=mailto:postmaster@%s", domain)))},
			Steps: []string{"p=none asks for reports and changes nothing else. rua is an address of yours that takes them."},
		}
		r.Steps = append(r.Steps, elsewhere(own)...)
		return fail(r, "one", "no DMARC record for %s", domain)
	},
}

var dmarcValid = &Check{
	ID:       "DMARC-VALID",
	Scope:    ScopeSender,
	Title:    "the DMARC record can be read",
	Severity: Recommended,
	Change:   "x",
	Why:      "two records, or one that does not begin with v=DMARC1, count as none; a tag that cannot be read is ignored, and a policy with it",
	Ref:      "RFC 9989 section 4.10; RFC 9989 section 4.7; RFC 9989 section 4.8",
	Needs:    []string{"DMARC-PRESENT"},
	Words: Words{
		How:       "Reads the record that applies. Two records at one name, one that does not begin with v=DMARC1 and one with a tag twice count as none. Tags with values that cannot be read fail too. A missing p= (which means none) and tags that RFC 9989 has dropped are only noted.",
		Found:     "2 records, which count as none",
		Expected:  "one record, v=DMARC1 first",
		Mend:      `_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:d@example.net"`,
		Do:        Replace,
		Ask:       "whoever runs the zone of the domain",
		Quote:     "If multiple DMARC Policy Records are returned for a single target, they are all discarded.",
		Receivers: "Whoever checks DMARC: to them the domain has no policy.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		a := p.ask(ctx, dmarcQuestion+p.Sender.Domain, dns.TypeTXT)
		if len(dmarcTexts(a)) == 0 {
			rec, open := p.walk(ctx, p.Sender.Domain).applies()
			if rec == nil {
				if open == nil { // gone since: DMARC-PRESENT will say so
					return skip("no DMARC record")
				}
				return unknown("one record", open)
			}
			a = p.ask(ctx, dmarcQuestion+rec.domain, dns.TypeTXT)
		}
		texts := dmarcTexts(a)
		found := dmarcFaults(texts)
		if len(found) == 0 {
			d, _ := parseDMARC(texts[0])
			return pass("%s", strings.Join(append([]string{d.Text}, d.Notes...), "; "))
		}
		return fail(correcting(a, texts), "one record, v=DMARC1 first", "%s", strings.Join(found, "; "))
	},
}

// dmarcFaults are what is wrong with the records of one name.
func dmarcFaults(texts []string) (all []string) {
	if len(texts) > 1 {
		return []string{fmt.Sprintf("%d records, which count as none", len(texts))}
	}
	d, err := parseDMARC(texts[0])
	if err != nil {
		return []string{fmt.Sprintf("%q counts as none: %s", texts[0], strings.TrimPrefix(err.Error(), "DMARC record: "))}
	}
	for _, f := range d.Faults {
		all = append(all, fmt.Sprintf("%q %s", f.Text, f.What))
	}
	return all
}

// correcting leaves one record, with what is wrong in it put right. Of several the
// mildest stays: until now none of them was in force.
func correcting(a *dns.Answer, texts []string) Remedy {
	mild := func(text string) int {
		d, _ := parseDMARC(correctDMARC(text))
		return slices.Index([]string{"none", "quarantine", "reject"}, d.Policy)
	}
	kept := slices.MinFunc(texts, func(a, b string) int { return mild(a) - mild(b) })
	domain := strings.TrimPrefix(a.Question, dmarcQuestion)
	r := Remedy{Title: "Correct the DMARC record of " + domain, Who: "whoever runs the zone of " + strings.TrimPrefix(a.Name, dmarcQuestion), Steps: elsewhere(a)}
	if len(texts) > 1 {
		r.Title = "Leave " + domain + " one DMARC record"
		r.Steps = append(r.Steps, "Of the policies the mildest is kept; none of them is in force while there are several.")
	}
	for _, t := range texts {
		if !strings.HasPrefix(compact(t), "v=dmarc1;") { // Replace leaves what has no version tag
			r.Records = append(r.Records, record(Remove, a.Name, "TXT", Quote(t)))
		}
	}
	do := Replace
	if len(r.Records) == len(texts) {
		do = Add
	}
	r.Records = append(r.Records, record(do, a.Name, "TXT", Quote(correctDMARC(kept))))
	return r
}

var dmarcRUA = &Check{
	ID:       "DMARC-RUA",
	Scope:    ScopeSender,
	Title:    "whoever gets the DMARC reports wants them",
	Severity: Informational,
	Change:   "x",
	Why:      "reports go to an address of another organisation only if its domain says that it takes them",
	Ref:      "RFC 9990 section 4",
	Needs:    []string{"DMARC-VALID"},
	Words: Words{
		How:       "Takes each address of rua= that is of another organisation, and asks for TXT at DOMAIN._report._dmarc.TARGET, which has to say v=DMARC1. A definite answer without that fails.",
		Found:     "reports.example.org does not take the reports for example.net (NXDOMAIN)",
		Expected:  "authorised",
		Mend:      `example.net._report._dmarc.reports.example.org. 3600 IN TXT "v=DMARC1"`,
		Do:        Add,
		Ask:       "whoever runs the zone of the target",
		Quote:     "It is possible to specify destinations for the different reports that are outside the authority of the Domain Owner making the request.",
		Receivers: "Those that send reports: without the record they send none.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		rec, open := p.walk(ctx, p.Sender.Domain).applies()
		switch {
		case open != nil:
			return unknown("authorised", open)
		case rec == nil || len(rec.Aggregate) == 0:
			return skip("no reports are asked for")
		}
		r := Remedy{Title: "Have the reports for " + rec.domain + " taken"}
		var found, targets []string
		for _, uri := range rec.Aggregate[:min(len(rec.Aggregate), maxReportURIs)] {
			target := mailDomain(uri)
			if target == "" || slices.Contains(targets, target) {
				continue
			}
			targets = append(targets, target)
			a, open := p.takesReports(ctx, rec.domain, target)
			switch {
			case open != nil:
				return unknown("authorised", open)
			case a != nil:
				found = append(found, fmt.Sprintf("%s does not take the reports for %s (%s)", target, rec.domain, outcome(a)))
				r.Who = "whoever runs the zone of " + target
				r.Records = append(r.Records, record(Add, a.Name, "TXT", Quote("v=DMARC1")))
			}
		}
		if len(found) > 0 {
			return fail(r, "authorised", "%s", list(found))
		}
		return pass("%s", list(rec.Aggregate))
	},
}

// maxReportURIs of a record are looked at; receivers report to few.
const maxReportURIs = 8

// takesReports asks whether target takes the reports for a domain. It returns the
// answer that denies it, or one that leaves it open; neither: it does.
func (p *Probe) takesReports(ctx context.Context, domain, target string) (no, open *dns.Answer) {
	same, open := p.aligned(ctx, target, p.walk(ctx, domain), false)
	if same || open != nil {
		return nil, open
	}
	a := p.ask(ctx, domain+"._report._dmarc."+target, dns.TypeTXT)
	if !definite(a) {
		return nil, a
	}
	for _, r := range a.Records {
		if v, _, _ := strings.Cut(r.Text, ";"); strings.TrimSpace(v) == "v=DMARC1" {
			return nil, nil
		}
	}
	return a, nil
}

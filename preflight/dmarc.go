package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"smtprelay/preflight/dns"
)

var dmarcChecks = []*Check{dmarcPresent}

const (
	walkLabels    = 8 // longer names are cut to 7 labels, RFC 9989 section 4.10
	dmarcQuestion = "_dmarc."
)

var dmarcPresent = &Check{
	ID:       "DMARC-PRESENT",
	Scope:    ScopeSender,
	Title:    "the sender domain has a DMARC record",
	Severity: Recommended,
	Change:   "^",
	Why:      "Gmail (4.7.31, 5.7.40) and Outlook want one of larger senders, if only p=none",
	Ref:      "RFC 9989 section 4.10",
	Needs:    []string{"DNS-REACHABLE"},
	Run: func(ctx context.Context, p *Probe) Result {
		domain := p.Sender.Domain
		var found *dmarcRecord
		var several, open *dns.Answer
	walk:
		for _, name := range dmarcWalk(domain) {
			a := p.ask(ctx, dmarcQuestion+name, dns.TypeTXT)
			records := dmarcRecords(a)
			switch {
			case !definite(a) && open == nil:
				open = a
			case len(records) > 1 && several == nil:
				several = a
			case len(records) != 1:
			case name == domain:
				return pass("p=%s", records[0].Policy)
			case records[0].PSD == "y" && found != nil: // one below it is the organisation
				break walk
			default:
				found = &records[0]
				if found.PSD == "y" || found.PSD == "n" {
					break walk
				}
			}
		}
		if found != nil {
			return pass("p=%s; that of the organisation", found.inherited())
		}
		if open != nil {
			return unknown("one", open)
		}
		r := Remedy{
			Title: "Publish a DMARC record for " + domain,
			Who:   "whoever runs the zone of " + domain,
			Records: []Record{record(Add, dmarcQuestion+domain, "TXT",
				Quote(fmt.Sprintf("v=DMARC1; p=none; rua=mailto:postmaster@%s", domain)))},
			Steps: []string{"p=none asks for reports and changes nothing else. rua is an address of yours that takes them."},
		}
		if several != nil && several.Question == dmarcQuestion+domain {
			r.Title = "Leave " + domain + " one DMARC record"
			r.Records = []Record{record(Replace, several.Name, "TXT", Quote(dmarcRecords(several)[0].Text))}
			return fail(r, "one", "%d DMARC records, which count as none", len(dmarcRecords(several)))
		}
		a := p.ask(ctx, dmarcQuestion+domain, dns.TypeTXT)
		r.Records[0].Owner = a.Name
		r.Steps = append(r.Steps, elsewhere(a)...)
		return fail(r, "one", "no DMARC record for %s", domain)
	},
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

// dmarcRecord is what of a DMARC record matters here.
type dmarcRecord struct {
	Text      string
	Policy    string // p=; "none" when it is missing (RFC 9989 section 4.7)
	Subdomain string // sp=
	PSD       string
}

// inherited is the policy for domains below the one with the record.
func (d dmarcRecord) inherited() string {
	if d.Subdomain != "" {
		return d.Subdomain
	}
	return d.Policy
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

// parseDMARC reads a record. Unknown tags are ignored; the version has to come
// first.
func parseDMARC(txt string) (dmarcRecord, error) {
	v, _, _ := strings.Cut(txt, ";")
	if tag, value, ok := strings.Cut(v, "="); !ok || strings.TrimSpace(tag) != "v" || strings.TrimSpace(value) != "DMARC1" {
		return dmarcRecord{}, errors.New("DMARC record: it does not begin with v=DMARC1")
	}
	all, _, err := tags(txt)
	if err != nil {
		return dmarcRecord{}, fmt.Errorf("DMARC record: %w", err)
	}
	d := dmarcRecord{Text: txt, Policy: "none", Subdomain: policy(all["sp"]), PSD: strings.ToLower(all["psd"])}
	if p := policy(all["p"]); p != "" {
		d.Policy = p
	}
	return d, nil
}

// policy is one of the three there are, or "".
func policy(s string) string {
	switch s = strings.ToLower(s); s {
	case "none", "quarantine", "reject":
		return s
	}
	return ""
}

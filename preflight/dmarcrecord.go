package preflight

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// dmarcRecord is a DMARC policy record (RFC 9989 section 4.7). What is not said
// has its default. Faults are tags that receivers ignore since they cannot read
// them; Notes are worth a word and nothing more.
type dmarcRecord struct {
	Text      string
	Policy    string // p=; "none" when it is missing
	Subdomain string // sp=
	Missing   string // np=, for subdomains that do not exist
	StrictSPF bool   // aspf=s
	StrictKey bool   // adkim=s
	Test      bool   // t=y
	PSD       string // psd=: y, n, or u
	Aggregate []string
	Failure   []string // rua= and ruf=: URIs, without a size behind them
	Options   []string // fo=
	Faults    []tagFault
	Notes     []string
}

// tagFault is what is wrong with a tag, and what was meant; "" if it is to go.
type tagFault struct{ Text, What, Fixed string }

var errVersion = errors.New("it does not begin with v=DMARC1")

// parseDMARC reads a record. One that does not begin with the version is none,
// nor is one in which a tag stands twice (RFC 6376 section 3.2); any other fault
// costs its own tag only (RFC 9989 section 4.8). Unknown tags are ignored.
func parseDMARC(txt string) (dmarcRecord, error) {
	d := dmarcRecord{Text: txt, Policy: "none", PSD: "u"}
	seen := map[string]bool{}
	for i, t := range tagList(txt) {
		switch {
		case i == 0:
			if t.Name != "v" || t.Value != "DMARC1" {
				return dmarcRecord{}, fmt.Errorf("DMARC record: %w", errVersion)
			}
		case t.Name == "":
			d.fault(t, "is no tag=value", "")
		case seen[t.Name]:
			return dmarcRecord{}, fmt.Errorf("DMARC record: %w: %s", errTagTwice, t.Name)
		default:
			d.tag(t)
		}
		seen[t.Name] = true
	}
	switch {
	case !seen["v"]:
		return dmarcRecord{}, fmt.Errorf("DMARC record: %w", errVersion)
	case !seen["p"]:
		d.Notes = append(d.Notes, "no p=, which counts as p=none")
	case slices.ContainsFunc(d.Faults, func(f tagFault) bool { return isPolicyTag(f.Text) }):
		// One policy that cannot be read voids them all, RFC 9989 section 4.10.1.
		d.Policy, d.Subdomain, d.Missing = "none", "", ""
	}
	return d, nil
}

func isPolicyTag(text string) bool {
	name, _, _ := strings.Cut(text, "=")
	return slices.Contains([]string{"p", "sp", "np"}, strings.TrimSpace(name))
}

func (d *dmarcRecord) fault(t tagged, what, fixed string) {
	d.Faults = append(d.Faults, tagFault{t.Text, what, fixed})
}

// tag reads one. Values are not case-sensitive, names are.
func (d *dmarcRecord) tag(t tagged) {
	value := strings.ToLower(t.Value)
	word := func(of ...string) string {
		if slices.Contains(of, value) {
			return value
		}
		fixed := ""
		if t.Name == "p" {
			fixed = "p=none"
		}
		d.fault(t, "is none of "+strings.Join(of, ", "), fixed)
		return of[0]
	}
	switch t.Name {
	case "p":
		d.Policy = word("none", "quarantine", "reject")
	case "sp":
		d.Subdomain = word("none", "quarantine", "reject")
	case "np":
		d.Missing = word("none", "quarantine", "reject")
	case "adkim":
		d.StrictKey = word("r", "s") == "s"
	case "aspf":
		d.StrictSPF = word("r", "s") == "s"
	case "t":
		d.Test = word("n", "y") == "y"
	case "psd":
		d.PSD = word("u", "n", "y")
	case "fo":
		d.options(t, value)
	case "rua":
		d.Aggregate = d.addresses(t)
	case "ruf":
		d.Failure = d.addresses(t)
	case "pct", "rf", "ri":
		d.Notes = append(d.Notes, t.Name+"= is no longer used")
	}
}

// options reads fo=: 0 or 1, d and s, each once.
func (d *dmarcRecord) options(t tagged, value string) {
	d.Options = strings.Split(value, ":")
	seen := map[string]bool{}
	for i, o := range d.Options {
		o = strings.TrimSpace(o)
		if !slices.Contains([]string{"0", "1", "d", "s"}, o) || seen[o] || seen["0"] && o == "1" || seen["1"] && o == "0" {
			d.fault(t, "is no list of 0 or 1, d and s", "")
			d.Options = nil
			return
		}
		d.Options[i], seen[o] = o, true
	}
}

// addresses reads a list of URIs. A size behind one, "!10m", is of old and ignored.
func (d *dmarcRecord) addresses(t tagged) (all []string) {
	var fixed []string
	bad := false
	for uri := range strings.SplitSeq(t.Value, ",") {
		uri, _, _ = strings.Cut(strings.TrimSpace(uri), "!")
		u, err := url.Parse(uri)
		switch {
		case err == nil && u.Scheme == "mailto" && mailDomain(uri) != "", err == nil && u.Scheme != "" && u.Scheme != "mailto":
			all, fixed = append(all, uri), append(fixed, uri)
		case mailDomain("mailto:"+uri) != "":
			bad, fixed = true, append(fixed, "mailto:"+uri)
		default:
			bad = true
		}
	}
	if bad {
		mended := ""
		if len(fixed) > 0 {
			mended = t.Name + "=" + strings.Join(fixed, ",")
		}
		d.fault(t, "has what is no URI: each begins with mailto:", mended)
	}
	return all
}

// mailDomain is the canonical domain of a mailto URI, "" where there is none.
func mailDomain(uri string) string {
	if len(uri) < len("mailto:") || !strings.EqualFold(uri[:len("mailto:")], "mailto:") {
		return ""
	}
	addr, _, _ := strings.Cut(uri[len("mailto:"):], "?")
	i := strings.LastIndexByte(addr, '@')
	if i <= 0 {
		return ""
	}
	domain, err := url.PathUnescape(addr[i+1:])
	if err != nil {
		return ""
	}
	name, err := dns.Canonical(domain)
	if err != nil || !dns.IsHostname(name) {
		return ""
	}
	return name
}

// correctDMARC is a record with what is wrong put right: the version first, each
// tag once, what cannot be read as it was meant or not at all.
func correctDMARC(txt string) string {
	var others []string
	seen := map[string]bool{"v": true, "": true}
	for _, t := range tagList(txt) {
		if !seen[t.Name] {
			others = append(others, t.Name+"="+t.Value)
		}
		seen[t.Name] = true
	}
	mended := strings.Join(append([]string{"v=DMARC1"}, others...), "; ")
	d, err := parseDMARC(mended)
	if err != nil {
		return "v=DMARC1; p=none"
	}
	kept := []string{"v=DMARC1"}
	for _, o := range others {
		i := slices.IndexFunc(d.Faults, func(f tagFault) bool { return f.Text == strings.TrimSpace(o) })
		switch {
		case i < 0:
			kept = append(kept, o)
		case d.Faults[i].Fixed != "":
			kept = append(kept, d.Faults[i].Fixed)
		}
	}
	return strings.Join(kept, "; ")
}

// enforces tells whether a policy has mail that is not aligned refused or put
// aside. In test mode it is one level milder (t=y), and no promise.
func enforces(policy string) bool { return policy == "quarantine" || policy == "reject" }

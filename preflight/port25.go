package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"
)

var networkChecks = []*Check{ehloStable, netPort25, netPort25Honest}

var netPort25 = &Check{
	ID:       "NET-PORT25",
	Scope:    ScopeSource,
	Title:    "mail servers can be reached on port 25",
	Severity: Mandatory,
	Change:   "v",
	Why:      "many hosters close port 25 until they are asked to open it: mail would wait until it expires",
	Ref:      "RFC 5321 section 4.5.4.2",
	Needs:    []string{"EGRESS-BINDABLE", "EHLO-PUBLIC-NAME"},
	Here:     true,
	Outward:  true,
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Probe == nil {
			return skip("not connected to")
		}
		n := p.inquire(ctx)
		spoke, asked := n.spoke()
		switch at := p.run.seen.answered(p.Source.key()); {
		case spoke > 0:
			return pass("%d of %d mail servers answered on port 25", spoke, asked)
		case at.After(n.At):
			return pass("a mail server answered on port 25 at %s UTC", at.UTC().Format(time.TimeOnly))
		case len(n.Witnesses) > 0 && asked == 0:
			return skip("DNS knows no mail server to try: " + n.why())
		case len(n.Witnesses) == 0:
			return Result{Status: Unknown, Found: "no mail server could be asked yet", Expected: "1"}
		}
		r := Result{Found: fmt.Sprintf("%d of %d answered on port 25 (%s)", spoke, asked, n.why()), Expected: "1"}
		if r.Status = Fail; n.unsure() {
			r.Status = Unknown
		}
		r.Remedy = Remedy{
			Title:   "Have port 25 opened for " + p.Source.Name,
			Who:     "the provider of the machine or the connection; else whoever runs the firewall",
			Setting: `url = "smtp://user@smtp.isp.example:587"`,
			Steps: []string{
				"AWS, Azure, Google Cloud and many hosters close outgoing port 25 until they are asked to open it.",
				"The setting is for where it stays closed: a [[smarthost]] is reached on port 587 or 465.",
			},
		}
		return r
	},
}

// why the mail servers did not answer, each reason once.
func (n Round) why() string {
	var all []string
	seen := map[string]bool{}
	for _, a := range n.Witnesses {
		if !a.Spoke && a.Err != "" && !seen[a.Err] {
			seen[a.Err] = true
			all = append(all, a.Err)
		}
	}
	return strings.Join(all, "; ")
}

// unsure: some may well have answered, had we got as far as asking.
func (n Round) unsure() bool {
	for _, a := range n.Witnesses {
		if a.Unsure {
			return true
		}
	}
	return false
}

var netPort25Honest = &Check{
	ID:       "NET-PORT25-HONEST",
	Scope:    ScopeSource,
	Title:    "port 25 leads to the mail server that was dialled",
	Severity: Recommended,
	Change:   "x",
	Why:      "some networks lead every connection to port 25 to a machine of their own, which sends under its own address or not at all",
	Ref:      "RFC 5321 section 4.2",
	Needs:    []string{"NET-PORT25"},
	Here:     true,
	Outward:  true,
	Run: func(ctx context.Context, p *Probe) Result {
		if p.run.out.Probe == nil {
			return skip("not connected to")
		}
		n := p.inquire(ctx)
		if spoke, _ := n.spoke(); spoke == 0 {
			return skip("no mail server was asked")
		}
		var found []string
		for _, a := range n.Witnesses {
			if a.Spoke && !a.Honest {
				found = append(found, fmt.Sprintf("%s answered as %q", a.Host, a.Name))
			}
		}
		// One that calls itself strangely is its operator's affair; a network that
		// redirects does so with all of them.
		if n.honest() {
			return pass("mail servers answer in their own names")
		}
		return fail(Remedy{
			Title: "Get out of the redirection of port 25",
			Who:   "whoever runs the network between " + p.Source.Name + " and the internet",
			Steps: []string{"Ask for port 25 to be let through as it is, or send through their smart host ([[smarthost]])."},
		}, "names of those who were dialled", "%s", list(found))
	},
}

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
	Words: Words{
		How:       "Connects from the bind address to port 25 of the mail servers of `probe` (three large ones unless you name others), 10 s each, reads the greeting, says EHLO and QUIT. One that answers passes. All of them refused or timed out fail. A source is tried once an hour at most; a delivery that reached a server counts too.",
		Found:     "0 of 3 answered on port 25 (timed out)",
		Expected:  "1",
		Mend:      `url = "smtp://user@smtp.isp.example:587"`,
		Ask:       "the provider of the machine or the connection",
		Quote:     "The SMTP server SHOULD attempt to keep a pending listen on the SMTP port (specified by IANA as port 25) at all times.",
		Basis:     "So the mail servers of the world are there; it is the way out that is closed.",
		Receivers: "None: they are never reached.",
	},
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
			Under:   "[[smarthost]]",
			Instead: "where it stays closed, a smart host on port 587 or 465",
			Steps:   []string{"AWS, Azure, Google Cloud and many hosters close outgoing port 25 until they are asked to open it."},
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
	Ref:      "RFC 5321 section 4.3.1",
	Needs:    []string{"NET-PORT25"},
	Here:     true,
	Outward:  true,
	Words: Words{
		How:       "Looks at the names in greeting and certificate of the servers that NET-PORT25 reached. One that is of the operator who was dialled, or that gives no name, passes. Where all of them answer in a stranger's name it fails.",
		Found:     `mx.gmail.com answered as "mx.isp.example.org", mx.outlook.com answered as "mx.isp.example.org", mx.yahoo.com answered as "mx.isp.example.org"`,
		Expected:  "names of those who were dialled",
		Mend:      "Get out of the redirection of port 25",
		Ask:       "whoever runs the network between here and the internet",
		Quote:     "Note: all the greeting-type replies have the official name (the fully-qualified primary domain name) of the server host as the first word following the reply code.",
		Receivers: "None sees us; they see the machine in between.",
	},
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

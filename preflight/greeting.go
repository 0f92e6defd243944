package preflight

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// Prober greets a mail server of a domain from a source, as delivery would do,
// and says goodbye. No message is sent.
type Prober interface {
	Greet(ctx context.Context, s Source, domain string) Greeting
}

// Greeting is what a mail server let us see.
type Greeting struct {
	Host   string // of the exchanger
	Addr   netip.Addr
	At     time.Time // when it spoke first
	Code   int       // of that; 0: it said nothing
	Banner string    // the text of that
	Hello  string    // the answer to our EHLO
	Names  []string  // in its certificate
	Err    string    // why it came no further
	Absent bool      // there is no such mail server, for this family
	Unsure bool      // Err says nothing of port 25: DNS did not answer, or the fault is ours
}

// Round is one inquiry of a source: what each mail server showed us.
type Round struct {
	At        time.Time `json:"at"`
	Witnesses []Witness `json:"witnesses,omitempty"`
}

// Witness is what one mail server showed, as far as it is worth keeping.
type Witness struct {
	Host   string        `json:"host"` // asked
	Spoke  bool          `json:"spoke,omitempty"`
	Name   string        `json:"name,omitempty"`   // that it gave itself
	Honest bool          `json:"honest,omitempty"` // and that is one of its operator
	Dated  bool          `json:"dated,omitempty"`  // its banner told the time
	Ahead  time.Duration `json:"ahead,omitempty"`  // of that time is our clock
	Err    string        `json:"err,omitempty"`
	Absent bool          `json:"absent,omitempty"`
	Unsure bool          `json:"unsure,omitempty"`
}

// echo is our address as the server sees it: in its hello, or in its refusal.
func (g Greeting) echo() (netip.Addr, bool) {
	if a, ok := Echo(firstLine(g.Hello), g.Addr, false); ok {
		return a, true
	}
	if g.Code >= 400 {
		return Echo(g.Banner, g.Addr, true)
	}
	return netip.Addr{}, false
}

func (g Greeting) witness(domain string) Witness {
	a := Witness{Host: g.Host, Spoke: g.Code != 0, Err: g.Err, Absent: g.Absent, Unsure: g.Unsure}
	if a.Host == "" {
		a.Host = domain
	}
	if !a.Spoke {
		return a
	}
	a.Name, a.Honest = g.name(domain)
	if said, ok := dated(g.Banner); ok {
		a.Dated, a.Ahead = true, g.At.Sub(said).Round(time.Second)
	}
	return a
}

// name is what the server calls itself, and whether that is a name of the
// operator who was dialled: banner or certificate have to say so, as large ones
// greet with one registered domain and are found under another.
func (g Greeting) name(domain string) (name string, honest bool) {
	var names []string
	if f := strings.Fields(g.Banner); len(f) > 0 && dns.IsHostname(strings.ToLower(f[0])) {
		names = append(names, strings.ToLower(f[0]))
	}
	for _, n := range g.Names {
		names = append(names, strings.ToLower(strings.TrimPrefix(n, "*.")))
	}
	for _, n := range names {
		if org := organisation(n); org == organisation(g.Host) || org == organisation(domain) {
			return n, true
		}
	}
	if len(names) == 0 {
		return "", true // it gave no name: nothing to doubt
	}
	return names[0], false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

var mailDate = regexp.MustCompile(`[A-Z][a-z]{2}, {1,2}\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`)

// dated finds the time in a banner, which some servers tell (RFC 5322 section 3.3).
func dated(banner string) (time.Time, bool) {
	t, err := time.Parse("Mon, _2 Jan 2006 15:04:05 -0700", mailDate.FindString(firstLine(banner)))
	return t, err == nil
}

// spoke, asked: of how many mail servers that there are.
func (n Round) spoke() (spoke, asked int) {
	for _, a := range n.Witnesses {
		if a.Spoke {
			spoke++
		}
		if !a.Absent {
			asked++
		}
	}
	return spoke, asked
}

// honest: all that spoke have been led to where they claim to be, or enough of them.
func (n Round) honest() bool {
	spoke, honest := 0, 0
	for _, a := range n.Witnesses {
		if a.Spoke {
			spoke++
			if a.Honest {
				honest++
			}
		}
	}
	return spoke == 0 || honest > 0
}

// offset of our clock, by the banner that agrees with it best.
func (n Round) offset() (ahead time.Duration, known bool) {
	for _, a := range n.Witnesses {
		if a.Dated && (!known || a.Ahead.Abs() < ahead.Abs()) {
			ahead, known = a.Ahead, true
		}
	}
	return ahead, known
}

// moot: nothing was reached that could have said anything.
func (n Round) moot() bool {
	for _, a := range n.Witnesses {
		if !a.Unsure && !a.Absent {
			return false
		}
	}
	return true
}

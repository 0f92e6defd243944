package config

import (
	"strings"

	"smtprelay/relay"
	"smtprelay/relay/deliver"
)

// Destination is how much the hosts of some destinations are asked to take.
type Destination struct {
	Match       []string `toml:"match"` // domains, or names of exchangers: "example.com", "*.example.com", "*"
	Connections int      `toml:"connections"`
	PerMinute   int      `toml:"per_minute"` // messages
}

type destinations []Destination

func (ds destinations) fill(l *loader, o *relay.Options) {
	seen := map[string]bool{}
	for i, d := range ds {
		key := index("destination", i)
		limit := deliver.Limit{Connections: d.Connections, PerMinute: d.PerMinute}
		if len(d.Match) == 0 {
			l.bad(key+".match", `write for example ["example.com", "*.example.net"]`, "missing: expected names of domains or of their exchangers")
		}
		for j, text := range d.Match {
			key := index(key+".match", j)
			p, ok := l.pattern(key, text)
			if ok && seen[p] {
				l.bad(key, "the first one counts", "%q: a second time", text)
			}
			seen[p] = true
			limit.Match = append(limit.Match, p)
		}
		if d.Connections == 0 && d.PerMinute == 0 {
			l.bad(key, "say how many connections, or messages per_minute", "limits nothing")
		}
		l.number(key+".connections", d.Connections, 0, 1000)
		l.number(key+".per_minute", d.PerMinute, 0, 1_000_000)
		o.Deliver.Limits = append(o.Deliver.Limits, limit)
	}
}

// pattern is a name, "*.name" for all below it, or "*" for all.
func (l *loader) pattern(key, text string) (string, bool) {
	if text == "*" {
		return text, true
	}
	name, below := strings.CutPrefix(text, "*.")
	if strings.Contains(name, "*") {
		l.bad(key, `write "*.example.com" for all names below example.com`, "%q: a * that is not the first label", text)
		return "", false
	}
	name, ok := l.domain(key, name)
	if below {
		name = "*." + name
	}
	return name, ok
}

package config

import (
	"maps"
	"slices"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay"
)

// Preflight is what the operator chose for the checks.
type Preflight struct {
	OnFail       string            `toml:"on_fail"`        // refuse, smarthost, hold, warn
	OnUnknown    string            `toml:"on_unknown"`     // hold, smarthost, refuse, send
	OnSenderFail string            `toml:"on_sender_fail"` // as on_fail, and reject
	SPF          string            `toml:"spf"`            // require, warn, off
	EHLOMatch    string            `toml:"ehlo_match"`     // strict, forward, org
	Grace        Duration          `toml:"grace"`
	Settle       Settle            `toml:"settle"`
	StartupWait  Duration          `toml:"startup_wait"`
	RecheckMin   Duration          `toml:"recheck_min"`
	RecheckMax   Duration          `toml:"recheck_max"`
	Looks        int               `toml:"looks"`
	Span         Duration          `toml:"span"`
	Private      bool              `toml:"private"`
	Severity     map[string]string `toml:"severity"`
	DNSBL        []string          `toml:"dnsbl"`     // zones of block lists
	Discovery    string            `toml:"discovery"` // passive, active, off
	Probe        []string          `toml:"probe"`     // domains whose mail servers show whether port 25 is open
}

func defaultPreflight() Preflight {
	return Preflight{
		OnUnknown: "hold", SPF: "require", EHLOMatch: "strict",
		Grace: minutes(6 * 60), Settle: Settle{-1}, StartupWait: minutes(1),
		RecheckMin: minutes(15), RecheckMax: minutes(6 * 60), Looks: 3, Span: minutes(10),
		DNSBL:     []string{"zen.spamhaus.org", "bl.spamcop.net"},
		Discovery: preflight.DiscoverPassive, Probe: preflight.DefaultProbe(),
	}
}

// complete: without a word of the operator's a smart host takes what may not
// leave directly, and a sender's failure is treated like any other.
func (p *Preflight) complete(f *File) {
	if p.OnFail == "" {
		p.OnFail = "refuse"
		if len(f.SmartHost) > 0 {
			p.OnFail = "smarthost"
		}
	}
	if p.OnSenderFail == "" {
		p.OnSenderFail = p.OnFail
	}
}

func (p Preflight) fill(l *loader, o *relay.Options) { o.Plan.Policy = p.policy(l) }

func (p Preflight) policy(l *loader) preflight.Policy {
	l.choice("preflight.on_fail", p.OnFail, "refuse", "smarthost", "hold", "warn")
	l.choice("preflight.on_unknown", p.OnUnknown, "hold", "smarthost", "refuse", "send")
	l.choice("preflight.on_sender_fail", p.OnSenderFail, "refuse", "smarthost", "hold", "warn", "reject")
	l.choice("preflight.spf", p.SPF, "require", "warn", "off")
	l.choice("preflight.ehlo_match", p.EHLOMatch, "strict", "forward", "org")
	l.choice("preflight.discovery", p.Discovery, preflight.DiscoverPassive, preflight.DiscoverActive, preflight.DiscoverOff)
	p.needsSmartHost(l)
	if p.RecheckMin > p.RecheckMax {
		l.bad("preflight.recheck_min", "", "%v: longer than recheck_max, %v", p.RecheckMin, p.RecheckMax)
	}
	second := Duration(time.Second)
	settle := preflight.SettleAuto
	if p.Settle.Duration >= 0 {
		settle = l.between("preflight.settle", p.Settle.Duration, 0, minutes(4*60))
	}
	return preflight.Policy{
		OnFail:       preflight.Action(p.OnFail),
		OnUnknown:    preflight.Action(p.OnUnknown),
		OnSenderFail: preflight.Action(p.OnSenderFail),
		SPF:          p.SPF,
		EHLOMatch:    p.EHLOMatch,
		Grace:        l.between("preflight.grace", p.Grace, 0, minutes(24*60)),
		Settle:       settle,
		StartupWait:  l.between("preflight.startup_wait", p.StartupWait, second, minutes(10)),
		RecheckMin:   l.between("preflight.recheck_min", p.RecheckMin, second, minutes(24*60)),
		RecheckMax:   l.between("preflight.recheck_max", p.RecheckMax, second, minutes(7*24*60)),
		Looks:        l.number("preflight.looks", p.Looks, 1, 10),
		Span:         l.between("preflight.span", p.Span, 0, minutes(60)),
		Private:      p.Private,
		Severity:     l.severities(p.Severity),
		DNSBL:        l.blockLists("preflight.dnsbl", p.DNSBL),
		Discovery:    p.Discovery,
		Probe:        l.probes("preflight.probe", p.Probe),
	}
}

// probes are the domains whose mail servers are greeted. Without any, nobody
// could say whether port 25 is open.
func (l *loader) probes(key string, names []string) (all []string) {
	if len(names) == 0 || len(names) > preflight.MaxProbes {
		l.bad(key, `write for example ["gmail.com", "outlook.com"], or leave it out`, "%d domains: expected 1 to %d", len(names), preflight.MaxProbes)
	}
	for i, text := range names {
		if name, ok := l.domain(index(key, i), text); ok {
			all = append(all, name)
		}
	}
	return all
}

func (p Preflight) needsSmartHost(l *loader) {
	if len(l.file.SmartHost) > 0 {
		return
	}
	for _, s := range []struct{ key, word string }{
		{"preflight.on_fail", p.OnFail}, {"preflight.on_unknown", p.OnUnknown}, {"preflight.on_sender_fail", p.OnSenderFail},
	} {
		if s.word == "smarthost" && (s.key != "preflight.on_sender_fail" || p.OnSenderFail != p.OnFail) {
			l.bad(s.key, `add a [[smarthost]], or choose "hold"`, "%q: there is no [[smarthost]]", s.word)
		}
	}
}

// severities lets an operator change what each check allows.
func (l *loader) severities(table map[string]string) map[string]preflight.Severity {
	out := map[string]preflight.Severity{}
	for _, id := range slices.Sorted(maps.Keys(table)) {
		to := preflight.Severity(table[id])
		if err := preflight.MayChange(id, to); err != nil {
			l.bad(join("preflight.severity", id), nearestCheck(id), "%v", err)
			continue
		}
		out[id] = to
	}
	return out
}

// nearestCheck is the hint for an id.
func nearestCheck(id string) string {
	best, least := "", 4
	for _, c := range preflight.Checks {
		if n := preflight.Distance(id, c.ID); n < least {
			best, least = c.ID, n
		}
	}
	switch best {
	case id:
		return "relay preflight --explain " + id + " says what it looks at, and why"
	case "":
		return "relay preflight lists the checks"
	}
	return "did you mean " + best + "?"
}

// maxBlockLists is more than anybody has a use for: each is asked for every source.
const maxBlockLists = 16

// blockLists are zones. One may hold the key of an account, so none is repeated here.
func (l *loader) blockLists(key string, names []string) (lists []preflight.BlockList) {
	if len(names) > maxBlockLists {
		l.bad(key, "", "%d lists: expected %d at most", len(names), maxBlockLists)
		return nil
	}
	for i, name := range names {
		zone, err := dns.Canonical(name)
		if err != nil || !dns.IsHostname(zone) {
			l.bad(index(key, i), `write it as "zen.spamhaus.org", or "KEY.zen.dq.spamhaus.net" with a key`, "not the zone of a block list")
			continue
		}
		if list := preflight.BlockList(zone); !slices.Contains(lists, list) {
			lists = append(lists, list)
		}
	}
	return lists
}

package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

var dnsblChecks = []*Check{dnsblUsable, dnsblClean}

var dnsblUsable = &Check{
	ID:       "DNSBL-USABLE",
	Scope:    ScopeHost,
	Title:    "the block lists answer us",
	Severity: Informational,
	Change:   "x",
	Why:      "a list that refuses us or has died says nothing of our addresses, and reads like one that does not list them, or lists them all",
	Ref:      "RFC 5782 section 5",
	Needs:    []string{"DNS-REACHABLE"},
	Outward:  true,
	Words: Words{
		How:       "Asks every list for its test entries: 127.0.0.2 has to be listed and 127.0.0.1 not. An answer 127.255.255.x is a refusal, one outside 127.0.0.0/8 means that the list is dead. It is asked every six hours. A list that does not answer leaves this unknown.",
		Found:     "zen.spamhaus.org refuses: asked through an open resolver, or from an address with a provider's default name (127.255.255.254)",
		Expected:  "every list answers",
		Mend:      `dnsbl = ["KEY.zen.dq.spamhaus.net"]`,
		Ask:       "you; else whoever runs the list",
		Quote:     "IPv4-based DNSxLs MUST contain an entry for 127.0.0.2 for testing purposes.",
		Receivers: "None sees it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if len(p.Plan.Policy.DNSBL) == 0 {
			return skip(noLists)
		}
		const expected = "every list answers"
		var bad, good []string
		var silent *listLook
		r := Remedy{Title: "Have the block lists answer us, or leave them out", Who: "you"}
		for _, l := range p.lookAtLists(ctx, netip.Addr{}) {
			switch {
			case l.trouble != "":
				bad = append(bad, fmt.Sprintf("%s %s", l.list, l.trouble))
				r.Steps = append(r.Steps, unusable(l))
			case l.open != nil:
				silent = &l
			default:
				good = append(good, l.list.String())
			}
		}
		switch {
		case len(bad) > 0:
			return fail(r, expected, "%s", strings.Join(bad, "; "))
		case silent != nil:
			return unknown(expected, silent.open)
		}
		return pass("%s: the test entries are as they must be", list(good))
	},
}

// unusable says what to do about a list that is of no use.
func unusable(l listLook) string {
	if l.list.spamhaus() && strings.HasPrefix(l.trouble, "refuses") {
		return `Ask through a resolver of your own, for example unbound on this host with servers = ["127.0.0.1:53"] under [dns], or with a key: dnsbl = ["KEY.zen.dq.spamhaus.net"] under [preflight].`
	}
	return fmt.Sprintf("Take %s out of dnsbl under [preflight], unless its operator says how it can be asked.", l.list)
}

// noLists is why no list is asked.
const noLists = "no block list is configured"

var dnsblClean = &Check{
	ID:       "DNSBL-CLEAN",
	Final:    true,
	Scope:    ScopeSource,
	Title:    "no block list has the address",
	Severity: Recommended,
	Change:   "x",
	Why:      "Gmail, Outlook, Yahoo, Apple, Orange and whoever runs a filter refuse or sort out mail from a listed address",
	Ref:      "RFC 5782 section 2.1; RFC 5782 section 2.4",
	Needs:    []string{"EGRESS-PUBLIC"},
	Outward:  true,
	Words: Words{
		How:      "Asks each usable list for the address, octets or nibbles backwards, and reads the answer by the codes of that list; for a listing also its TXT. A listing fails. It is asked every six hours; a list that does not answer is left out, and without any that does it is skipped.",
		Found:    "192.0.2.25 is listed by zen.spamhaus.org: PBL (127.0.0.10)",
		Expected: "not listed",
		Mend:     "https://check.spamhaus.org/listed/?searchterm=192.0.2.25 says why, and how to leave.",
		Ask:      "you, at each list",
		Basis:    "No standard demands it; RFC 5782 says how the lists are asked, and each list says what puts an address on it.",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		if len(p.Plan.Policy.DNSBL) == 0 {
			return skip(noLists)
		}
		addr := p.addr()
		var listed, clean []string
		troubles := 0
		r := Remedy{Title: fmt.Sprintf("Get %s off the block lists", addr), Who: "you, at each list"}
		looks := p.lookAtLists(ctx, addr)
		for _, l := range looks {
			switch {
			case l.trouble != "":
				troubles++
			case l.open != nil:
			case len(l.listings) > 0:
				listed = append(listed, l.String())
				r.Steps = append(r.Steps, l.leaving(addr)...)
			default:
				clean = append(clean, l.list.String())
			}
		}
		switch {
		case len(listed) > 0:
			return fail(r, "not listed", "%s is listed by %s", addr, strings.Join(listed, "; "))
		case troubles == len(looks):
			return awaits("DNSBL-USABLE")
		case len(clean) == 0:
			return skip("the block lists do not answer")
		}
		return pass("%s is in none of %s", addr, list(clean))
	},
}

// String is a listing as it is found: `zen.spamhaus.org: PBL (127.0.0.10), "https://..."`.
func (l listLook) String() string {
	s := fmt.Sprintf("%s: %s", l.list, list(l.listings))
	if l.text != "" {
		s += fmt.Sprintf(", %q", l.text)
	}
	return s
}

// leaving says how to get off the list.
func (l listLook) leaving(addr netip.Addr) (steps []string) {
	if page := l.list.page(addr); page != "" {
		steps = append(steps, page+" says why, and how to leave.")
	} else if len(l.list.keys()) == 0 {
		steps = append(steps, "dig "+shellWord(l.list.entry(addr)+".")+" txt")
	}
	if strings.Contains(list(l.listings), "PBL") {
		steps = append(steps, "The PBL has addresses from which no mail is expected, not senders of spam. If the address is static and yours, take it off there yourself; else send through a smart host ([[smarthost]]).")
	}
	return steps
}

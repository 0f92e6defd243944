// Package preflight asks DNS what a receiver of our mail would ask, before any
// mail is sent: does the address have a name, does the name lead back, do we call
// ourselves by it, do the sender domains name us in SPF, DKIM and DMARC. Each
// Check says what it wants, why, and what to do when it is not so; Run makes
// findings of them, Judge verdicts of those, and the Gate holds mail to them.
// An answer that did not come is never taken for a denial.
package preflight

import (
	"fmt"
	"slices"
)

// Checks is every check there is. The order is that of reports, and each check
// stands behind those it needs.
var Checks = slices.Concat(hostChecks, resolverChecks, machineChecks, egressChecks, observedChecks, ptrChecks, ehloChecks, zoneChecks, networkChecks,
	spfHeloChecks, ipv6Checks, dnsblChecks,
	domainChecks, spfSenderChecks, dkimChecks, dmarcChecks, authChecks, smartHostChecks)

func byID(id string) *Check {
	for _, c := range Checks {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// severity is the one that counts: what the result says, else the check's own.
// The operator's word replaces the check's own, and lowers what a result says.
func severity(c *Check, said Severity, chosen map[string]Severity) Severity {
	own := c.Severity
	if s, ok := chosen[c.ID]; ok {
		own = s
		if weightOf(s) < weightOf(said) {
			said = s
		}
	}
	if said != "" {
		return said
	}
	return own
}

func weightOf(s Severity) int {
	return slices.Index([]Severity{Informational, Recommended, Mandatory}, s)
}

// MayChange tells whether the operator may give a check another severity; the
// error says why not, or that there is no such check or severity.
func MayChange(id string, to Severity) error {
	c := byID(id)
	switch {
	case c == nil:
		return fmt.Errorf("there is no check %s", id)
	case weightOf(to) < 0:
		return fmt.Errorf("%q is no severity: mandatory, recommended or informational", to)
	case to == c.Severity:
		return nil
	case follows[id] != "":
		return fmt.Errorf("the severity of %s follows `%s`", id, follows[id])
	case c.Change == "=":
		return fmt.Errorf("%s stays %s; on_fail = \"warn\" sends in spite of it", id, c.Severity)
	case c.Change == "v" && weightOf(to) > weightOf(c.Severity):
		return fmt.Errorf("%s is %s and can only be lowered", id, c.Severity)
	case c.Change == "^" && weightOf(to) < weightOf(c.Severity):
		return fmt.Errorf("%s is %s and can only be raised", id, c.Severity)
	}
	return nil
}

// follows names the setting that decides a check's severity.
var follows = map[string]string{
	"SPF-SENDER-PRESENT": "spf",
	"SPF-SENDER-PASS":    "spf",
	"EHLO-MATCHES-PTR":   "ehlo_match",
}

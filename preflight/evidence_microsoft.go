package preflight

import "strings"

// Outlook.com and Microsoft 365 stand behind the same front: what one says the
// other may say, too.
var microsoft = []string{Outlook, Microsoft365}

var microsoftSayings = []saying{
	{row: 23, by: microsoft, codes: "550", status: "5.7.515", kind: KindOurs,
		says:  []string{"does not meet the required authentication level"},
		names: []string{"AUTH-ALIGNED", "SPF-SENDER-PASS", "SPF-SENDER-PRESENT", "DKIM-MATCHES-KEY", "DKIM-PUBLISHED", "DKIM-CONFIGURED", "DMARC-PRESENT"},
		do:    "read Spf=, Dkim= and DMARC= in the reply"},
	{row: 24, by: microsoft, codes: "550", status: "5.7.1", kind: KindOurs, held: true,
		says:  []string{"part of their network is on our block list"},
		names: []string{"DNSBL-CLEAN"}, do: "use the form for delisting; it may be your hoster's whole range"},
	{row: 25, by: microsoft, codes: "550", kind: KindOurs, held: true,
		says:  []string{"dy-001 .. dynamic ip", "dynamic ip .. dy-001"},
		names: []string{"PTR-NOT-GENERIC"}, do: ownPTR},
	{row: 26, by: microsoft, codes: "550", kind: KindOurs,
		says:  []string{"ou-001", "ou-002", "sc-001", "sc-002", "sc-003", "sc-004"},
		names: []string{"DNSBL-CLEAN"}, do: "OU-001 is Spamhaus; the others are their own lists"},
	{row: 27, by: microsoft, codes: "421/451", status: "4.7.650", kind: KindReputation,
		says: []string{"rp-001", "rp-002", "rp-003", "temporarily rate limited due to ip reputation"}, do: "slow down"},
	{row: 28, by: microsoft, codes: "550", status: "5.7.606-649", kind: KindOurs, held: true,
		says: []string{"banned sending ip"}, names: []string{"DNSBL-CLEAN"}, do: "delist at sender.office.com"},
	{row: 29, by: microsoft, codes: "450/550", status: "4.7.25, 5.7.25", kind: KindFamily,
		says:  []string{"ipv6 address .. must have reverse dns record"},
		names: []string{"IPV6-SOURCE", "PTR-EXISTS"}, do: mendIPv6},
	{row: 30, by: microsoft, codes: "450", status: "4.7.26", kind: KindFamily,
		says:  []string{"over ipv6 .. must pass either spf or dkim"},
		names: []string{"IPV6-SOURCE", "AUTH-ANY", "SPF-SENDER-PASS"}, do: "add an ip6: term to the SPF record"},
	{row: 31, by: microsoft, codes: "550", status: "5.7.23", kind: KindOurs,
		says:  []string{"sender policy framework violation"},
		names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 32, by: microsoft, codes: "550", status: "5.7.509", kind: KindOurs,
		says:  []string{"does not pass dmarc verification"},
		names: []string{"AUTH-ALIGNED"}, do: align},
	{row: 33, by: microsoft, codes: "5xx", status: "5.7.506", kind: KindOurs,
		says:  []string{"bad helo"},
		names: []string{"EHLO-ADDR", "EHLO-PUBLIC-NAME"}, do: "call yourself by a name of your own, never by theirs"},
	{row: 34, by: microsoft, codes: "550", status: "5.2.1, 5.7.510", kind: KindFamily,
		says: []string{"does not accept email over ipv6"}, do: "nothing: it is sent over IPv4"},
}

// levelChecks reads "Spf= Fail , Dkim= Pass , DMARC= None" out of row 23: what
// passed is not missing. Where nothing can be read, all of them may be.
func levelChecks(text string, all []string) (names []string) {
	missing := map[string][]string{
		"spf":   {"SPF-SENDER-PASS", "SPF-SENDER-PRESENT"},
		"dkim":  {"DKIM-MATCHES-KEY", "DKIM-PUBLISHED", "DKIM-CONFIGURED"},
		"dmarc": {"AUTH-ALIGNED"},
	}
	read := false
	for _, tag := range []string{"spf", "dkim", "dmarc"} {
		_, after, found := strings.Cut(text, tag+"=")
		words := strings.FieldsFunc(after, func(r rune) bool { return r < 'a' || r > 'z' })
		if !found || len(words) == 0 {
			continue
		}
		read = true
		switch value := words[0]; {
		case value == "pass" || value == "bestguesspass":
		case tag == "dmarc" && value == "none":
			names = append(names, "DMARC-PRESENT")
		default:
			names = append(names, missing[tag]...)
		}
	}
	switch {
	case !read:
		return all
	case len(names) == 0:
		return []string{"AUTH-ALIGNED"} // each passed for itself
	}
	return names
}

package preflight

// What is said by software and gateways that many run.

var gatewaySayings = []saying{
	{row: 48, by: []string{Mimecast}, codes: "550", kind: KindOurs,
		says: []string{"spf sender invalid - envelope rejected"}, names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 48, by: []string{Mimecast}, codes: "550", kind: KindOurs,
		says:  []string{"dkim sender invalid - envelope rejected"},
		names: []string{"DKIM-MATCHES-KEY", "DKIM-PUBLISHED"}, do: publishDKIM},
	{row: 48, by: []string{Mimecast}, codes: "550", kind: KindOurs,
		says: []string{"dmarc sender invalid - envelope rejected"}, names: []string{"AUTH-ALIGNED"}, do: align},
	// Cloudmark's gateways stand in front of many, under names of their own.
	{row: 49, codes: "554", kind: KindOurs, held: true,
		says: []string{"no dns reverse for"}, names: []string{"PTR-EXISTS"}, do: publishPTR},
}

// The code of each of these can be configured: what is listed is the default
// and what a strict set-up makes of it.
var postfixSayings = []saying{
	{row: 51, codes: "450/550/554", status: "4.7.25, 5.7.25", kind: KindOurs,
		says:  []string{"client host rejected: cannot find your hostname"},
		names: []string{"PTR-FORWARD-CONFIRMED", "PTR-EXISTS", "PTR-ALL-CONFIRMED"}, do: "every PTR name must lead back; it looks at the first it gets"},
	{row: 52, codes: "450/550/554", status: "4.7.1, 5.7.1", kind: KindOurs,
		says:  []string{"client host rejected: cannot find your reverse hostname"},
		names: []string{"PTR-EXISTS"}, do: publishPTR},
	{row: 53, codes: "450/550/554", status: "4.7.1, 5.7.1", kind: KindOurs,
		says:  []string{"helo command rejected: host not found"},
		names: []string{"EHLO-ADDR"}, do: "publish an address record for the EHLO name"},
	{row: 54, codes: "501/504", status: "5.5.2", kind: KindOurs,
		says:  []string{"need fully-qualified hostname", "helo command rejected: invalid name"},
		names: []string{"EHLO-FQDN"}, do: "set ehlo"},
	// The same is said of recipients, and then it is no fault of ours.
	{row: 55, codes: "550", status: "5.7.27", kind: KindOurs,
		says:  []string{"sender address rejected: .. does not accept mail (nullmx)"},
		names: []string{"MX-NOT-NULL"}, do: "remove the null MX of the sender domain"},
	{row: 55, codes: "450/550", status: "4.1.8, 5.1.8", kind: KindOurs,
		says:  []string{"sender address rejected: domain not found"},
		names: []string{"SENDER-RESOLVES"}, do: "give the domain an MX or an address"},
}

var commonSayings = []saying{
	{row: 56, codes: "5xx", kind: KindOurs,
		says: []string{"fix reverse dns for", "no ptr record found", "reverse dns required",
			"reverse dns lookup for host .. failed", "invalid rdns record"},
		names: []string{"PTR-EXISTS"}, do: publishPTR},
	{row: 57, codes: "550/554", status: "5.7.1", kind: KindOurs,
		says: []string{"blocked using zen.spamhaus", "blocked using pbl.spamhaus", "blocked using sbl.spamhaus", "blocked using xbl.spamhaus",
			"blocked using .. barracudacentral", "blocked using bl.spamcop.net", "blocked using csi.cloudmark.com"},
		names: []string{"DNSBL-CLEAN"}, do: "open the list's page; from the PBL you can remove the address yourself, or use a smart host"},
	{row: 58, codes: "550", status: "5.7.1", kind: KindOurs,
		says:  []string{"message rejected due to: spf fail - not authorized"},
		names: []string{"SPF-SENDER-PASS", "SPF-HELO-PASS"}, do: "s= in the reply says which name: s=helo is that of EHLO"},
}

// Answers of Spamhaus that are errors, not listings: the receiver asked through
// an open resolver, or too often.
var theirSayings = []saying{
	{row: 59, codes: "5xx", kind: KindTheirs,
		says: []string{"127.255.255.252", "127.255.255.254", "127.255.255.255"},
		do:   "they ask Spamhaus through an open resolver, which answers nothing of use: tell them"},
}

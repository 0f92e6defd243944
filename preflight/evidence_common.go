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

// What many say of how much we send, and of what they think of us. Before MAIL
// nothing was said but who we are, and so any such word is about that; later it
// has to say so. Words of a whole server that is busy ("too many connections")
// are not among them.
var slowSayings = []saying{
	{row: 60, codes: "4xx", kind: KindRate,
		says: []string{"too many .. from", "too much mail from", "connection rate limit", "rate limit exceeded",
			"exceeded .. rate limit", "message rate limit", "too many connections per"},
		do: "slow down; this is no fault of DNS"},
	{row: 61, codes: "4xx/5xx", kind: KindReputation, early: true, held: true,
		says:  []string{"reputation", "blacklist", "black list", "blocklist", "block list", "denylist", "is blocked", "are blocked", "been blocked", "temporarily blocked", "is listed"},
		names: []string{"DNSBL-CLEAN"}, do: askThem},
	{row: 61, codes: "4xx", kind: KindReputation, held: true, // after MAIL, too
		says:  []string{"poor reputation", "bad reputation", "low reputation", "ip reputation", "reputation of your", "reputation of the sending"},
		names: []string{"DNSBL-CLEAN"}, do: askThem},
	{row: 61, codes: "5xx", kind: KindReputation, held: true,
		says:  []string{"ip reputation", "reputation of your ip", "reputation of the sending", "sending mta's poor reputation"},
		names: []string{"DNSBL-CLEAN"}, do: askThem},
}

const begin = "begin with little mail; look at the block lists"

const askThem = "look at the block lists, send less, and ask their postmaster"

// Answers of Spamhaus that are errors, not listings: the receiver asked through
// an open resolver, or too often.
var theirSayings = []saying{
	{row: 59, codes: "5xx", kind: KindTheirs,
		says: []string{"127.255.255.252", "127.255.255.254", "127.255.255.255"},
		do:   "they ask Spamhaus through an open resolver, which answers nothing of use: tell them"},
}

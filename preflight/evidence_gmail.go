package preflight

const (
	publishPTR  = "publish a PTR and an address record that agree"
	addToSPF    = "add the address to the SPF record of the domain named"
	align       = "sign with d= of the From domain, or let the envelope be of it"
	publishDKIM = "publish the key that the preflight prints"
	mendIPv6    = "mend PTR and AAAA of the IPv6 source, or leave it out"
	ownPTR      = "a PTR of your own, not the provider's default; a dynamic address needs a smart host"
)

var gmailSayings = []saying{
	{row: 1, by: []string{Gmail}, codes: "421/451", status: "4.7.0, 4.7.23", kind: KindOurs, held: true,
		says: []string{"does not have a ptr record", "doesn't have a ptr record", "or the ptr record's forward dns entry",
			"does not match the ip address of the hostname"},
		names: []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, do: publishPTR},
	{row: 2, by: []string{Gmail}, codes: "550", status: "5.7.25", kind: KindOurs, held: true,
		says: []string{"does not have a ptr record", "doesn't have a ptr record", "ptr record setup", "or the ptr record's forward dns entry",
			"sending ip does not match the ip address of the hostname"},
		names: []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, do: publishPTR},
	{row: 3, by: []string{Gmail}, codes: "550", status: "5.7.1", kind: KindFamily, held: true,
		says:  []string{"does not meet ipv6 sending guidelines regarding ptr records and authentication"},
		names: []string{"IPV6-SOURCE"}, do: mendIPv6},
	{row: 4, by: []string{Gmail}, codes: "421/550", status: "4.7.26, 5.7.26", kind: KindOurs,
		says:  []string{"requires all senders to authenticate with either spf or dkim"},
		names: []string{"AUTH-ANY"}, do: "add the address to the SPF record, or sign with DKIM"},
	{row: 5, by: []string{Gmail}, codes: "550", status: "5.7.26", kind: KindOurs,
		says:  []string{"has an spf record with a hard fail policy (-all) but it fails"},
		names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 6, by: []string{Gmail}, codes: "550", status: "5.7.26", kind: KindOurs,
		says:  []string{"not accepted due to domain's dmarc policy"},
		names: []string{"AUTH-ALIGNED"}, do: align},
	{row: 6, by: []string{Gmail}, codes: "451", status: "4.7.26", kind: KindOurs,
		says:  []string{"not accepted due to domain's dmarc policy"},
		names: []string{"AUTH-ALIGNED"}, do: "the zone of the sender domain did not answer: look at its name servers"},
	{row: 7, by: []string{Gmail}, codes: "421/550", status: "4.7.27, 5.7.27", kind: KindOurs,
		says:  []string{"authenticate with spf", "authenticate their email with spf"},
		names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 8, by: []string{Gmail}, codes: "451/550", status: "4.7.24, 5.7.24", kind: KindOurs,
		says:  []string{"spf record of the sending domain has one or more suspicious entries"},
		names: []string{"SPF-NOT-PERMISSIVE"}, do: "remove +all and huge ranges"},
	{row: 9, by: []string{Gmail}, codes: "421/550", status: "4.7.28, 5.7.28", kind: KindContent,
		says: []string{"unusual rate of .. url domain"}, do: "nothing here: who wrote the message should look at the links in it"},
	{row: 9, by: []string{Gmail}, codes: "421/550", status: "4.7.28, 5.7.28", kind: KindRate, sender: true,
		says: []string{"unusual rate of .. spf domain", "unusual rate of .. dkim domain"}, do: "send less of that domain; this is no fault of DNS"},
	{row: 9, by: []string{Gmail}, codes: "421/550", status: "4.7.28, 5.7.28", kind: KindRate,
		says: []string{"unusual rate of"}, do: "slow down; this is no fault of DNS"},
	{row: 10, by: []string{Gmail}, codes: "421/550", status: "4.7.29, 5.7.29", kind: KindTLS,
		says: []string{"use tls/ssl", "use a tls/ssl"}, do: "see why STARTTLS does not work on the way there"},
	{row: 11, by: []string{Gmail}, codes: "421/550", status: "4.7.30, 5.7.30", kind: KindOurs,
		says:  []string{"authenticate with dkim", "authenticate their email with dkim"},
		names: []string{"DKIM-MATCHES-KEY", "DKIM-PUBLISHED", "DKIM-CONFIGURED"}, do: publishDKIM},
	{row: 12, by: []string{Gmail}, codes: "421/550", status: "4.7.31, 4.7.40, 5.7.40", kind: KindOurs,
		says: []string{"doesn't have a dmarc record"}, names: []string{"DMARC-PRESENT"}, do: "publish _dmarc"},
	{row: 13, by: []string{Gmail}, codes: "421/550", status: "4.7.32, 5.7.32", kind: KindOurs,
		says:  []string{"isn't aligned with either the authenticated spf or dkim"},
		names: []string{"AUTH-ALIGNED"}, do: align},
	{row: 14, by: []string{Gmail}, codes: "501", status: "5.5.4", kind: KindOurs,
		says: []string{"helo/ehlo argument"}, names: []string{"EHLO-FQDN", "EHLO-SET"}, do: "set ehlo"},
	{row: 15, by: []string{Gmail}, codes: "550", status: "5.7.1", kind: KindOurs, held: true,
		says:  []string{"is not authorized to send email directly to our servers"},
		names: []string{"PTR-NOT-GENERIC", "DNSBL-CLEAN"}, do: "a dynamic or residential address: use a smart host"},
	{row: 16, by: []string{Gmail}, codes: "421/550", status: "4.7.0, 5.7.1", kind: KindOurs,
		says:  []string{"very low reputation of the sending ip address"},
		names: []string{"DNSBL-CLEAN"}, do: begin},
	{row: 16, by: []string{Gmail}, codes: "421/550", status: "4.7.0, 5.7.1", kind: KindOurs, doubt: true,
		says:  []string{"very low reputation of the sending domain"},
		names: []string{"DNSBL-CLEAN"}, do: begin},
}

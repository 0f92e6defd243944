package preflight

var yahooSayings = []saying{
	{row: 17, by: []string{Yahoo}, codes: "421", status: "4.7.0", kind: KindReputation,
		says:  []string{"[tss04]", "temporarily deferred due to unexpected volume or user complaints"},
		names: []string{"AUTH-ANY"}, do: "it is also said for want of SPF, DKIM or DMARC: run the preflight, then slow down"},
	{row: 18, by: []string{Yahoo}, codes: "553", status: "5.7.2", kind: KindReputation, held: true,
		says: []string{"[tss09]", "[tss11]", "will be permanently deferred"}, do: "stop, repair, ask at their Sender Hub"},
	{row: 19, by: []string{Yahoo}, codes: "553", status: "5.7.1", kind: KindOurs, held: true,
		says:  []string{"[bl21] .. spamhaus", "[bl23] .. spamhaus"},
		names: []string{"DNSBL-CLEAN"}, do: "get the address off the list"},
	{row: 20, by: []string{Yahoo}, codes: "550", status: "5.7.9", kind: KindOurs,
		says:  []string{"requires all senders to authenticate with either spf or dkim"},
		names: []string{"AUTH-ANY"}, do: "add the address to the SPF record, or sign with DKIM"},
	{row: 21, by: []string{Yahoo}, codes: "451/554", kind: KindOurs,
		says:  []string{"unresolvable rfc.5321 domain", "unresolvable rfc.5321 from domain"},
		names: []string{"SENDER-RESOLVES", "SENDER-SOA"}, do: "give the domain an MX or an address, and a name that answers for SOA"},
	{row: 22, by: []string{Yahoo}, codes: "554", status: "5.7.9", strict: true, kind: KindOurs, doubt: true,
		says: []string{"policy reasons"}, names: []string{"AUTH-ALIGNED"}, do: align},
}

var appleSayings = []saying{
	{row: 35, by: []string{Apple}, codes: "450", status: "4.1.8", kind: KindOurs,
		says:  []string{"sender address rejected: domain not found"},
		names: []string{"SENDER-RESOLVES"}, do: "give the domain an MX or an address"},
	{row: 36, by: []string{Apple}, codes: "550/554", status: "5.7.1", kind: KindOurs,
		says:  []string{"failing both spf and dkim"},
		names: []string{"AUTH-ANY"}, do: "add the address to the SPF record, or sign with DKIM"},
	{row: 36, by: []string{Apple}, codes: "550/554", status: "5.7.1", kind: KindOurs,
		says: []string{"[hme1]", "'s dmarc policy"}, names: []string{"AUTH-ALIGNED"}, do: align},
	{row: 37, by: []string{Apple, Proofpoint}, codes: "550/554", status: "5.7.0", kind: KindOurs, held: true,
		says:  []string{"blocked - see https://support.proofpoint.com/dnsbl-lookup"},
		names: []string{"DNSBL-CLEAN", "PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, do: "ask at ipcheck.proofpoint.com"},
}

var germanSayings = []saying{
	{row: 38, by: []string{GMX}, codes: "554", kind: KindOurs, held: true,
		says:  []string{"bad dns ptr resource record"},
		names: []string{"PTR-EXISTS", "PTR-NOT-GENERIC", "EHLO-MATCHES-PTR"}, do: "a PTR of your own, the name that EHLO says"},
	{row: 39, by: []string{GMX}, codes: "550", kind: KindOurs,
		says:  []string{"originating ip of the message is not permitted by the domain owner"},
		names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 40, by: []string{GMX}, codes: "554", kind: KindOurs,
		says: []string{"ip address is block listed"}, names: []string{"DNSBL-CLEAN"}, do: "follow the URL in the reply"},
	{row: 41, by: []string{TOnline}, codes: "554", kind: KindOurs, held: true,
		says:  []string{"(nowl)", "(bl)", "(diag)", "(dial)", "none/bad reputation", "dialup/transient ip not allowed"},
		names: []string{"PTR-FORWARD-CONFIRMED", "PTR-NOT-GENERIC"},
		do:    "a page with your imprint under the host's domain, then write to the address in the reply"},
}

var cableSayings = []saying{
	{row: 42, by: []string{Comcast}, codes: "554", kind: KindOurs, held: true,
		says:  []string{"requires that all mail servers must have a ptr record"},
		names: []string{"PTR-EXISTS"}, do: publishPTR},
	{row: 43, by: []string{Comcast}, codes: "421", kind: KindOurs,
		says:  []string{"reverse dns failure : try again later", "reverse dns failure: try again later"},
		names: []string{"PTR-EXISTS", "DNS-AUTH-CONSISTENT"}, do: "the reverse zone does not answer: tell whoever runs it"},
	{row: 44, by: []string{Comcast}, codes: "550", kind: KindOurs,
		says: []string{"bl00000"}, names: []string{"DNSBL-CLEAN"}, do: "the code says which list"},
	{row: 44, by: []string{Comcast}, codes: "550", kind: KindOurs,
		says: []string{"es000010"}, names: []string{"PTR-NOT-GENERIC"}, do: ownPTR},
	{row: 45, by: []string{Spectrum}, codes: "4xx/5xx", kind: KindOurs,
		says:  []string{"aup#in-110", "aup#in-111", "aup#in-112", "aup#in-113", "aup#in-114", "aup#in-115"},
		names: []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, do: "name and address must lead to each other"},
	{row: 45, by: []string{Spectrum}, codes: "4xx/5xx", kind: KindOurs,
		says:  []string{"aup#in-120", "aup#in-121", "aup#in-122", "aup#in-123", "aup#in-124", "aup#in-125"},
		names: []string{"DNSBL-CLEAN"}, do: "look at Cloudmark and Spamhaus"},
	{row: 45, by: []string{Spectrum}, codes: "4xx/5xx", kind: KindFamily,
		says: []string{"aup#in-1260"}, names: []string{"IPV6-SOURCE"}, do: "it takes mail over IPv4 only"},
	{row: 50, by: []string{Virgin, MailRu}, codes: "5xx", kind: KindOurs, held: true,
		says:  []string{"generic/dynamic host names prohibited", "dynamic ip or generic dns ptr-records"},
		names: []string{"PTR-NOT-GENERIC"}, do: ownPTR},
}

var frenchSayings = []saying{
	{row: 46, by: []string{Orange}, codes: "421/550", kind: KindOurs,
		says: []string{"spf/dns de votre nom de domaine", "lpn004_401"}, names: []string{"SPF-SENDER-PASS"}, do: addToSPF},
	{row: 46, by: []string{Orange}, codes: "421/550", kind: KindOurs,
		says: []string{"lpn007_517"}, names: []string{"AUTH-ALIGNED"}, do: align},
	{row: 47, by: []string{Orange}, codes: "4xx/5xx", kind: KindOurs, held: true,
		says:  []string{"ofr006_102", "lpnaaa_101", "lpn000_630"},
		names: []string{"DNSBL-CLEAN"}, do: "look at Cloudmark, Spamhaus and Abusix"},
}

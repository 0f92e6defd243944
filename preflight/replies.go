package preflight

// reply is how a receiver says that something is missing. The texts are
// fragments of what they send, in lower case.
type reply struct {
	who, code, says string
	checks          []string
	do              string
}

// replies that name one of our checks. Enhanced codes alone say little: Gmail
// uses some that RFC 7372 gives another meaning.
var replies = []reply{
	{"Gmail", "421/451 4.7.0, 4.7.23", "does not have a ptr record", []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, "publish a PTR and an address record that agree"},
	{"Gmail", "550 5.7.25", "sending ip does not match the ip address of the hostname", []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, "publish a PTR and an address record that agree"},
	{"Gmail", "550 5.7.1", "does not meet ipv6 sending guidelines regarding ptr records and authentication", []string{"IPV6-SOURCE"}, "mend PTR and AAAA of the IPv6 source, or leave it out"},
	{"Gmail", "550 5.7.26", "has an spf record with a hard fail policy (-all) but it fails", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record of the domain named"},
	{"Gmail", "421 4.7.27, 550 5.7.27", "authenticate with spf", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record of the domain named"},
	{"Gmail", "451/550 x.7.24", "spf record of the sending domain has one or more suspicious entries", []string{"SPF-NOT-PERMISSIVE"}, "remove +all and huge ranges"},
	{"Gmail", "421 4.7.30, 550 5.7.30", "authenticate with dkim", []string{"DKIM-CONFIGURED", "DKIM-PUBLISHED", "DKIM-MATCHES-KEY"}, "publish the key that the preflight prints"},
	{"Gmail", "421 4.7.31, 4.7.40, 550 5.7.40", "doesn't have a dmarc record", []string{"DMARC-PRESENT"}, "publish _dmarc"},
	{"Gmail", "501 5.5.4", "helo/ehlo argument", []string{"EHLO-SET", "EHLO-FQDN"}, "set ehlo"},
	{"Yahoo", "451/554", "unresolvable rfc.5321 from domain", []string{"SENDER-RESOLVES"}, "give the domain an MX or an address"},
	{"Outlook.com", "550 5.7.515", "does not meet the required authentication level", []string{"SPF-SENDER-PRESENT", "SPF-SENDER-PASS", "DKIM-CONFIGURED", "DKIM-PUBLISHED", "DKIM-MATCHES-KEY", "DMARC-PRESENT"}, "read Spf=, Dkim= and DMARC= in the reply"},
	{"Microsoft 365", "450 4.7.25, 550 5.7.25", "ipv6 address must have reverse dns record", []string{"IPV6-SOURCE", "PTR-EXISTS"}, "mend PTR and AAAA of the IPv6 source, or leave it out"},
	{"Microsoft 365", "450 4.7.26", "over ipv6 must pass either spf or dkim", []string{"IPV6-SOURCE", "SPF-SENDER-PASS"}, "add an ip6: term to the SPF record"},
	{"Microsoft 365", "550 5.7.23", "sender policy framework violation", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record"},
	{"Microsoft 365", "5.7.506", "bad helo", []string{"EHLO-ADDR", "EHLO-PUBLIC-NAME"}, "call yourself by a name of your own"},
	{"Apple", "450 4.1.8", "sender address rejected: domain not found", []string{"SENDER-RESOLVES"}, "give the domain an MX or an address"},
	{"GMX, web.de, mail.com", "554", "bad dns ptr resource record", []string{"PTR-EXISTS", "PTR-NAME-VALID", "EHLO-MATCHES-PTR"}, "a PTR of your own, the name that EHLO says"},
	{"GMX", "550", "originating ip of the message is not permitted by the domain owner", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record"},
	{"T-Online", "554", "(nowl), (bl), (dial)", []string{"PTR-FORWARD-CONFIRMED"}, "a page with your contact under the host's domain, then write to the address in the reply"},
	{"Comcast", "554", "requires that all mail servers must have a ptr record", []string{"PTR-EXISTS"}, "publish a PTR"},
	{"Comcast", "421", "reverse dns failure : try again later", []string{"PTR-EXISTS"}, "the reverse zone does not answer: tell whoever runs it"},
	{"Spectrum", "5xx AUP#In-1100 to 1150", "aup#in-1100", []string{"PTR-EXISTS", "PTR-FORWARD-CONFIRMED"}, "name and address must lead to each other"},
	{"Spectrum", "5xx AUP#In-1260", "aup#in-1260", []string{"IPV6-SOURCE"}, "it takes mail over IPv4 only"},
	{"Orange, La Poste", "421/550", "spf/dns de votre nom de domaine", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record"},
	{"Mimecast", "550", "spf sender invalid - envelope rejected", []string{"SPF-SENDER-PASS"}, "add the address to the SPF record"},
	{"Mimecast", "550", "dkim sender invalid - envelope rejected", []string{"DKIM-PUBLISHED", "DKIM-MATCHES-KEY"}, "publish the key that the preflight prints"},
	{"Cloudmark gateways", "554", "no dns reverse for", []string{"PTR-EXISTS"}, "publish a PTR"},
	{"Postfix", "450 4.7.25", "client host rejected: cannot find your hostname", []string{"PTR-FORWARD-CONFIRMED", "PTR-ALL-CONFIRMED", "PTR-SINGLE"}, "every PTR name must lead back; it looks at the first it gets"},
	{"Postfix", "450 4.7.1", "client host rejected: cannot find your reverse hostname", []string{"PTR-EXISTS"}, "publish a PTR"},
	{"Postfix", "450 4.7.1", "helo command rejected: host not found", []string{"EHLO-ADDR"}, "publish an address record for the EHLO name"},
	{"Postfix", "504 5.5.2", "need fully-qualified hostname", []string{"EHLO-FQDN"}, "set ehlo"},
	{"Postfix", "550 5.7.27", "does not accept mail (nullmx)", []string{"MX-NOT-NULL"}, "remove the null MX of the sender domain"},
	{"Postfix", "450 4.1.8", "domain not found", []string{"SENDER-RESOLVES"}, "give the domain an MX or an address"},
	{"many", "5xx", "fix reverse dns for, no ptr record found, reverse dns required, invalid rdns record", []string{"PTR-EXISTS"}, "publish a PTR"},
	{"many", "550 5.7.1", "message rejected due to: spf fail - not authorized", []string{"SPF-SENDER-PASS", "SPF-HELO-PASS"}, "s= in the reply says which name: s=helo is that of EHLO"},
}

// remedyForms show what mends a check, by the names and addresses kept for
// documentation (RFC 5737, RFC 2606).
var remedyForms = map[string]string{
	"EGRESS-KNOWN":          `public = "192.0.2.25"`,
	"EGRESS-PUBLIC":         `public = "192.0.2.25"`,
	"EGRESS-BINDABLE":       `bind = "10.0.0.5"`,
	"DNS-REACHABLE":         `servers = ["127.0.0.1:53"]`,
	"DNS-HONEST":            `servers = ["127.0.0.1:53"]`,
	"DNS-OWN-RESOLVER":      `servers = ["127.0.0.1:53"]`,
	"DNS-VALIDATES":         `servers = ["127.0.0.1:53"]`,
	"DNS-VIEW":              `servers = ["127.0.0.1:53"]`,
	"PTR-EXISTS":            `25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.`,
	"PTR-NAME-VALID":        `25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.`,
	"PTR-FORWARD-CONFIRMED": `mail.example.net. 3600 IN A 192.0.2.25`,
	"PTR-TARGET-NOT-ALIAS":  `mail.example.net. 3600 IN A 192.0.2.25`,
	"EHLO-SET":              `ehlo = "mail.example.net"`,
	"EHLO-FQDN":             `ehlo = "mail.example.net"`,
	"EHLO-PUBLIC-NAME":      `ehlo = "mail.example.net"`,
	"EHLO-ADDR":             `mail.example.net. 3600 IN A 192.0.2.25`,
	"EHLO-NOT-ALIAS":        `mail.example.net. 3600 IN A 192.0.2.25`,
	"EHLO-MATCHES-PTR":      `25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.`,
	"SPF-HELO-PRESENT":      `mail.example.net. 3600 IN TXT "v=spf1 a -all"`,
	"SPF-HELO-PASS":         `mail.example.net. 3600 IN TXT "v=spf1 a -all"`,
	"SPF-SENDER-PRESENT":    `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
	"SPF-SENDER-PASS":       `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
	"DKIM-CONFIGURED":       `relay dkim new example.net`,
	"DKIM-PUBLISHED":        `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
	"DKIM-MATCHES-KEY":      `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
	"DMARC-PRESENT":         `_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none"`,
	"SENDER-RESOLVES":       `example.net. 3600 IN MX 10 mx.example.net.`,
	"MX-PRESENT":            `example.net. 3600 IN MX 10 mx.example.net.`,
	"MX-NOT-IP":             `example.net. 3600 IN MX 10 mx.example.net.`,
	"MX-NOT-ALIAS":          `mx.example.net. 3600 IN A 192.0.2.10`,
	"SENDER-SOA":            `example.net. 3600 IN MX 10 mx.example.net.`,
	"DKIM-STRENGTH":         `relay dkim new example.net --selector k2`,
	"DKIM-FLAGS":            `k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
	"DMARC-VALID":           `_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none"`,
	"DMARC-RUA":             `example.net._report._dmarc.example.org. 3600 IN TXT "v=DMARC1"`,
	"AUTH-ANY":              `example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
	"AUTH-ALIGNED":          `relay dkim new example.net`,
	"PTR-NOT-GENERIC":       `25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.`,
	"PTR-DELEGATION":        `nslookup -q=ns 2.0.192.in-addr.arpa.`,
	"DNSBL-CLEAN":           `https://check.spamhaus.org/listed/?searchterm=192.0.2.25`,
	"DNSBL-USABLE":          `dnsbl = ["KEY.zen.dq.spamhaus.net"]`,
}

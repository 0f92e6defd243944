package preflight

// remedyForms show what mends a check, by the names and addresses kept for
// documentation (RFC 5737, RFC 2606).
var remedyForms = map[string]string{
	"EGRESS-KNOWN":          `public = "192.0.2.25"`,
	"EGRESS-PUBLIC":         `public = "192.0.2.25"`,
	"EGRESS-BINDABLE":       `bind = "10.0.0.5"`,
	"DNS-REACHABLE":         `servers = ["127.0.0.1:53"]`,
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
}

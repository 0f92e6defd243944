package preflight

// sentences are what the standard itself says where a check points to it, word
// for word. A check without one rests on what receivers do (replies).
var sentences = map[string]string{
	"PTR-EXISTS":            "Make sure your PTR and A records match. For every IP address, there should be a matching PTR record in the in-addr.arpa domain.",
	"PTR-FORWARD-CONFIRMED": "Make sure your PTR and A records match.",
	"PTR-SINGLE":            "There is no implication in that section that only one PTR record is permitted for a name.",
	"PTR-TARGET-NOT-ALIAS":  "... the value of a PTR record should be a canonical name. That is, it should not be an alias.",
	"EHLO-SET":              "The argument clause contains the fully-qualified domain name of the SMTP client, if one is available.",
	"EHLO-FQDN":             "Only resolvable, fully-qualified domain names (FQDNs) are permitted when domain names are used in SMTP.",
	"EHLO-PUBLIC-NAME":      "Only resolvable, fully-qualified domain names (FQDNs) are permitted when domain names are used in SMTP.",
	"EHLO-ADDR":             "An SMTP server MAY verify that the domain name argument in the EHLO command actually corresponds to the IP address of the client.",
	"EHLO-NOT-ALIAS":        "The domain name given in the EHLO command MUST be either a primary host name (a domain name that resolves to an address RR) or, if the host has no name, an address literal ...",
	"EHLO-MATCHES-PTR":      "Make sure your PTR and A records match.",
	"SPF-HELO-PASS":         `It is RECOMMENDED that SPF verifiers not only check the "MAIL FROM" identity but also separately check the "HELO" identity ...`,
	"MX-PRESENT":            "If an empty list of MXs is returned, the address is treated as if it was associated with an implicit MX RR, with a preference of 0, pointing to that host.",
	"MX-NOT-NULL":           "... mail systems SHOULD NOT publish a null MX record for domains that they use in RFC5321.MailFrom or RFC5322.From addresses.",
	"MX-NOT-IP":             "When a domain name associated with an MX RR is looked up and the associated data field obtained, the data field of that response MUST contain a domain name.",
	"MX-NOT-ALIAS":          "The domain name used as the value of a NS resource record, or part of the value of a MX resource record must not be an alias.",
	"MX-RESOLVES":           "That domain name, when queried, MUST return at least one address record (e.g., A or AAAA RR) that gives the IP address of the SMTP server to which the message should be directed.",
	"SPF-SINGLE":            `If the resultant record set includes more than one record, check_host() produces the "permerror" result.`,
	"SPF-SYNTAX":            `The syntax of the record is validated first, and if there are any syntax errors anywhere in the record, check_host() returns immediately with the result "permerror" ...`,
	"SPF-TARGETS":           `... if no SPF record is found, or if the <target-name> is malformed, the result is a "permerror" rather than "none".`,
	"SPF-LOOKUPS":           `SPF implementations MUST limit the total number of those terms to 10 during SPF evaluation, to avoid unreasonable load on the DNS. If this limit is exceeded, the implementation MUST return "permerror".`,
	"SPF-VOID":              `SPF implementations SHOULD limit "void lookups" to two.`,
	"SPF-NOT-PERMISSIVE":    `A "neutral" result indicates that although a policy for the identity was discovered, there is no definite assertion (positive or negative) about the client.`,
	"SPF-NO-PTR":            "This mechanism SHOULD NOT be published.",
	"SPF-SENDER-PASS":       `SPF verifiers MUST check the "MAIL FROM" identity if a "HELO" check either has not been performed or has not reached a definitive policy result ...`,
	"DKIM-PUBLISHED":        `All DKIM keys are stored in a subdomain named "_domainkey".`,
	"SPF-SIZE":              "The published SPF record for a given domain name SHOULD remain small enough that the results of a query for it will fit within 512 octets.",
	"DKIM-STRENGTH":         "Signers MUST use RSA keys of at least 1024 bits for all keys. Signers SHOULD use RSA keys of at least 2048 bits.",
	"DKIM-FLAGS":            "Verifiers MUST NOT treat messages from Signers in testing mode differently from unsigned email, even should the signature fail to verify.",
}

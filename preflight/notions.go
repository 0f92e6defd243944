package preflight

import (
	"slices"
	"strings"
)

// notion is what several checks are about, told to somebody who has not met it.
type notion struct {
	name  string
	names []string // others that it goes by
	title string
	text  []string
	lead  string   // what the forms are
	forms []string // each alone on its line
	about []string // beginnings of the ids of its checks
}

func notionOf(name string) *notion {
	for i := range notions {
		if n := &notions[i]; n.name == name || slices.Contains(n.names, name) {
			return n
		}
	}
	return nil
}

func (n *notion) checks() (all []*Check) {
	for _, c := range Checks {
		if slices.ContainsFunc(n.about, func(a string) bool { return strings.HasPrefix(c.ID, a) }) {
			all = append(all, c)
		}
	}
	return all
}

func (t *text) notion(n *notion) {
	t.line(" " + n.name + ": " + n.title)
	for _, p := range n.text {
		t.gap()
		t.para(1, p)
	}
	t.gap()
	t.para(1, n.lead)
	t.gap()
	for _, f := range n.forms {
		t.line("     " + f)
	}
	t.gap()
	t.para(1, "The checks; --explain ID says more of each:")
	t.gap()
	for _, c := range n.checks() {
		t.item(" ", c.ID, c.Title, "")
	}
}

var notions = []notion{
	{
		name: "PTR", names: []string{"RDNS", "REVERSE"}, title: "the name of an address",
		text: []string{
			"A PTR record leads from an address to a name, as an A record leads from a name to an address. It stands under in-addr.arpa, the octets of the address backwards, or under ip6.arpa, all 32 hexadecimal digits backwards.",
			"Receivers tell by it whether a server looks real, or like a machine that malware sends from. A server that sends to the internet by itself must have one: many receivers refuse its mail otherwise. One that hands everything to a smart host needs none.",
			"It is not made where the other names of your domain are. Whoever provides the internet connection or the machine runs the reverse zone, and a request in plain words will do: the reverse lookup record for 192.0.2.25, to mail.example.net. Rarely the zone has been delegated to somebody else; the commands show to whom.",
		},
		lead: "The record, and how to see who is responsible for it:",
		forms: []string{
			"25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net.",
			"nslookup -q=ns 2.0.192.in-addr.arpa.",
			"dig 25.2.0.192.in-addr.arpa ptr +trace",
			"relay preflight --trace",
		},
		about: []string{"PTR-", "EHLO-MATCHES-PTR"},
	},
	{
		name: "A", names: []string{"AAAA", "HOST"}, title: "the address of a name",
		text: []string{
			"A mail server has a name in public DNS: an A record for its IPv4 address, an AAAA record for its IPv6 address. What stands in a hosts file or in a DNS of your own network is not seen by anybody else.",
			"The record holds the address as the world sees it. In most networks that is the one of a firewall or router, and not the one of the machine: `bind` and `public` of a [[source]] are two settings for that reason.",
			"Several names may have one address. Only the one that the server greets with (EHLO) has to be the name in the address's PTR record.",
		},
		lead: "The records of a server with two names:",
		forms: []string{
			"mail.example.net. 3600 IN A 192.0.2.25",
			"smtp.example.net. 3600 IN A 192.0.2.25",
		},
		about: []string{"EHLO-ADDR", "PTR-FORWARD-CONFIRMED", "EGRESS-", "DNS-VIEW", "DNS-HOSTS-OVERRIDE"},
	},
	{
		name: "EHLO", names: []string{"HELO"}, title: "the name that a server greets with",
		text: []string{
			"A server that sends mail says EHLO (in old times HELO) and its name before anything else. It must be a public name, with an A or AAAA record that holds the address that mail leaves from, and it should be the name in that address's PTR record. Some mail fails otherwise.",
			"What a server calls itself to those who hand it mail is another setting (the banner of a listener, the Receive Connector of Exchange). It has no effect on delivery; to make the two alike is good practice.",
		},
		lead: "Where it is set, here and in other servers:",
		forms: []string{
			`relay      ehlo = "mail.example.net", under [[source]]`,
			"Postfix    smtp_helo_name",
			"Exim       helo_data, of the smtp transport",
			"Exchange   FQDN of the Send Connector: Set-SendConnector -Fqdn",
			"           (2000, 2003: Virtual SMTP Server, Delivery, Advanced)",
		},
		about: []string{"EHLO-", "SPF-HELO-", "LISTENER-NAME"},
	},
	{
		name: "MX", title: "who receives mail for a domain",
		text: []string{
			"An MX record names a server that receives mail for a domain. It is for inbound mail only: the server that sends need not be among the MX records, and need not be the same machine. Nothing here compares an address that we send from with an MX, and an MX may lead to a provider or a spam filter.",
			"If sending and receiving are two servers, nobody outside can find out which one sends. Most web sites that check a mail server assume that they are one: they dial the MX, and judge the greeting of that. Take it as said of the server that receives.",
			"A domain that mail is sent from should have an MX all the same, for bounces and replies. It names a host that has an address record: no alias (CNAME), no IP address.",
		},
		lead: "The records, where mx.example.net stands for your own or your provider's:",
		forms: []string{
			"example.net. 3600 IN MX 10 mx.example.net.",
			"mx.example.net. 3600 IN A 192.0.2.10",
		},
		about: []string{"MX-", "SENDER-"},
	},
	{
		name: "SPF", title: "which servers may send for a domain",
		text: []string{
			"An SPF record says which servers may send mail as a domain. It is a TXT record in public DNS, and only those who receive mail look at it. A server works without one; with it there is less forged mail in your name, and fewer bounces of that come back. Gmail and Yahoo refuse mail that has neither SPF nor DKIM, and so `spf` is \"require\" unless you say otherwise.",
			"It is looked up for the domain of MAIL FROM, and for the EHLO name: bounces have no sender and are judged by that. A domain has one record. Whoever else sends for it, a mailbox provider or a newsletter service, stands in the same one.",
			"The wizards that once made such records (openspf.org, Microsoft's for Sender ID) are gone. The preflight prints the record: what stands, with what is missing put in.",
		},
		lead: "The records of a domain and of an EHLO name:",
		forms: []string{
			`example.net. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"`,
			`mail.example.net. 3600 IN TXT "v=spf1 a -all"`,
		},
		about: []string{"SPF-", "AUTH-"},
	},
	{
		name: "DKIM", title: "a signature that a domain answers for",
		text: []string{
			"A DKIM signature in the header of a message says which domain answers for it, and that nobody has changed it since. The relay signs with a key that it keeps; its public half stands in DNS, under a selector of your choice, so that there can be several keys.",
			"It holds where SPF does not: when mail is forwarded it comes from another address, and the signature is still good.",
		},
		lead: "How to make a key, and the record that it prints:",
		forms: []string{
			"relay dkim new example.net",
			`k1._domainkey.example.net. 3600 IN TXT "v=DKIM1; k=rsa; p=..."`,
		},
		about: []string{"DKIM-", "AUTH-"},
	},
	{
		name: "DMARC", title: "what to do with mail that nothing vouches for",
		text: []string{
			"SPF vouches for the domain of MAIL FROM and DKIM for the one that signed. Readers see neither, they see the From header. DMARC asks that one of the two be of the From domain (alignment), says what receivers are to do with mail where neither is, and where they send reports.",
			"p=none asks for reports and changes nothing else: begin with that. quarantine and reject follow when the reports show that all your own mail passes.",
		},
		lead: "The record to begin with:",
		forms: []string{
			`_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.net"`,
		},
		about: []string{"DMARC-", "AUTH-ALIGNED"},
	},
}

package preflight

import (
	"net/netip"
	"strings"

	"smtprelay/preflight/dns"
)

// BlockList is the zone of a DNS block list (RFC 5782), canonical. Lists that one pays
// for have the key of the account for a label: it prints without that.
type BlockList string

func (b BlockList) String() string               { return b.hide(string(b)) }
func (b BlockList) GoString() string             { return b.String() }
func (b BlockList) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// keyed are the zones below which a list has the key first: KEY.zen.dq.spamhaus.net.
var keyed = []string{"dq.spamhaus.net", "mail.abusix.zone"}

// keys are the labels of a list that are nobody's to see. A long one of letters and
// digits is taken for a key wherever it stands.
func (b BlockList) keys() (all []string) {
	name, after := string(b), 0
	for _, k := range keyed {
		if rest, ok := strings.CutSuffix(name, "."+k); ok {
			name, after = rest, 1
		}
	}
	labels := strings.Split(name, ".")
	for i, l := range labels {
		if after > 0 && i < len(labels)-after || len(l) >= 16 && strings.ContainsAny(l, "0123456789") && strings.Trim(l, "0123456789-") != "" {
			all = append(all, l)
		}
	}
	return all
}

const hiddenKey = "(key)"

// hide takes the keys out of a text.
func (b BlockList) hide(text string) string {
	for _, k := range b.keys() {
		text = strings.ReplaceAll(text, k, hiddenKey)
	}
	return text
}

// masked is an answer of the list as it may be shown.
func (b BlockList) masked(a *dns.Answer) *dns.Answer {
	if len(b.keys()) == 0 {
		return a
	}
	m := *a
	m.Question, m.Name, m.Zone, m.Detail = b.hide(a.Question), b.hide(a.Name), b.hide(a.Zone), b.hide(a.Detail)
	m.Chain, m.Records, m.Referral = nil, nil, nil
	for _, to := range a.Chain {
		m.Chain = append(m.Chain, b.hide(to))
	}
	for _, rr := range a.Records {
		rr.Name, rr.Host, rr.Mailbox, rr.Text = b.hide(rr.Name), b.hide(rr.Host), b.hide(rr.Mailbox), b.hide(rr.Text)
		m.Records = append(m.Records, rr)
	}
	return &m
}

// entry is the name that a list has for an address: its octets or nibbles backwards
// (RFC 5782 sections 2.1 and 2.4).
func (b BlockList) entry(addr netip.Addr) string {
	name := dns.Reverse(addr)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".in-addr.arpa"), ".ip6.arpa")
	return name + "." + string(b)
}

func (b BlockList) of(operator string) bool {
	return string(b) == operator || strings.HasSuffix(string(b), "."+operator)
}

func (b BlockList) spamhaus() bool { return b.of("spamhaus.org") || b.of("dq.spamhaus.net") }

// page is where the operator of a list says why an address is in it, "" if that is
// not known.
func (b BlockList) page(addr netip.Addr) string {
	switch {
	case b.spamhaus():
		return "https://check.spamhaus.org/listed/?searchterm=" + addr.String()
	case b.of("spamcop.net"):
		return "https://www.spamcop.net/bl.shtml?" + addr.String()
	case b.of("barracudacentral.org"):
		return "https://www.barracudacentral.org/lookups"
	case b.of("abusix.zone"):
		return "https://lookup.abusix.com/search?q=" + addr.String()
	}
	return ""
}

// spamhausCodes are the listings of Spamhaus by their last octet, 127.0.0.x.
var spamhausCodes = map[byte]string{
	2: "SBL", 3: "CSS", 4: "XBL", 5: "XBL", 6: "XBL", 7: "XBL", 9: "DROP",
	10: "PBL", 11: "PBL", 20: "AuthBL", 30: "BCL",
}

// refusals are the answers 127.255.255.x, by which a list says that it will not.
var refusals = map[byte]string{
	252: "there is no such list",
	254: "asked through an open resolver, or from an address with a provider's default name",
	255: "asked too often",
}

// read says what one answer of a list means: a listing by its name, or why the list
// is of no use, or neither.
func (b BlockList) read(a netip.Addr) (listing, trouble string) {
	if !a.Is4() || a.As4()[0] != 127 {
		return "", "is dead: it answers " + a.String()
	}
	o := a.As4()
	switch {
	case o[1] == 255 && o[2] == 255:
		why, known := refusals[o[3]]
		if !known {
			why = "an error of its own"
		}
		return "", "refuses: " + why + " (" + a.String() + ")"
	case o == [4]byte{127, 0, 0, 1}: // RFC 5782 section 5: what no list may list
		return "", "refuses (127.0.0.1)"
	case !b.spamhaus():
		return a.String(), ""
	case o[1] == 0 && o[2] == 0 && spamhausCodes[o[3]] != "":
		return spamhausCodes[o[3]] + " (" + a.String() + ")", ""
	}
	return "", ""
}

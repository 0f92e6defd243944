package preflight

import (
	"slices"
	"strings"
)

// What receivers say when something is missing. A reply names a requirement
// only by who says it and in which words: enhanced status codes alone do not,
// because operators give them meanings of their own. X.7.23 is SPF by RFC 7372
// and at Microsoft, but PTR at Gmail; X.7.27 is a null MX by RFC 7505, but SPF
// at Gmail. So a saying is found by operator, basic code and text.

// Kind of a saying: whose fault it is, and so what may become of the message.
type Kind string

const (
	KindOurs       Kind = "ours"       // one of our checks would have said so: never a reason to bounce
	KindTLS        Kind = "tls"        // ours, too, but no check sees how delivery fares with TLS
	KindRate       Kind = "rate"       // too much at once: slow down
	KindReputation Kind = "reputation" // of what was sent before: slow down, too; no check can see it
	KindContent    Kind = "content"    // of this message, and those like it: its sender's to know
	KindFamily     Kind = "family"     // over IPv4 it may go well
	KindTheirs     Kind = "theirs"     // a fault of the receiver
)

// saying is one way to refuse. row is its number in the table of replies, which
// several share when a receiver has several words for one thing.
type saying struct {
	row   int
	by    []string // operators; nil: anyone says so
	codes string   // as it is printed: "421/451", "5xx"
	// status is what comes with it. It is not looked at but where the words
	// would say too little without (strict).
	status string
	strict bool
	says   []string // any of these, lower case; ".." stands for anything in between
	names  []string // checks
	kind   Kind
	held   bool // a 5xx of it holds the message whatever the kind
	early  bool // counts before MAIL only, when nothing was said yet but who we are
	sender bool // the rate is one sender domain's, not the source's
	doubt  bool // it may as well be about the content of the message
	do     string
}

// sayings are all rows. The first that fits counts: a fault of theirs may quote
// the words of ours, and what one operator says goes before what many do.
var sayings = slices.Concat(theirSayings, gmailSayings, yahooSayings, microsoftSayings, appleSayings,
	germanSayings, cableSayings, frenchSayings, gatewaySayings, postfixSayings, commonSayings, slowSayings)

// Class is what a reply turned out to mean.
type Class struct {
	Row    int
	Checks []string // that it names, the likeliest first; none where no check can tell
	Kind   Kind
	Held   bool   // a 5xx of it is no reason to bounce
	Sender bool   // a rate of one sender domain, which says nothing of others from that source
	Alone  bool   // said of one message when all of it was known: it says nothing of others
	Doubt  bool   // where other mail of the same source and sender is taken, it is about the content
	Do     string // what the operator should do
}

// String is the class in one word or a few, for logs: the checks, else the kind.
func (c Class) String() string {
	if len(c.Checks) > 0 {
		return strings.Join(c.Checks, ", ")
	}
	return string(c.Kind)
}

// Classify finds what a 4xx or 5xx means. operator is Operator of the
// exchanger's name, phase the stage of the conversation ("greet", "ehlo",
// "rcpt", "dot"). In the phases of TLS and AUTH the same words and codes speak
// of something else, and nothing is known there.
func Classify(operator, phase string, code int, status, text string) (Class, bool) {
	if code < 400 || code > 599 || phase == "starttls" || phase == "auth" {
		return Class{}, false
	}
	whole := strings.ToLower(text)
	text = plain(text)
	for i := range sayings {
		s := &sayings[i]
		if s.fits(operator, phase, code, status, text) && (!ofRecipient(status) || s.has(status)) {
			c := s.class(text, whole)
			c.Alone = phase == "dot" && (code >= 500 || s.by == nil)
			return c, true
		}
	}
	return Class{}, false
}

// ofRecipient are the statuses of a mailbox or an address that receives (RFC 3463
// sections 3.2 and 3.3): whatever words come with them, they are not about us,
// unless a row has the status itself.
func ofRecipient(status string) bool {
	_, detail, _ := strings.Cut(status, ".")
	switch detail {
	case "1.0", "1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "2.2", "2.3":
		return true
	}
	return false
}

func (s *saying) has(status string) bool {
	return slices.Contains(strings.Split(s.status, ", "), status)
}

func (s *saying) fits(operator, phase string, code int, status, text string) bool {
	return (!s.early || phase == "greet" || phase == "ehlo") && (s.by == nil || slices.Contains(s.by, operator)) && s.code(code) &&
		(!s.strict || status != "" && strings.Contains(s.status, status)) &&
		slices.ContainsFunc(s.says, func(pattern string) bool { return heard(text, pattern) })
}

// code tells whether a basic code is one of "421/450" or of a class, "5xx".
func (s *saying) code(code int) bool {
	for c := range strings.SplitSeq(s.codes, "/") {
		if len(c) == 3 && c[0] == byte('0'+code/100) && (c[1:] == "xx" || c[1] == byte('0'+code/10%10) && c[2] == byte('0'+code%10)) {
			return true
		}
	}
	return false
}

// class of a text that fits. What two sayings leave to the text is read here, one of
// them in a URL that bears an address, and so in the whole of it.
func (s *saying) class(text, whole string) Class {
	c := Class{Row: s.row, Checks: s.names, Kind: s.kind, Held: s.held || s.kind == KindOurs || s.kind == KindTLS, Sender: s.sender, Doubt: s.doubt, Do: s.do}
	switch s.row {
	case 23:
		c.Checks = levelChecks(text, c.Checks)
	case 58:
		if strings.Contains(whole, "s=helo") {
			c.Checks = []string{"SPF-HELO-PASS"}
		} else if strings.Contains(whole, "s=mfrom") {
			c.Checks = []string{"SPF-SENDER-PASS"}
		}
	}
	return c
}

// who says so, for people.
func (s *saying) who() string {
	switch {
	case len(s.by) > 0:
		return strings.Join(s.by, ", ")
	case s.row == 49:
		return "Cloudmark's gateways"
	case s.row >= 51 && s.row <= 55:
		return "Postfix"
	}
	return "many"
}

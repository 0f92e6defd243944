package preflight

import (
	"net/netip"
	"time"
)

// Source is an address that mail leaves from. Text as configured: its faults
// are findings, never config errors.
type Source struct {
	Name   string
	Bind   string // local address; "" = any
	Public string // as the world sees it; "" = Bind
	EHLO   string

	learned []string // operators who told us Public, which the operator left out
}

// Sender is a sender domain.
type Sender struct {
	Domain   string // of the header From, canonical
	Envelope string // of MAIL FROM, canonical; "" = Domain, "<>" = none: receivers judge the EHLO name then
	Keys     []Key
}

// Name of a sender in verdicts and reports: its domain.
func (s Sender) Name() string { return s.Domain }

// Key is a DKIM key that we sign with.
type Key struct {
	Selector string
	Record   string // the TXT it wants published: "v=DKIM1; k=rsa; p=..."
}

// SmartHost is a relay that takes our mail.
type SmartHost struct {
	Name     string // "smtp.isp.example:587"
	Host     string // name or address
	Port     uint16
	Implicit bool   // TLS from the first octet (smtps://)
	TLS      string // "required" (verified), "opportunistic", "none"
	User     string // "" = no AUTH
	Password Secret
	CA       []byte // PEM to verify it by; nil: the system's
}

// Secret never prints itself.
type Secret string

func (Secret) String() string               { return "(secret)" }
func (Secret) GoString() string             { return "(secret)" }
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Action the operator chose for a failure.
type Action string

const (
	ActRefuse    Action = "refuse"
	ActSmartHost Action = "smarthost"
	ActHold      Action = "hold"
	ActWarn      Action = "warn"
	ActSend      Action = "send"   // on_unknown only
	ActReject    Action = "reject" // on_sender_fail only
)

// Policy is section [preflight] of the configuration. Defaults() fills zero fields.
type Policy struct {
	OnFail       Action
	OnUnknown    Action
	OnSenderFail Action
	SPF          string // require, warn, off
	EHLOMatch    string // strict, forward, org
	Grace        time.Duration
	Settle       time.Duration // SettleAuto: the negative TTL last seen, at most 1 h
	StartupWait  time.Duration
	RecheckMin   time.Duration
	RecheckMax   time.Duration
	Looks        int
	Span         time.Duration
	Private      bool
	Severity     map[string]Severity
	DNSBL        []BlockList // asked for our addresses; none: not at all
	Discovery    string      // DiscoverPassive, DiscoverActive, DiscoverOff
	Probe        []string    // domains whose mail servers show whether port 25 is open
}

// SettleAuto is the value of Policy.Settle that follows the negative TTL.
const SettleAuto = time.Duration(-1)

// Plan is what is judged.
type Plan struct {
	SmartHostOnly bool // route = "smarthost": the checks of direct sending do not apply
	Sources       []Source
	Senders       []Sender
	SmartHosts    []SmartHost
	Listeners     []netip.AddrPort // ours, for SMARTHOST-NOT-SELF
	Policy        Policy
	Special       Special // what counts as special-purpose; zero = the registries
	Submission    Submission
	Foreign       bool // the server is not ours: nothing is said of this machine, nor of keys on its disk

	suggest []Sender // by whom names are suggested; nil: Senders
}

// naming are the senders by whose domain a server may be called.
func (p *Plan) naming() []Sender {
	if p.suggest != nil {
		return p.suggest
	}
	return p.Senders
}

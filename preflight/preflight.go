package preflight

import (
	"context"
	"net/netip"
	"time"

	"smtprelay/preflight/dns"
)

// Status of a finding.
type Status string

const (
	Pass    Status = "pass"
	Fail    Status = "fail"    // definite
	Unknown Status = "unknown" // temporary: never fails anything by itself
	Skip    Status = "skip"    // its input failed, it does not apply, or it is switched off
)

// Degraded is the fourth value of a verdict (not of a finding).
const Degraded Status = "degraded"

// Severity of a check or finding.
type Severity string

const (
	Mandatory     Severity = "mandatory"     // a failure blocks direct delivery
	Recommended   Severity = "recommended"   // a failure degrades
	Informational Severity = "informational" // never counts
)

// Scope says whose verdict a check speaks to.
type Scope string

const (
	ScopeHost      Scope = "host"      // counts for every source
	ScopeSource    Scope = "source"    // once a source
	ScopeSender    Scope = "sender"    // once a sender domain
	ScopePair      Scope = "pair"      // once a source and sender domain
	ScopeZone      Scope = "zone"      // once a source and once a sender domain, for the zones of each
	ScopeSmartHost Scope = "smarthost" // once a smart host
)

// Check is one thing that receivers want, declared once.
type Check struct {
	ID       string // stable, never reused
	Scope    Scope
	Title    string // what holds when it passes
	Severity Severity
	Change   string   // what the operator may do to Severity: "=" nothing, "v" lower, "^" raise, "x" both
	Why      string   // what receivers do otherwise
	Ref      string   // "RFC 7208 section 4.5"
	Needs    []string // skipped, waiting for the first of them that did not pass; each stands earlier in Checks
	Final    bool     // its failure is no answer that a cache may hold: no second opinion is asked
	Run      func(ctx context.Context, p *Probe) Result
}

// Result of one run of a check.
type Result struct {
	Status   Status
	Severity Severity // "" = the check's; may be lower or higher (a policy, a fault behind the match)
	Found    string   // one line
	Expected string
	Because  string // Skip: why, when no check is waited for ("smart host", "private")
	Remedy   Remedy
	Evidence []Evidence
	TTL      time.Duration // how long the answers it rests on may be believed; 0: unknown
	NegTTL   time.Duration // how long receivers may keep an answer that it rests on, a denial or a wrong one
}

// Remedy says what to do. All of it is for people; Records can be applied to a zone as they are.
type Remedy struct {
	Title   string   // "Give 192.0.2.25 its name"
	Who     string   // whom to ask, or whose zone it is: "whoever runs 2.0.192.in-addr.arpa"
	Zone    string   // that the records stand in, canonical, where it was looked for
	Servers []string // name servers of Zone, canonical
	Records []Record
	Message string   // words to paste for the ISP
	Setting string   // a line of relay.toml
	Steps   []string // commands or steps
}

// Record is one change of a zone.
type Record struct {
	Do    Change
	Owner string // without the final dot; String adds it
	TTL   time.Duration
	Type  string
	Data  string // presentation form, names absolute
}

// Change of a record set.
type Change string

const (
	Add     Change = "add"     // beside what stands
	Replace Change = "replace" // instead of all records of that owner and type (TXT: of those with the same version tag)
	Remove  Change = "remove"
)

// Evidence is one question and what came back.
type Evidence struct {
	Question string // "25.2.0.192.in-addr.arpa. PTR"
	Answer   string // "NXDOMAIN", "mail.example.net."
	Rcode    string // "" when nothing came
	Server   string
	NegTTL   time.Duration
	Took     time.Duration
	Second   string // what the authoritative servers said to it; "" if they were not asked
}

// Finding is a check's result for one subject.
type Finding struct {
	Check *Check
	Result
	Source    string    // name of the source; "" where the scope has none
	Sender    string    // Sender.Name(); likewise
	SmartHost string    // SmartHost.Name; likewise
	WaitsFor  string    // id of the check it waits for (Status Skip)
	Since     time.Time // its status is what it is since then
	Good      time.Time // last seen to pass

	// What receivers say against a pass, as "Gmail 550 5.7.25 09:12"; empty
	// unless several do, or one insists.
	ContradictedBy []string
}

// scope tells whom the finding speaks of: one of a ScopeZone check speaks of a
// source or of a sender domain.
func (f Finding) scope() Scope {
	switch {
	case f.Check.Scope != ScopeZone:
		return f.Check.Scope
	case f.Sender != "":
		return ScopeSender
	}
	return ScopeSource
}

// Verdict of one subject.
type Verdict struct {
	Name     string   // source, sender or smart host
	Status   Status   // pass, degraded, unknown, fail
	Because  []string // ids that made it what it is
	Stale    bool
	Action   string    // what happens to mail: direct, settling, smarthost, hold, refuse, warn, send
	Findings []Finding // its own, in the order of Checks; pairs stand under both source and sender

	blank bool // nobody has looked yet
}

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

// Trial is how far a smart host let us.
type Trial struct {
	Addr      netip.AddrPort
	Connected bool
	TLS       string // "", "TLS1.3"
	Verified  bool
	TLSErr    string // why TLS or its verification failed
	Authed    bool
	AuthErr   string // "535 5.7.8 ..."
	Refused   bool   // AuthErr is the remote's definite refusal
	Err       string // first failure of connecting or greeting
	Temporary bool   // Err may pass
}

// Trier connects to a smart host, greets, starts TLS, authenticates and quits; no message is sent.
type Trier interface {
	Try(ctx context.Context, s SmartHost) Trial
}

// Outside is the only way of a run to the world.
type Outside struct {
	DNS           dns.Resolver
	Asker         dns.Asker                // authoritative servers; nil: they are not asked
	AuthorityPort uint16                   // where they listen; 0 = 53
	Try           Trier                    // nil: SMARTHOST-* that connect are skipped
	Bind          func(a netip.Addr) error // can a TCP socket be bound to it; nil: tries
	Addrs         func() []netip.Addr      // of the interfaces; nil: asks the system

	Lines     func(ctx context.Context) []dns.Line // TCP to each resolver; nil: DNS-TCP is skipped
	Hosts     string                               // the file that overrides DNS for this machine; "" = /etc/hosts
	Landmarks Landmarks                            // names that a resolver shows itself by
	lists     *listings                            // what block lists said before; nil: nothing
	walks     *walks                               // likewise of walks from the root
	disputes  *disputes                            // likewise of what resolver and zone do not agree on
	Probe     Prober                               // nil: nobody is asked, NET-* are skipped
	Observed  *Observations                        // what others saw of us; nil: what this run learns
	Mirrors   []Mirror                             // for discovery = "active"; nil: the usual ones
	Temporary func(a netip.Addr) bool              // is it an IPv6 privacy address; nil: asks the system
	Clock     func() Clock                         // nil: the system's

	// From asks one DNS server from a local address; nil: mirrors in DNS are not asked.
	From func(bind netip.Addr, server netip.AddrPort) dns.Resolver
}

// Report is the judgement of one moment.
type Report struct {
	Run          string
	At           time.Time
	Took         time.Duration
	Host         string
	Questions    int
	Overall      Status
	Action       string
	HostFindings []Finding
	Sources      []Verdict
	Senders      []Verdict
	SmartHosts   []Verdict
	Plan         *Plan
	Next         time.Time // zero for a one-shot run
	Traces       []Trace   // where they were asked for
	Supposed     []string  // changes of DNS that were supposed, as they can be typed
}

// Mail is what the gate is asked about. Domains, canonical.
type Mail struct {
	Envelope string // domain of MAIL FROM; "" = the null sender
	Author   string // domain of the header From; "" while not known yet
}

// Ruling is the gate's word at submission.
type Ruling struct {
	Do     Action // ActSend (accept, the queue will see), ActHold (accept, it will wait), ActSmartHost (accept), ActReject
	Code   int    // ActReject
	Status string
	Text   string
}

// Route is the gate's word at delivery. Exactly one of Source, SmartHost and Wait > 0 is set.
type Route struct {
	Source    *Source
	SmartHost bool
	Wait      time.Duration
	Why       string // "PTR-EXISTS of wan4": for the message's reason and the log
	Awaits    string // with Wait: Gate.Waits tells whether it still has to, and Changed when to ask
}

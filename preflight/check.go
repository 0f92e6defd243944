package preflight

import (
	"context"
	"time"
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
	Ref      string   // "RFC 7208 section 4.5"; "" where no standard says anything
	Needs    []string // skipped, waiting for the first of them that did not pass; each stands earlier in Checks
	Final    bool     // its failure is no answer that a cache may hold: no second opinion is asked
	Outward  bool     // it asks the internet at large: nothing to do where Policy.Private holds
	Here     bool     // it looks at the machine it runs on, or at what lies on its disk: nothing to say of a server that is not ours
	Run      func(ctx context.Context, p *Probe) Result

	Words
}

// Words say the whole of a check to people: for --explain and docs/checks.md. Names
// and addresses in them are those kept for documentation (RFC 5737, RFC 2606).
type Words struct {
	How       string // which questions are asked, and how it is decided
	Found     string // a failure as it is printed
	Expected  string // likewise what was wanted
	Mend      string // what mends it, as it is printed: a record, a setting, a command, or what to do
	Do        Change // what to do with Mend if it is a record; "" if it is none
	Ask       string // whom to ask for that
	Quote     string // a sentence of the first standard in Ref, word for word; "" where it is not quoted
	Basis     string // what else it rests on
	Receivers string // who acts on it, where their replies do not say so
	Varies    string // when its severity is another one
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

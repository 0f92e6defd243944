package preflight

import "time"

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

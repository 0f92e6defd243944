package preflight

import (
	"cmp"
	"time"
)

// Limits of a policy.
const (
	maxGrace      = 24 * time.Hour
	maxSettle     = 4 * time.Hour
	maxSettleAuto = time.Hour
	defaultSpan   = 10 * time.Minute
)

// Defaults fills in what was left out and brings the rest inside its limits.
// smartHost says whether one is configured: it is then where mail goes when
// direct delivery is not possible.
//
// Grace, Settle, Span and StartupWait may be zero on purpose. Looks may not, so a policy
// with Looks zero is one that nobody has filled in yet, and only there zero
// durations count as left out. Defaults applied twice changes nothing more.
func (p Policy) Defaults(smartHost bool) Policy {
	if p.Looks <= 0 {
		p.Looks = 3
		p.Grace = cmp.Or(p.Grace, 6*time.Hour)
		p.Settle = cmp.Or(p.Settle, SettleAuto)
		p.Span = cmp.Or(p.Span, defaultSpan)
		p.StartupWait = cmp.Or(p.StartupWait, time.Minute)
	}
	fallback := ActRefuse
	if smartHost {
		fallback = ActSmartHost
	}
	p.OnFail = cmp.Or(p.OnFail, fallback)
	p.OnUnknown = cmp.Or(p.OnUnknown, ActHold)
	p.OnSenderFail = cmp.Or(p.OnSenderFail, p.OnFail)
	p.SPF = cmp.Or(p.SPF, "require")
	p.EHLOMatch = cmp.Or(p.EHLOMatch, "strict")
	p.Discovery = cmp.Or(p.Discovery, DiscoverPassive)
	if len(p.Probe) == 0 {
		p.Probe = DefaultProbe()
	}
	p.RecheckMin = cmp.Or(p.RecheckMin, 15*time.Minute)
	p.RecheckMax = max(cmp.Or(p.RecheckMax, 6*time.Hour), p.RecheckMin)
	p.Grace = min(max(p.Grace, 0), maxGrace)
	p.Span, p.StartupWait = max(p.Span, 0), max(p.StartupWait, 0)
	if p.Settle != SettleAuto {
		p.Settle = min(max(p.Settle, 0), maxSettle)
	}
	return p
}

// severity of a finding: what the check itself said of this case, else what
// the operator chose, else the check's own.
func (p Policy) severity(f Finding) Severity {
	s := f.Severity
	if s == "" {
		s = cmp.Or(p.Severity[f.Check.ID], f.Check.Severity)
	}
	if p.SPF == "warn" && s == Mandatory && (f.Check.ID == "SPF-SENDER-PRESENT" || f.Check.ID == "SPF-SENDER-PASS") {
		return Recommended
	}
	return s
}

// onSource is what happens to mail whose only sources have this verdict.
func (p Policy) onSource(s Status) Action {
	switch s {
	case Fail:
		return p.OnFail
	case Unknown:
		return p.OnUnknown
	}
	return "direct"
}

// onSender is what happens to mail of a sender domain with this verdict. One
// domain never stops the program, so refuse means hold here.
func (p Policy) onSender(s Status) Action {
	if a := p.onSenders(s); a != ActRefuse {
		return a
	}
	return ActHold
}

// onSenders is what happens when no sender domain has a better verdict than s.
func (p Policy) onSenders(s Status) Action {
	switch s {
	case Fail:
		return p.OnSenderFail
	case Unknown:
		return p.OnUnknown
	}
	return "direct"
}

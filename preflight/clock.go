package preflight

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// Clock is the machine's, and what its kernel thinks of it.
type Clock struct {
	Now    time.Time
	Synced bool
	Known  bool // the kernel told
}

// maxSkew is what a receiver overlooks in the Date of a message.
const maxSkew = 5 * time.Minute

// built is a moment that is past for sure: that of this version, or of this line.
func built() time.Time {
	at := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return at
	}
	for _, s := range info.Settings {
		if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil && t.After(at) {
			at = t
		}
	}
	return at
}

var hostClock = &Check{
	ID:       "HOST-CLOCK",
	Scope:    ScopeHost,
	Title:    "the machine's clock is right",
	Severity: Recommended,
	Change:   "^",
	Why:      "Yahoo and others refuse a Date that is out of range, and a signature with a wrong time may not be valid yet or any more",
	Ref:      "RFC 5322 section 3.6.1",
	Needs:    []string{"DNS-REACHABLE"},
	Here:     true,
	Words: Words{
		How:       "Compares the year with the one in which this program was made. Then takes the time that mail servers tell in their greetings when port 25 is tried: one within 5 minutes of ours passes, all of them further off fail. Where nobody told the time, the kernel says whether the clock is kept right.",
		Found:     "the clock is 3 h 12 m behind",
		Expected:  "within 5 min",
		Mend:      "timedatectl set-ntp true",
		Ask:       "whoever runs this machine",
		Quote:     "The origination date specifies the date and time at which the creator of the message indicated that the message was complete and ready to enter the mail delivery system.",
		Receivers: "Yahoo, for one, names a date out of range among its reasons to refuse.",
		Varies:    "mandatory where the year lies before that of this program; informational where only the kernel says that nothing keeps the clock right",
	},
	Run: func(ctx context.Context, p *Probe) Result {
		c := systemClock
		if p.run.out.Clock != nil {
			c = p.run.out.Clock
		}
		now := c()
		r := Remedy{
			Title: "Set the clock, and have it kept right",
			Who:   "whoever runs this machine",
			Steps: []string{"timedatectl set-ntp true", "Or enable chrony; in a virtual machine or container, the clock of what runs it."},
		}
		if at := built(); now.Now.Year() < at.Year() {
			res := fail(r, "within 5 min", "the clock says %d, and this program was made in %d", now.Now.Year(), at.Year())
			res.Severity = Mandatory
			return res
		}
		ahead, known := p.skew(ctx)
		switch {
		case known && ahead.Abs() > maxSkew:
			return fail(r, "within 5 min", "the clock is %s", astray(ahead))
		case known:
			return pass("a mail server's clock says the same")
		case !now.Known:
			return skip("the kernel does not tell, and no mail server told the time")
		case now.Synced:
			return pass("the kernel says that it is kept right")
		}
		res := fail(r, "kept right", "nothing keeps the clock right, as far as the kernel knows")
		if _, chosen := p.Plan.Policy.Severity["HOST-CLOCK"]; !chosen {
			res.Severity = Informational // it may be right all the same: many virtual machines are
		}
		return res
	},
}

// skew is how far our clock is ahead of the mail servers' that told the time
// lately. One of them is enough to vouch for us, and all have to speak against us.
func (p *Probe) skew(ctx context.Context) (ahead time.Duration, known bool) {
	for i := range p.Plan.Sources {
		n := p.run.inquire(ctx, i)
		if a, ok := n.offset(); ok && time.Since(n.At) < probeEvery && (!known || a.Abs() < ahead.Abs()) {
			ahead, known = a, true
		}
	}
	return ahead, known
}

// astray writes "3 h 12 m behind".
func astray(d time.Duration) string {
	way := "ahead"
	if d < 0 {
		d, way = -d, "behind"
	}
	d = d.Round(time.Minute)
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days %s", int(d.Hours())/24, way)
	}
	if d < time.Hour {
		return fmt.Sprintf("%d m %s", int(d.Minutes()), way)
	}
	return fmt.Sprintf("%d h %d m %s", int(d.Hours()), int(d.Minutes())%60, way)
}

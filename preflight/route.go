package preflight

import (
	"slices"
	"time"
)

// detour says why a source may not be used for a message, and what happens
// instead.
type detour struct {
	source *Source
	do     Action
	why    string
	until  time.Time
}

// strictest: where a source and a sender both stand in the way, holding wins
// over the smart host, and that over sending all the same.
var strictness = []Action{"direct", ActSend, ActWarn, ActSmartHost, ActHold}

// route picks the first source that may be used and was not tried. When there
// is none the remaining ones say where mail goes instead.
func (c mailCase) route(to string, tried []string) Route {
	var rest []detour
	for i := range c.plan.Sources {
		s := &c.plan.Sources[i]
		if slices.Contains(tried, s.Name) {
			continue
		}
		d := c.detour(s)
		if d.do == "direct" {
			return Route{Source: s}
		}
		rest = append(rest, d)
	}
	for _, do := range []Action{ActSend, ActWarn, ActSmartHost} {
		if i := slices.IndexFunc(rest, func(d detour) bool { return d.do == do }); i >= 0 {
			if do == ActSmartHost {
				return Route{SmartHost: true, Why: rest[i].why}
			}
			return Route{Source: rest[i].source, Why: rest[i].why}
		}
	}
	if len(rest) == 0 {
		return Route{Wait: c.wait(c.next), Why: nowhere(to, tried)}
	}
	first := slices.MinFunc(rest, func(a, b detour) int { return a.until.Compare(b.until) })
	return Route{Wait: c.wait(first.until), Why: first.why}
}

func nowhere(to string, tried []string) string {
	switch {
	case len(tried) == 0:
		return "no source is configured"
	case to == "":
		return "no source is left"
	}
	return "no source is left for " + to
}

// detour weighs the source, the sender and the two together.
func (c mailCase) detour(s *Source) detour {
	source, sender, both := c.source(s.Name), c.ownStanding(), c.pairStanding(s.Name)
	d := detour{source: s, do: "direct", until: c.next}
	c.block(&d, source, c.policy.onSource(source.Status), s.Name, "")
	c.block(&d, sender, c.policy.onSender(sender.Status), c.who, "")
	c.block(&d, both, c.policy.onSender(both.Status), c.who, " from "+s.Name)
	return d
}

func (c mailCase) ownStanding() standing {
	switch {
	case c.first:
		return standing{Status: Unknown, Because: []string{"first look"}}
	case c.name == "":
		return standing{Status: Pass}
	}
	return c.seen.stand(c.reach, "", c.counts)
}

func (c mailCase) pairStanding(source string) standing {
	s := standing{Status: Pass}
	if c.seen == nil {
		return s
	}
	return c.seen.stand(s, source, c.counts)
}

// block makes the detour as strict as this standing of who (from there) demands.
func (c mailCase) block(d *detour, s standing, do Action, who, from string) {
	until := c.next
	settling := !s.Settle.IsZero() && s.settling(time.Now())
	switch {
	case settling:
		do, until = c.policy.OnFail, s.Settle
	case s.usable():
		return
	}
	do = c.possible(do)
	if slices.Index(strictness, do) <= slices.Index(strictness, d.do) {
		return
	}
	reason := "settling, after a failure"
	if !settling {
		reason = s.Because[0]
	}
	d.do, d.until, d.why = do, until, reason+" of "+who+from
}

// possible turns an action of the policy into one for a message: a program
// that runs holds where it would have refused to start, mail that was accepted
// is not rejected any more, and without a smart host none is taken.
func (c mailCase) possible(do Action) Action {
	if do == ActRefuse || do == ActReject || do == ActSmartHost && len(c.plan.SmartHosts) == 0 {
		return ActHold
	}
	return do
}

// wait until then, and a moment at least.
func (c mailCase) wait(until time.Time) time.Duration {
	return max(time.Until(until), time.Second)
}

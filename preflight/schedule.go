package preflight

import "time"

// When to look again. Failed things are looked at often, because someone is
// likely to be mending them; good ones by the life of their answers; silent
// ones not before resolvers have forgotten the error (RFC 9520 section 3.2).

var (
	silentSteps = []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}
	doubtSteps  = []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute}
)

// soonest is the least wait between two looks at a doubt.
const soonest = 250 * time.Millisecond

// schedule says when to look again, after a look at now. jitter, from 0 up to
// 1, spreads the looks at good findings, so that they do not fall on the second
// in which the answers expire everywhere.
func schedule(h History, hs []held, pol Policy, now time.Time, jitter float64) time.Time {
	wait := pol.RecheckMax
	alive := time.Duration(0)
	for _, f := range hs {
		if f.Severity == Informational {
			continue
		}
		e := h.Entries[f.key()]
		if w := pol.urgent(e, f, now); w > 0 {
			wait = min(wait, w)
		}
		if ttl := f.seen.TTL; f.Severity == Mandatory && ttl > 0 && (alive == 0 || ttl < alive) {
			alive = ttl
		}
	}
	alive -= time.Duration(float64(alive) * jitter / 10)
	return now.Add(min(wait, max(alive, pol.RecheckMin)))
}

// urgent is the wait for a finding that is not simply good; 0 if it is.
func (pol Policy) urgent(e Entry, f held, now time.Time) time.Duration {
	switch {
	case e.Looks > 0:
		return pol.doubtStep(e.Looks)
	case e.Silent > 0:
		return step(silentSteps, e.Silent)
	case blocks(f.Result):
		return min(failedStep(now.Sub(e.Since)), pol.RecheckMin)
	case e.Settle.After(now):
		return e.Settle.Sub(now)
	}
	return 0
}

// doubtStep is the wait after so many looks at a failure that is not believed
// yet. A span below the usual one draws the looks together.
func (pol Policy) doubtStep(looks int) time.Duration {
	w := step(doubtSteps, looks)
	if pol.Span < defaultSpan {
		w = min(w, max(pol.Span/time.Duration(max(pol.Looks, 1)), soonest))
	}
	return w
}

// failedStep follows the age of a failure.
func failedStep(age time.Duration) time.Duration {
	switch {
	case age < 10*time.Minute:
		return time.Minute
	case age < time.Hour:
		return 5 * time.Minute
	}
	return 15 * time.Minute
}

func step(steps []time.Duration, n int) time.Duration {
	return steps[min(n, len(steps))-1]
}

package preflight

import "slices"

// overall says whether mail can leave at all, and what happens to it. The best
// source and the best sender domain decide; whatever stands worse only lowers a
// pass to degraded.
func (j *judgement) overall() {
	r := j.report
	if j.plan.SmartHostOnly {
		r.Overall = smartOverall(r.SmartHosts)
		r.Action = string(ActSmartHost)
		if a := j.policy.onSource(r.Overall); a == ActRefuse {
			r.Action = string(ActRefuse)
		}
		return
	}
	source, sender := bestStatus(r.Sources), bestStatus(r.Senders)
	if len(r.Sources) == 0 {
		source = Fail // nowhere to send from
	}
	r.Overall = worst(source, sender)
	if r.Overall == Pass && (worse(r.Sources, Pass) || worse(r.Senders, Pass) || worse(r.SmartHosts, Unknown)) {
		// A fallback that is known not to work is worth a word; one that does
		// not answer just now is not.
		r.Overall = Degraded
	}
	r.Action = string(j.policy.onSource(r.Overall))
	switch {
	case rank(r.Overall) <= rank(Degraded):
		if !direct(r.Sources) || !direct(r.Senders) {
			r.Action = "settling"
		}
	case rank(sender) > rank(source):
		// No sender domain is in order: nothing could leave, and refuse means it.
		r.Action = string(j.policy.onSenders(sender))
	}
	if r.Action != string(ActRefuse) {
		r.runs()
	}
}

// runs says what happens in a program that runs: what cannot be sent is held,
// not refused.
func (r *Report) runs() {
	held := func(action *string) {
		if *action == string(ActRefuse) {
			*action = string(ActHold)
		}
	}
	held(&r.Action)
	for i := range r.Sources {
		held(&r.Sources[i].Action)
	}
}

// direct tells whether one of them lets mail go direct at this moment.
func direct(vs []Verdict) bool {
	return len(vs) == 0 || slices.ContainsFunc(vs, func(v Verdict) bool { return v.Action == "direct" })
}

// smartOverall: with nothing but smart hosts the best of them decides. They
// are asked in order, so one that fails while another works only degrades.
func smartOverall(vs []Verdict) Status {
	s := bestStatus(vs)
	if s == Pass && worse(vs, Pass) {
		return Degraded
	}
	return s
}

// bestStatus is a pass when there is none to ask.
func bestStatus(vs []Verdict) Status {
	best := Fail
	for _, v := range vs {
		if rank(v.Status) < rank(best) {
			best = v.Status
		}
	}
	if len(vs) == 0 {
		return Pass
	}
	return best
}

func worse(vs []Verdict, than Status) bool {
	return slices.ContainsFunc(vs, func(v Verdict) bool { return rank(v.Status) > rank(than) })
}

// Exit is the exit code of relay preflight, that of a Nagios plugin: 0 pass,
// 1 degraded, 2 fail, 3 unknown.
func (r *Report) Exit() int {
	switch r.Overall {
	case Pass:
		return 0
	case Degraded:
		return 1
	case Fail:
		return 2
	}
	return 3
}

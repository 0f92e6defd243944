package preflight

// A server that is not ours is judged by what the world can see of it.

// strange says why a check has nothing to say of a server that is not ours.
func (p *Plan) strange(t *task) string {
	switch {
	case !p.Foreign:
		return ""
	case t.check.Here:
		return "another machine"
	case t.check == dkimConfigured && len(p.Senders[t.sender].Keys) == 0:
		return "no selector was named"
	}
	return ""
}

// disown takes the actions away: what happens to its mail is not ours to say.
func (r *Report) disown() {
	r.Action = ""
	for _, vs := range [][]Verdict{r.Sources, r.Senders, r.SmartHosts} {
		for i := range vs {
			vs[i].Action = ""
		}
	}
}

// settingWords leads a setting in: when it is the other way, and where it goes.
func (t *text) settingWords(r Remedy) string {
	where := "in relay.toml"
	switch {
	case t.r.Plan.Foreign && r.Setting == ownResolver: // it is ours, whomever we look at
		where = "in a relay.toml that --config names"
	case t.r.Plan.Foreign:
		where = "in that server's configuration, as relay.toml would have it"
	case r.Under != "":
		where += ", under " + r.Under
	}
	if r.Instead != "" {
		return "Or, " + r.Instead + ", " + where + ":"
	}
	return upperFirst(where) + ":"
}

// foreignFate is what becomes of its mail, as far as it can be known.
func (t *text) foreignFate() string {
	switch t.r.Overall {
	case Fail:
		return t.until(Fail, "") + " many receivers refuse its mail."
	case Unknown:
		return "Receivers that get no answer either send it away for now."
	case Degraded:
		return "Most receivers take its mail; what is marked makes some of them doubt it."
	}
	return "Receivers find nothing against its mail."
}

package preflight

// What a sight means beside what is known of host and sources.

// judge puts what is known of host and sources beside what is known of the sender.
func (n *sight) judge(base *judgement) *judgement {
	j := *base
	j.senders, j.pairs = nil, nil
	for _, h := range n.held() {
		if h.Check.Scope == ScopePair {
			if j.pairs == nil {
				j.pairs = map[pair][]held{}
			}
			of := pair{h.Source, h.Sender}
			j.pairs[of] = append(j.pairs[of], h)
			continue
		}
		if j.senders == nil {
			j.senders = map[string][]held{}
		}
		j.senders[n.who.Name()] = append(j.senders[n.who.Name()], h)
	}
	return &j
}

// stand adds to a standing what is known of the sender, or with a source of the two
// together, as judge would have it.
func (n *sight) stand(s standing, source string, counts func(id string) bool) standing {
	for i := range n.open {
		f, m := &n.open[i], &n.marks[i]
		of := ""
		if f.Check.Scope == ScopePair {
			of = f.Source
		}
		if of == source && (counts == nil || counts(f.Check.ID)) {
			s.take(f, m.stale, m.settle)
		}
	}
	return s
}

// judged is the sight with its verdict as host and sources stand.
func (n *sight) judged(base *judgement, looks int) *sight {
	c := *n
	c.under, c.verdict = looks, n.judge(base).senderVerdict(n.who.Name())
	c.verdict.blank, c.verdict.Findings = !n.known(), n.told
	return &c
}

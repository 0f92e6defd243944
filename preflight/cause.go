package preflight

import "fmt"

// cause is the finding at the end of the chain of those waited for, as believed.
func (o *observer) cause(f Finding) (held, bool) {
	for range len(o.causes) + 1 {
		h, ok := o.waited(f)
		if !ok || h.Status != Skip || h.WaitsFor == "" {
			return h, ok
		}
		f = h.Finding
	}
	return held{}, false
}

// waited finds what a finding waits for among those of its own subject, then
// among wider ones.
func (o *observer) waited(f Finding) (held, bool) {
	if f.WaitsFor == "" {
		return held{}, false
	}
	for _, k := range []string{
		fmt.Sprintf("%s|%s|%s|%s", f.WaitsFor, f.Source, f.Sender, f.SmartHost),
		fmt.Sprintf("%s|%s||", f.WaitsFor, f.Source),
		fmt.Sprintf("%s||%s|", f.WaitsFor, f.Sender),
		fmt.Sprintf("%s|||", f.WaitsFor),
	} {
		if h, ok := o.causes[k]; ok {
			return h, true
		}
	}
	return held{}, false
}

// unsure tells whether a look left open what is believed.
func (o *observer) unsure(f Finding) bool {
	if f.Status == Unknown {
		return true
	}
	root, waits := o.cause(f)
	return f.Status == Skip && waits && root.Stale
}

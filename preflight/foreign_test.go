package preflight_test

import (
	"slices"
	"testing"

	"smtprelay/preflight"
)

// Of a server that is not ours nothing is said that only its own machine can tell.
func TestForeign(t *testing.T) {
	for _, id := range preflight.OfThisMachine {
		if check(id) == nil {
			t.Errorf("there is no check %s", id)
		}
	}
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]preflight.Key{nil, {{Selector: "k1"}}, {{Selector: "none"}}} {
		w := build(t, own.base, nil)
		w.plan.Foreign = true
		w.plan.Sources[0].Public, w.plan.Sources[0].Bind = w.plan.Sources[0].Bind, ""
		w.plan.Senders[0].Keys = keys
		fs, rep := judged(t, w)
		for _, f := range fs {
			if slices.Contains(preflight.OfThisMachine, f.Check.ID) && f.Status != preflight.Skip {
				t.Errorf("of another machine: %s", show(f))
			}
			if len(f.Remedy.Records) > 0 {
				t.Errorf("records of a key that we do not have: %v", f.Remedy.Records)
			}
			want := preflight.Pass
			switch {
			case f.Check.ID == "DKIM-PUBLISHED" && len(keys) > 0 && keys[0].Selector == "none":
				want = preflight.Fail
			case len(keys) == 0 && f.Check.ID[:5] == "DKIM-", f.Check.ID == "EGRESS-BINDABLE", f.Check.ID == "DKIM-MATCHES-KEY":
				want = preflight.Skip
			}
			if known := slices.Contains([]string{"DKIM-PUBLISHED", "DKIM-CONFIGURED", "DKIM-MATCHES-KEY", "EGRESS-BINDABLE", "PTR-EXISTS", "SPF-SENDER-PASS"}, f.Check.ID); known && f.Status != want {
				t.Errorf("keys %v: %s, want %s", keys, show(f), want)
			}
		}
		if rep.Action != "" || rep.Sources[0].Action != "" {
			t.Errorf("action %q: it is not ours", rep.Action)
		}
		readable(t, rep)
	}
}

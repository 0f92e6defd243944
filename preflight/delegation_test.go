package preflight_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
)

// delegated is a world with a root server and one of the reverse zone, for which the
// resolver has no answer. The second server does as told.
func delegated(t *testing.T, how string) preflight.Finding {
	t.Helper()
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, own.base, []step{
		{'+', ". NS a.root.invalid."}, {'+', "a.root.invalid. A 127.73.0.1"},
		{'+', "2.0.192.in-addr.arpa. NS ns1.isp.example.org."}, {'+', "ns1.isp.example.org. A 127.73.0.2"},
		{'~', "2.0.192.in-addr.arpa servfail"},
	})
	s, out := w.start(t)
	for addr, zone := range map[string]string{"127.73.0.1": ".", "127.73.0.2": "2.0.192.in-addr.arpa"} {
		h, err := s.Host(addr, zone)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		if zone != "." {
			if err := h.Behave(how); err != nil {
				t.Fatal(err)
			}
		}
	}
	fs, _ := preflight.Run(context.Background(), &w.plan, out)
	return fs[slices.IndexFunc(fs, func(f preflight.Finding) bool { return f.Check.ID == "PTR-DELEGATION" })]
}

// When the resolver has no answer, the way from the root shows whose fault it is:
// servers that know nothing of the zone are a fault, trouble and silence may pass.
func TestLameDelegation(t *testing.T) {
	for how, want := range map[string]string{
		"refused":  "fail zone 2.0.192.in-addr.arpa: every server is lame: ns1.isp.example.org (REFUSED)",
		"upward":   "fail zone 2.0.192.in-addr.arpa: every server is lame: ns1.isp.example.org (a referral instead of an answer)",
		"servfail": "unknown on the way from the root: no server of 2.0.192.in-addr.arpa answers for it",
	} {
		f := delegated(t, how)
		if got := string(f.Status) + " " + f.Found; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s\nwant %s", how, got, want)
		}
		if f.Remedy.Zone != "2.0.192.in-addr.arpa" || !slices.Contains(f.Remedy.Steps, "relay preflight --trace") {
			t.Errorf("%s: %+v", how, f.Remedy)
		}
	}
}

package preflight

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 9, 14, 7, 0, time.UTC)

// plan of the tests: an IPv4 and, if asked for, an IPv6 source, and domains.
func planOf(sources []string, domains ...string) *Plan {
	p := &Plan{Policy: Policy{}.Defaults(false)}
	for _, s := range sources {
		addr := map[string]string{"wan4": "192.0.2.25", "wan6": "2001:db8::25"}[s]
		p.Sources = append(p.Sources, Source{Name: s, Bind: addr, EHLO: "mail.example.net"})
	}
	for _, d := range domains {
		p.Senders = append(p.Senders, Sender{Domain: d, Keys: []Key{{Selector: "k1", Record: "v=DKIM1; k=rsa; p=AAAA"}}})
	}
	return p
}

// all passes, but for the changes.
func findings(p *Plan, changes ...Finding) (fs []Finding) {
	r := newRun(p, Outside{})
	for _, t := range r.tasks {
		f := t.finding
		f.Result = Result{Status: Pass, Severity: f.Check.Severity, Found: "as it should be", TTL: 5 * time.Minute}
		for _, c := range changes {
			if c.key() == f.key() {
				f = c
			}
		}
		fs = append(fs, f)
	}
	return fs
}

// of a source, a sender or both, told by the check's scope.
func of(id, source, sender string, s Status) Finding {
	f := Finding{Check: byID(id), Source: source, Sender: sender}
	if f.Check == nil {
		panic("no check " + id)
	}
	if f.Check.Scope == ScopeSmartHost {
		f.Source, f.SmartHost = "", source
	}
	f.Result = Result{Status: s, Severity: f.Check.Severity, Found: id + " is " + string(s), TTL: 5 * time.Minute, NegTTL: 15 * time.Minute}
	return f
}

func as(f Finding, s Severity) Finding { f.Severity = s; return f }

func waiting(id, source, sender, on string) Finding {
	f := of(id, source, sender, Skip)
	f.WaitsFor, f.Found = on, ""
	return f
}

func TestJudge(t *testing.T) {
	both, four := []string{"wan4", "wan6"}, []string{"wan4"}
	noPTR := []Finding{of("PTR-EXISTS", "wan4", "", Fail), waiting("PTR-FORWARD-CONFIRMED", "wan4", "", "PTR-EXISTS"), waiting("EHLO-MATCHES-PTR", "wan4", "", "PTR-EXISTS")}
	for _, c := range []struct {
		name    string
		plan    *Plan
		change  func(*Plan)
		fs      []Finding
		want    map[string]Status // "" is the whole
		action  string
		because []string // of whom the first key names: of the worst
	}{
		{name: "all good", plan: planOf(four, "example.net"), want: map[string]Status{"": Pass, "wan4": Pass, "example.net": Pass}, action: "direct"},
		{name: "no PTR", plan: planOf(four, "example.net"), fs: noPTR,
			want: map[string]Status{"": Fail, "wan4": Fail, "example.net": Pass}, action: "refuse"},
		{name: "no PTR, smart host", plan: planOf(four, "example.net"), fs: noPTR,
			change: func(p *Plan) {
				p.SmartHosts = []SmartHost{{Name: "smart"}}
				p.Policy = Policy{}.Defaults(true)
			},
			want: map[string]Status{"": Fail, "wan4": Fail}, action: "smarthost"},
		{name: "no PTR, hold", plan: planOf(four, "example.net"), fs: noPTR, change: func(p *Plan) { p.Policy.OnFail = ActHold },
			want: map[string]Status{"": Fail}, action: "hold"},
		{name: "a recommended check", plan: planOf(four, "example.net"), fs: []Finding{of("PTR-SINGLE", "wan4", "", Fail)},
			want: map[string]Status{"": Degraded, "wan4": Degraded, "example.net": Pass}, action: "direct"},
		{name: "the severity that the result says", plan: planOf(four, "example.net"), fs: []Finding{as(of("EHLO-MATCHES-PTR", "wan4", "", Fail), Recommended)},
			want: map[string]Status{"": Degraded, "wan4": Degraded}, action: "direct"},
		{name: "informational", plan: planOf(four, "example.net"), fs: []Finding{of("MX-PRESENT", "", "example.net", Fail)},
			want: map[string]Status{"": Pass, "example.net": Pass}, action: "direct"},
		{name: "unknown", plan: planOf(four, "example.net"), fs: []Finding{of("PTR-EXISTS", "wan4", "", Unknown)},
			want: map[string]Status{"": Unknown, "wan4": Unknown, "example.net": Pass}, action: "hold"},
		{name: "unknown but recommended", plan: planOf(four, "example.net"), fs: []Finding{of("PTR-SINGLE", "wan4", "", Unknown)},
			want: map[string]Status{"": Pass, "wan4": Pass}, action: "direct"},
		{name: "a failure beside an unknown", plan: planOf(four, "example.net"), fs: []Finding{of("PTR-EXISTS", "wan4", "", Unknown), of("EHLO-ADDR", "wan4", "", Fail)},
			want: map[string]Status{"": Fail, "wan4": Fail}, action: "refuse"},
		{name: "resolver dead", plan: planOf(both, "example.net"), fs: []Finding{of("DNS-REACHABLE", "", "", Unknown)},
			want: map[string]Status{"": Unknown, "wan4": Unknown, "wan6": Unknown, "example.net": Unknown}, action: "hold"},
		{name: "resolver dead, refuse", plan: planOf(four, "example.net"), fs: []Finding{of("DNS-REACHABLE", "", "", Unknown)},
			change: func(p *Plan) { p.Policy.OnUnknown = ActRefuse },
			want:   map[string]Status{"": Unknown}, action: "refuse"},
		{name: "the only sender fails", plan: planOf(four, "example.net"), fs: []Finding{of("SPF-SENDER-PRESENT", "", "example.net", Fail), waiting("SPF-SENDER-PASS", "wan4", "example.net", "SPF-SENDER-PRESENT")},
			want: map[string]Status{"": Fail, "wan4": Pass, "example.net": Fail}, action: "refuse"},
		{name: "the only sender fails, spf = warn", plan: planOf(four, "example.net"), fs: []Finding{of("SPF-SENDER-PRESENT", "", "example.net", Fail)},
			change: func(p *Plan) { p.Policy.SPF = "warn" },
			want:   map[string]Status{"": Degraded, "example.net": Degraded}, action: "direct"},
		{name: "one sender of two fails", plan: planOf(four, "example.net", "example.org"), fs: []Finding{of("SPF-SENDER-PRESENT", "", "example.org", Fail)},
			want: map[string]Status{"": Degraded, "wan4": Pass, "example.net": Pass, "example.org": Fail}, action: "direct"},
		{name: "IPv6 without PTR", plan: planOf(both, "example.net"), fs: []Finding{of("PTR-EXISTS", "wan6", "", Fail), of("IPV6-SOURCE", "wan6", "", Fail)},
			want: map[string]Status{"": Degraded, "wan4": Pass, "wan6": Fail, "example.net": Pass}, action: "direct"},
		{name: "SPF lists IPv4 only", plan: planOf(both, "example.net"), fs: []Finding{of("SPF-SENDER-PASS", "wan6", "example.net", Fail)},
			want: map[string]Status{"": Degraded, "wan4": Pass, "wan6": Pass, "example.net": Degraded}, action: "direct"},
		{name: "no usable source is left for the sender", plan: planOf(both, "example.net", "example.org"), fs: []Finding{of("PTR-EXISTS", "wan4", "", Fail), of("SPF-SENDER-PASS", "wan6", "example.net", Fail)},
			want: map[string]Status{"": Degraded, "wan4": Fail, "wan6": Pass, "example.net": Fail, "example.org": Pass}, action: "direct"},
		{name: "both pairs fail", plan: planOf(both, "example.net"), fs: []Finding{of("SPF-SENDER-PASS", "wan4", "example.net", Fail), of("SPF-SENDER-PASS", "wan6", "example.net", Fail)},
			want: map[string]Status{"": Fail, "wan4": Pass, "wan6": Pass, "example.net": Fail}, action: "refuse"},
		{name: "smart host only", plan: planOf(four, "example.net"), fs: []Finding{of("PTR-EXISTS", "wan4", "", Skip)},
			change: func(p *Plan) { p.SmartHostOnly, p.SmartHosts = true, []SmartHost{{Name: "smart"}} },
			want:   map[string]Status{"": Pass, "smart": Pass}, action: "smarthost"},
		{name: "smart host only, password refused", plan: planOf(four, "example.net"), fs: []Finding{of("SMARTHOST-AUTH", "smart", "", Fail)},
			change: func(p *Plan) {
				p.SmartHostOnly, p.SmartHosts, p.Policy = true, []SmartHost{{Name: "smart"}}, Policy{}.Defaults(true)
			},
			want: map[string]Status{"": Fail, "smart": Fail}, action: "smarthost"},
		{name: "a fallback that does not work", plan: planOf(four, "example.net"), fs: []Finding{of("SMARTHOST-AUTH", "smart", "", Fail)},
			change: func(p *Plan) { p.SmartHosts = []SmartHost{{Name: "smart"}} },
			want:   map[string]Status{"": Degraded, "wan4": Pass, "smart": Fail}, action: "direct"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.plan)
			}
			r := Judge(c.plan, findings(c.plan, c.fs...), noon)
			got := map[string]Status{"": r.Overall}
			for _, v := range slices.Concat(r.Sources, r.Senders, r.SmartHosts) {
				got[v.Name] = v.Status
				if v.Status != Pass && len(v.Because) == 0 {
					t.Errorf("%s: %s because of nothing", v.Name, v.Status)
				}
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%q: %s, want %s", name, got[name], want)
				}
			}
			if r.Action != c.action {
				t.Errorf("action %q, want %q", r.Action, c.action)
			}
		})
	}
}

func TestBecause(t *testing.T) {
	p := planOf([]string{"wan4", "wan6"}, "example.net")
	r := Judge(p, findings(p, of("PTR-EXISTS", "wan4", "", Fail), of("EHLO-ADDR", "wan4", "", Fail), of("PTR-SINGLE", "wan4", "", Fail),
		of("SPF-SENDER-PASS", "wan6", "example.net", Fail), of("DMARC-PRESENT", "", "example.net", Fail)), noon)
	if got := r.Sources[0].Because; !slices.Equal(got, []string{"PTR-EXISTS", "EHLO-ADDR"}) {
		t.Errorf("wan4 because of %v", got)
	}
	if got := r.Senders[0].Because; !slices.Equal(got, []string{"SPF-SENDER-PASS"}) && !slices.Equal(got, []string{"DMARC-PRESENT", "SPF-SENDER-PASS"}) {
		t.Errorf("example.net because of %v", got)
	}
	for _, v := range []Verdict{r.Sources[1], r.Senders[0]} {
		if !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Check.ID == "SPF-SENDER-PASS" && f.Source == "wan6" }) {
			t.Errorf("the pair does not stand under %s", v.Name)
		}
	}
}

func TestExit(t *testing.T) {
	for want, s := range []Status{Pass, Degraded, Fail, Unknown} {
		if got := (&Report{Overall: s}).Exit(); got != want {
			t.Errorf("%s exits with %d, want %d", s, got, want)
		}
	}
}

func TestPolicyDefaults(t *testing.T) {
	p := Policy{}.Defaults(true)
	if p.OnFail != ActSmartHost || p.Looks != 3 || p.Grace != 6*time.Hour || p.Settle != SettleAuto || p.Span != 10*time.Minute {
		t.Errorf("defaults: %+v", p)
	}
	zero := Policy{Looks: 1, OnFail: ActHold, Grace: 48 * time.Hour}.Defaults(false)
	if zero.Settle != 0 || zero.Span != 0 || zero.Grace != 24*time.Hour || zero.OnSenderFail != ActHold {
		t.Errorf("chosen zeros: %+v", zero)
	}
	if again := (Policy{}).Defaults(false).Defaults(true); again.OnFail != ActRefuse {
		t.Errorf("applied twice: %+v", again)
	}
}

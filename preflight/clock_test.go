package preflight

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// The whole gate in fake time, before a resolver that answers by the hour. What it
// makes of single answers are cases, with @history and @runtime.

// clockWorld is a gate's world that lasts over restarts of it.
type clockWorld struct {
	t      *testing.T
	plan   Plan
	dns    *calm
	memory Memory
	log    syncBuffer
	gate   *Gate
	stop   func()
}

func atClock(t *testing.T, test func(w *clockWorld)) {
	t.Helper()
	memory := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	synctest.Test(t, func(t *testing.T) {
		w := &clockWorld{t: t, plan: manySenders(1), dns: &calm{}, memory: memory, stop: func() {}}
		defer func() { w.stop() }()
		test(w)
	})
}

// start the gate, again with what it remembers.
func (w *clockWorld) start() {
	w.stop()
	w.log = syncBuffer{}
	w.gate = NewGate(w.plan, w.dns.outside(), w.memory, slog.New(slog.NewJSONHandler(&w.log, nil)))
	w.gate.Start(w.t.Context())
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.gate.Watch(ctx) }()
	w.stop = func() { cancel(); <-done; w.stop = func() {} }
}

// ptr lets the reverse zone answer so; "": as it should.
func (w *clockWorld) ptr(rcode string) {
	w.dns.fault(rcode, func(_ string, t dns.Type) bool { return rcode != "" && t == dns.TypePTR })
}

// next look at the source: its verdict after it.
func (w *clockWorld) next() Verdict {
	w.gate.mu.RLock()
	at := w.gate.next
	w.gate.mu.RUnlock()
	time.Sleep(time.Until(at))
	synctest.Wait()
	return w.gate.Report().Sources[0]
}

func (w *clockWorld) want(v Verdict, status Status, action string, stale bool) {
	w.t.Helper()
	if v.Status != status || v.Action != action || v.Stale != stale {
		w.t.Errorf("%s %s, stale %t; want %s %s, stale %t", v.Status, v.Action, v.Stale, status, action, stale)
	}
}

func (w *clockWorld) wantNoVerdictLine() {
	w.t.Helper()
	if strings.Contains(w.log.String(), `"preflight verdict"`) {
		w.t.Errorf("no verdict changed, but the log says:\n%s", w.log.String())
	}
}

// T24 and T25 while it runs: the grace ends by itself.
func TestGraceEndsWhileItRuns(t *testing.T) {
	atClock(t, func(w *clockWorld) {
		w.start()
		w.ptr("SERVFAIL")
		for began := time.Now(); time.Since(began) < 5*time.Hour+50*time.Minute; {
			w.want(w.next(), Pass, "direct", true)
		}
		time.Sleep(20 * time.Minute)
		w.want(w.gate.Report().Sources[0], Unknown, "hold", false)
		w.ptr("")
		w.want(w.next(), Pass, "direct", false)
	})
}

// A verdict that changes is told of once, by what made it so.
func TestVerdictIsToldOnce(t *testing.T) {
	atClock(t, func(w *clockWorld) {
		w.start()
		w.ptr("NXDOMAIN")
		for range 3 {
			w.next()
		}
		w.want(w.next(), Fail, "hold", false)
		w.next()
		if n := strings.Count(w.log.String(), `"was":"pass"`); n != 1 {
			t.Errorf("%d verdict lines:\n%s", n, w.log.String())
		}
	})
}

// Silence does not heal a failure, however long and over however many restarts.
func TestSilenceHealsNothing(t *testing.T) {
	atClock(t, func(w *clockWorld) {
		w.ptr("NXDOMAIN")
		w.start()
		w.want(w.gate.Report().Sources[0], Fail, "refuse", false)
		w.ptr("SERVFAIL")
		for range 5 {
			w.want(w.next(), Fail, "hold", false)
		}
		w.stop()
		time.Sleep(48 * time.Hour)
		w.start()
		w.want(w.gate.Report().Sources[0], Fail, "refuse", false)
	})
}

// A restart in the middle of doubt or of settling goes on where it was; what
// was seen to fail at a start is believed there.
func TestSettlingSurvivesARestart(t *testing.T) {
	atClock(t, func(w *clockWorld) {
		w.ptr("NXDOMAIN")
		w.start()
		w.ptr("")
		w.want(w.next(), Pass, "settling", false)
		time.Sleep(10 * time.Minute)
		w.start()
		w.want(w.gate.Report().Sources[0], Pass, "settling", false)
		w.wantNoVerdictLine()
		time.Sleep(6 * time.Minute)
		w.want(w.gate.Report().Sources[0], Pass, "direct", false)
	})
}

// Every setting of a policy does something. A field without a row fails.
func TestEverySettingCounts(t *testing.T) {
	unheard := map[string]bool{}
	for f := range reflect.TypeFor[Policy]().Fields() {
		unheard[f.Name] = true
	}
	noPTR, silent := ptr(Fail), ptr(Unknown)
	action := func(p Policy, fs ...Finding) string {
		plan := planOf([]string{"wan4"}, "example.net")
		plan.Policy = p
		return Judge(plan, findings(plan, fs...), noon).Action
	}
	run := func(p Policy, id string, change func(*Plan, *calm)) string {
		plan, c := manySenders(1), &calm{}
		plan.Policy = p
		change(&plan, c)
		fs, _ := Run(context.Background(), &plan, c.outside())
		i := slices.IndexFunc(fs, func(f Finding) bool { return f.Check.ID == id })
		return string(fs[i].Status) + " " + string(fs[i].Severity)
	}
	history := func(p Policy, looks ...func(s *story) Verdict) string {
		s := tell(t)
		s.plan.Policy = p
		var v Verdict
		for _, look := range looks {
			v = look(s)
		}
		return fmt.Sprint(v.Status, " ", v.Action, " ", s.next.Sub(s.at))
	}
	at := func(after time.Duration, start bool, fs ...Finding) func(*story) Verdict {
		return func(s *story) Verdict { return s.look(after, start, fs...) }
	}
	for field, x := range map[string]struct {
		change        func(p *Policy)
		does          func(p Policy) string
		before, after string
	}{
		"OnFail":    {func(p *Policy) { p.OnFail = ActHold }, func(p Policy) string { return action(p, noPTR...) }, "refuse", "hold"},
		"OnUnknown": {func(p *Policy) { p.OnUnknown = ActSend }, func(p Policy) string { return action(p, silent...) }, "hold", "send"},
		"OnSenderFail": {func(p *Policy) { p.OnSenderFail = ActReject }, func(p Policy) string {
			return action(p, of("SPF-SENDER-PRESENT", "", "example.net", Fail))
		}, "refuse", "reject"},
		"SPF": {func(p *Policy) { p.SPF = "off" }, func(p Policy) string {
			return run(p, "SPF-SENDER-PRESENT", func(*Plan, *calm) {})
		}, "pass mandatory", "skip mandatory"},
		"EHLOMatch": {func(p *Policy) { p.EHLOMatch = "forward" }, func(p Policy) string {
			return run(p, "EHLO-MATCHES-PTR", func(plan *Plan, _ *calm) { plan.Sources[0].EHLO = "mail2.example.net" })
		}, "fail mandatory", "fail recommended"},
		"Grace":       {func(p *Policy) { p.Grace = time.Minute }, func(p Policy) string { return history(p, at(0, true), at(time.Hour, false, silent...)) }, "pass direct 5s", "unknown hold 5s"},
		"Settle":      {func(p *Policy) { p.Settle = 0 }, func(p Policy) string { return history(p, at(0, true, noPTR...), at(time.Minute, false)) }, "pass settling 15m0s", "pass direct 15m0s"},
		"StartupWait": {func(p *Policy) { p.StartupWait = 10 * time.Second }, startTime, "1m0s", "10s"},
		"RecheckMin":  {func(p *Policy) { p.RecheckMin = time.Hour }, func(p Policy) string { return history(p, at(0, true)) }, "pass direct 15m0s", "pass direct 1h0m0s"},
		"RecheckMax": {func(p *Policy) { p.RecheckMin, p.RecheckMax = time.Minute, 2*time.Minute }, func(p Policy) string {
			return history(p, at(0, true))
		}, "pass direct 15m0s", "pass direct 2m0s"},
		"Looks": {func(p *Policy) { p.Looks = 2 }, func(p Policy) string {
			return history(p, at(0, true), at(time.Minute, false, noPTR...), at(11*time.Minute, false, noPTR...))
		}, "pass direct 5m0s", "fail refuse 1m0s"},
		"Span": {func(p *Policy) { p.Span = time.Hour }, func(p Policy) string {
			return history(p, at(0, true), at(time.Minute, false, noPTR...), at(6*time.Minute, false, noPTR...), at(6*time.Minute, false, noPTR...))
		}, "fail refuse 1m0s", "pass direct 10m0s"},
		"Private": {func(p *Policy) { p.Private = true }, func(p Policy) string {
			return run(p, "EGRESS-PUBLIC", func(plan *Plan, _ *calm) {
				plan.Special, plan.Sources[0].Public = Registries(), "10.0.0.25"
			})
		}, "fail mandatory", "pass mandatory"},
		"Discovery": {func(p *Policy) { p.Discovery = DiscoverOff }, learnt, "9.9.9.9", ""},
		"DNSBL": {func(p *Policy) { p.DNSBL = []BlockList{"list.example"} }, func(p Policy) string {
			return run(p, "DNSBL-USABLE", func(*Plan, *calm) {})
		}, "skip informational", "fail informational"},
		"Probe": {func(p *Policy) { p.Probe = []string{"example.org"} }, met, "gmail.com outlook.com yahoo.com", "example.org"},
		"Severity": {func(p *Policy) { p.Severity = map[string]Severity{"PTR-SINGLE": Mandatory} }, func(p Policy) string {
			return run(p, "PTR-SINGLE", func(*Plan, *calm) {})
		}, "pass recommended", "pass mandatory"},
	} {
		p := Policy{}.Defaults(false)
		if got := x.does(p); got != x.before {
			t.Errorf("%s left alone: %q, want %q", field, got, x.before)
		}
		x.change(&p)
		if got := x.does(p); got != x.after {
			t.Errorf("%s changed: %q, want %q", field, got, x.after)
		}
		delete(unheard, field)
	}
	for field := range unheard {
		t.Errorf("Policy.%s: nothing shows what it does", field)
	}
}

// startTime is how long a start waits for a resolver that fails at once.
func startTime(p Policy) (took string) {
	synctest.Test(&testing.T{}, func(*testing.T) {
		plan, c := manySenders(1), &calm{}
		plan.Policy = p
		c.fault("SERVFAIL", func(string, dns.Type) bool { return true })
		began := time.Now()
		NewGate(plan, c.outside(), nil, nil).Start(context.Background())
		took = time.Since(began).String()
	})
	return took
}

// learnt is the address that two mail servers say a source has.
func learnt(p Policy) string {
	plan, o := Plan{Sources: []Source{{Name: "wan4", Bind: "10.0.0.5", EHLO: "mail.example.net"}}, Policy: p}, NewObservations()
	for _, operator := range []string{"one.example", "two.example"} {
		o.add(Observation{Source: plan.Sources[0].key(), Method: byProbe, Operator: operator, Addr: netip.MustParseAddr("9.9.9.9"), At: time.Now()})
	}
	return plan.Learn(o, time.Now()).Sources[0].Public
}

// met are the domains whose mail servers a run connects to.
func met(p Policy) string {
	plan, c, mail := manySenders(1), &calm{}, talker()
	plan.Policy = p
	o := c.outside()
	o.Probe = mail
	Run(context.Background(), &plan, o)
	var all []string
	for len(mail.n) > 0 {
		all = append(all, strings.TrimPrefix(<-mail.n, "wan4 "))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

package preflight

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// story runs looks one after the other through the model.
type story struct {
	t    *testing.T
	plan *Plan
	h    History
	at   time.Time
	last *Report
	next time.Time
	fold bool // the history between looks
}

func tell(t *testing.T) *story {
	return &story{t: t, plan: planOf([]string{"wan4"}, "example.net"), at: noon}
}

// ptr is what the three checks say when the PTR question has this outcome.
func ptr(s Status) []Finding {
	if s == Pass {
		return nil
	}
	return []Finding{of("PTR-EXISTS", "wan4", "", s), waiting("PTR-FORWARD-CONFIRMED", "wan4", "", "PTR-EXISTS"), waiting("EHLO-MATCHES-PTR", "wan4", "", "PTR-EXISTS")}
}

func (s *story) look(after time.Duration, start bool, changes ...Finding) Verdict {
	s.t.Helper()
	s.at = s.at.Add(after)
	h, hs := observe(s.h, s.plan, findings(s.plan, changes...), s.at, start)
	s.h, s.last = h, judge(s.plan, hs, s.at).report
	s.next = schedule(h, hs, s.plan.Policy, s.at, 0)
	if s.fold {
		s.h = h.fold(s.at)
	}
	return s.last.Sources[0]
}

func (s *story) want(v Verdict, status Status, action string) {
	s.t.Helper()
	if v.Status != status || v.Action != action {
		s.t.Errorf("%s at +%s: %s %s, want %s %s", v.Name, s.at.Sub(noon), v.Status, v.Action, status, action)
	}
}

func TestOneNXDOMAINBetweenPassesChangesNothing(t *testing.T) {
	s := tell(t)
	for _, x := range []Status{Pass, Fail, Pass, Fail, Pass} {
		s.want(s.look(time.Minute, false, ptr(x)...), Pass, "direct")
	}
}

func TestNXDOMAINThatStays(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	for _, c := range []struct {
		after time.Duration
		want  Status
		next  time.Duration
	}{
		{time.Minute, Pass, time.Minute},
		{time.Minute, Pass, 5 * time.Minute},
		{5 * time.Minute, Pass, 10 * time.Minute},
		{10 * time.Minute, Fail, time.Minute},
	} {
		v := s.look(c.after, false, ptr(Fail)...)
		if v.Status != c.want || s.next.Sub(s.at) != c.next {
			t.Errorf("+%s: %s, next look in %s; want %s, %s", s.at.Sub(noon), v.Status, s.next.Sub(s.at), c.want, c.next)
		}
	}
	if len(s.last.Sources[0].Because) != 1 {
		t.Errorf("because of %v", s.last.Sources[0].Because)
	}
}

func TestAnotherValueRestartsTheCount(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	wrong := of("EHLO-ADDR", "wan4", "", Fail)
	for i := range 8 {
		wrong.Found = string(rune('a' + i))
		s.want(s.look(10*time.Minute, false, wrong), Pass, "direct")
	}
	s.look(10*time.Minute, false, wrong)
	s.want(s.look(10*time.Minute, false, wrong), Fail, "refuse")
}

// Resolvers hand out records in turn: the same ones in another order are the same.
func TestAnotherOrderIsTheSameValue(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	wrong := of("EHLO-ADDR", "wan4", "", Fail)
	for i, want := range []Status{Pass, Pass, Fail} {
		wrong.Found = []string{"mail is 192.0.2.8, 192.0.2.9", "mail is 192.0.2.9, 192.0.2.8"}[i%2]
		if v := s.look(5*time.Minute, false, wrong); v.Status != want {
			t.Errorf("look %d: %s, want %s", i, v.Status, want)
		}
	}
}

func TestServfailDoesNotHeal(t *testing.T) {
	s := tell(t)
	s.want(s.look(0, true, ptr(Fail)...), Fail, "refuse")
	s.want(s.look(time.Minute, false, ptr(Unknown)...), Fail, "refuse")
	s.want(s.look(48*time.Hour, false, ptr(Unknown)...), Fail, "refuse")
	s.want(s.look(time.Minute, false, of("DNS-REACHABLE", "", "", Unknown), waiting("PTR-EXISTS", "wan4", "", "DNS-REACHABLE")), Fail, "refuse")
}

func TestGraceCoversServfail(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	v := s.look(time.Hour, true, ptr(Unknown)...)
	s.want(v, Pass, "direct")
	if !v.Stale {
		t.Error("not stale by an hour's old answer")
	}
	v = s.look(6*time.Hour, true, ptr(Unknown)...)
	s.want(v, Unknown, "hold")
	if v.Stale {
		t.Error("unknown is not stale")
	}
	s.want(s.look(time.Minute, false), Pass, "direct")
}

func TestSettle(t *testing.T) {
	s := tell(t)
	s.look(0, true, ptr(Fail)...)
	s.want(s.look(time.Minute, false), Pass, "settling")
	if s.last.Action != "settling" || s.last.Overall != Pass {
		t.Errorf("whole: %s %s", s.last.Overall, s.last.Action)
	}
	if d := s.next.Sub(s.at); d != 15*time.Minute {
		t.Errorf("next look in %s, not when it has settled", d)
	}
	s.want(s.look(14*time.Minute, false), Pass, "settling")
	s.want(s.look(time.Minute, false), Pass, "direct")

	s = tell(t)
	s.plan.Policy.Settle = 0
	s.look(0, true, ptr(Fail)...)
	s.want(s.look(time.Minute, false), Pass, "direct")
}

func TestWaitingFindingsFollow(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	s.look(time.Minute, false, ptr(Fail)...)
	for _, f := range s.last.Sources[0].Findings {
		if f.Check.Scope == ScopeSource && f.Status != Pass {
			t.Errorf("%s is %s while its cause is still believed", f.Check.ID, f.Status)
		}
	}
	s.look(5*time.Minute, false, ptr(Fail)...)
	s.look(20*time.Minute, false, ptr(Fail)...)
	for _, f := range s.last.Sources[0].Findings {
		if f.Check.ID == "EHLO-MATCHES-PTR" && f.Status != Skip {
			t.Errorf("%s is %s while PTR-EXISTS failed", f.Check.ID, f.Status)
		}
	}
}

func TestLooksScaleWithTheSpan(t *testing.T) {
	s := tell(t)
	s.plan.Policy.Looks, s.plan.Policy.Span = 2, 2*time.Second
	s.plan.Policy.RecheckMin, s.plan.Policy.RecheckMax = time.Second, time.Second
	s.look(0, true)
	if d := s.next.Sub(s.at); d != time.Second {
		t.Errorf("a pass is looked at again after %s", d)
	}
	for _, want := range []Status{Pass, Pass, Fail} {
		v := s.look(s.next.Sub(s.at), false, ptr(Fail)...)
		if v.Status != want || s.next.Sub(s.at) != time.Second {
			t.Errorf("+%s: %s, next in %s; want %s", s.at.Sub(noon), v.Status, s.next.Sub(s.at), want)
		}
	}
	s = tell(t)
	s.plan.Policy.Looks, s.plan.Policy.Span = 1, 0
	s.look(0, true)
	s.want(s.look(time.Second, false, ptr(Fail)...), Fail, "refuse")
}

func TestSchedule(t *testing.T) {
	s := tell(t)
	for _, want := range []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		s.look(time.Second, true, ptr(Unknown)...)
		if d := s.next.Sub(s.at); d != want {
			t.Errorf("silent: next in %s, want %s", d, want)
		}
	}
	s.look(time.Second, false)
	if d := s.next.Sub(s.at); d != 15*time.Minute {
		t.Errorf("TTL below recheck_min: next in %s", d)
	}
	s = tell(t)
	for _, c := range []struct{ after, want time.Duration }{{0, time.Minute}, {9 * time.Minute, time.Minute}, {time.Minute, 5 * time.Minute}, {time.Hour, 15 * time.Minute}} {
		s.look(c.after, true, ptr(Fail)...)
		if d := s.next.Sub(s.at); d != c.want {
			t.Errorf("failed for %s: next in %s, want %s", s.at.Sub(noon), d, c.want)
		}
	}
}

func TestHistoryOfAnotherConfigurationIsForgotten(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	s.plan.Sources[0].EHLO = "other.example.net"
	s.want(s.look(time.Minute, false, ptr(Fail)...), Fail, "refuse")
}

func TestClockSetBack(t *testing.T) {
	s := tell(t)
	s.look(0, true)
	v := s.look(-24*365*time.Hour, false, ptr(Unknown)...)
	s.want(v, Pass, "direct")
	s.want(s.look(7*time.Hour, false, ptr(Unknown)...), Unknown, "hold")
}

func TestFileMemory(t *testing.T) {
	s := tell(t)
	s.look(0, true, ptr(Fail)...)
	path := filepath.Join(t.TempDir(), "preflight.json")
	m := FileMemory(path)
	if err := m.Save(t.Context(), s.h); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	s.h, _ = m.Load(t.Context())
	s.want(s.look(time.Minute, false, ptr(Unknown)...), Fail, "refuse")

	whole, _ := os.ReadFile(path)
	for n, content := range [][]byte{nil, whole[:len(whole)/2], []byte("null"), []byte(`{"schema":2}`), []byte(`{"schema":1,"entries":{"x":{"result":{"Status":"odd"}}}}`), []byte(`[]`)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := m.Load(t.Context()); err != nil || len(h.Entries) > 0 {
			t.Errorf("file %d: %d entries, %v", n, len(h.Entries), err)
		}
	}
	for n := len(whole) - 2; n >= 0; n -= 1 + n/50 { // torn, but for the final newline
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := m.Load(t.Context()); err != nil || len(h.Entries)+len(h.Past)+len(h.Live) > 0 {
			t.Fatalf("torn after %d octets: %d entries, %v", n, len(h.Entries), err)
		}
	}
	if err := os.WriteFile(path+".new", whole, 0o600); err != nil { // of a program that was killed
		t.Fatal(err)
	}
	if err := m.Save(t.Context(), History{}); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".new*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if h, err := FileMemory(filepath.Join(t.TempDir(), "none")).Load(t.Context()); err != nil || h.Entries != nil {
		t.Errorf("missing file: %v, %v", h, err)
	}
}

// FuzzMemory: no file makes a load fail or a later look break.
func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"schema":1,"entries":{"PTR-EXISTS|wan4||":{"result":{"Status":"fail"},"settle":"9999-01-01T00:00:00Z","looks":2147483647}}}`))
	f.Add([]byte(`{"schema":1,"past":[{"source":"wan4","inputs":"","checks":"PTR-EXISTS PTR-EXISTS X","good":"9999-01-01T00:00:00Z","silent":-5}]}`))
	f.Add([]byte(`{"schema":1,"live":{"k1._domainkey.example.net":"AAAA"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "preflight.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := FileMemory(path).Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := tell(t)
		judge(s.plan, h.recall(), noon)
		s.h = h
		for _, x := range []Status{Unknown, Fail, Pass} {
			s.look(time.Minute, false, ptr(x)...)
		}
		if s.next.After(s.at.Add(s.plan.Policy.RecheckMax)) {
			t.Fatalf("next look in %s", s.next.Sub(s.at))
		}
	})
}

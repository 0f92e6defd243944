package preflight

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// noPTR is what an operator says against wan4.
func noPTR(host string) Reply {
	return Reply{Host: host, Stage: "greet", Code: 554, Status: "5.7.1", Text: "No PTR record found", Source: "wan4", Mail: ours}
}

// finding of a report.
func finding(r *Report, id string) Finding {
	for _, v := range append(r.Sources, r.Senders...) {
		for _, f := range v.Findings {
			if f.Check.ID == id {
				return f
			}
		}
	}
	return Finding{}
}

// sleepy is a world in which nothing is looked at again by schedule.
func sleepy(t *testing.T) *gateWorld {
	w := newGateWorld(t)
	w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = time.Hour, time.Hour
	w.level = slog.LevelDebug
	return w
}

// until something is so after a look: the log has a line for each.
func (w *gateWorld) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.After(20 * time.Second); ; {
		more := w.log.more()
		if ok() {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%s: never came", what)
		}
	}
}

// One reply is worth a look at once: what is wrong by then is seen.
func TestHeardLooksAtOnce(t *testing.T) {
	w := sleepy(t)
	g := w.gate(t, nil)
	watch(t, g)
	w.dns.Remove("25.2.0.192.in-addr.arpa", "PTR")
	g.Heard(noPTR("mx.one.example"))
	key := finding(g.Report(), "PTR-EXISTS").key()
	w.until(t, "a look", func() bool {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return g.history.Entries[key].Looks == 1
	})
	// The same again within a minute is not.
	g.Heard(noPTR("mx.one.example"))
	if at := g.evidence.next(); time.Until(at) < evidenceRest-20*time.Second {
		t.Errorf("looked at again in %v", time.Until(at))
	}
	if r := g.Report(); r.Overall != Pass || len(r.Senders) != 1 || len(r.SmartHosts) != 1 {
		t.Errorf("a reply made a verdict, or a part of the report is gone: %s", r.Overall)
	}
}

// Where the check passes, one voice says nothing, two say that there is more
// to it than we see; and mail goes on.
func TestHeardContradicts(t *testing.T) {
	for name, c := range map[string]struct {
		hosts []string
		want  bool
	}{
		"one":                 {[]string{"mx.one.example"}, false},
		"one operator twice":  {[]string{"mx1.one.example", "mx2.one.example"}, false},
		"one, three times":    {[]string{"mx1.one.example", "mx2.one.example", "mx1.one.example"}, true},
		"two":                 {[]string{"mx.one.example", "mx.two.example"}, true},
		"a smart host's word": {[]string{"smart"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := sleepy(t)
			g := w.gate(t, nil)
			run, next := g.Report().Run, g.Report().Next
			for _, h := range c.hosts {
				r := noPTR(h)
				if h == "smart" {
					r.Source = "smarthost"
				}
				g.Heard(r)
			}
			watch(t, g)
			if c.hosts[0] == "smart" {
				if !g.evidence.next().IsZero() {
					t.Error("it was taken for evidence")
				}
				return
			}
			w.until(t, "a look", func() bool { return g.Report().Run != run })
			f := finding(g.Report(), "PTR-EXISTS")
			if g.Report().Next.After(next) {
				t.Error("what was not looked at is put off")
			}
			if got := len(f.ContradictedBy) > 0; got != c.want || f.Status != Pass {
				t.Fatalf("contradicted %t by %q, %s", got, f.ContradictedBy, f.Status)
			}
			if r := g.Report(); r.Overall != Pass || g.Route(t.Context(), ours, "x.example", nil).Source == nil {
				t.Errorf("replies made a verdict: %s", r.Overall)
			}
			if !c.want {
				return
			}
			var text, doc bytes.Buffer
			_ = WriteText(&text, g.Report(), TextOptions{})
			_ = WriteJSON(&doc, g.Report())
			said := f.ContradictedBy[0]
			if f.Severity != Recommended || !strings.HasPrefix(said, "one.example 554 5.7.1 ") ||
				!strings.Contains(text.String(), "otherwise: one.example") || !strings.Contains(doc.String(), `"contradicted_by": [`) {
				t.Errorf("%s %q\n%s", f.Severity, said, text.String())
			}
			if !strings.Contains(w.log.String(), `"check":"PTR-EXISTS","severity":"recommended","result":"pass"`) || !strings.Contains(w.log.String(), `"contradicted_by":["one.example`) {
				t.Errorf("the log says:\n%s", w.log.String())
			}
		})
	}
}

// A sender that the configuration does not name is looked at again, too.
func TestHeardOfAStranger(t *testing.T) {
	w := sleepy(t)
	g := w.gate(t, nil)
	m := Mail{Envelope: "good.example.org", Author: "good.example.org"}
	if r := g.Route(t.Context(), m, "x.example", nil); r.Source == nil {
		t.Fatalf("route: %+v", r)
	}
	watch(t, g)
	before, _ := g.sights.get("good.example.org good.example.org")
	g.Heard(Reply{Host: "mx.mimecast.com", Stage: "mail", Code: 550, Text: "SPF Sender Invalid - envelope rejected", Source: "wan4", Mail: m})
	w.until(t, "a review", func() bool {
		now, _ := g.sights.get("good.example.org good.example.org")
		return now != before && now.next.After(before.next)
	})
}

// Whatever is said, what is kept of it has an end.
func TestEvidenceIsBounded(t *testing.T) {
	e := newEvidence()
	now := time.Now()
	f := Finding{Check: byID("SENDER-RESOLVES")}
	for n := range 3 * maxEvidence {
		f.Sender = fmt.Sprint(n % (2 * maxEvidence))
		e.hear(f, Sender{Domain: f.Sender}, false, voice{"x", "550", now})
	}
	if len(e.about) != maxEvidence {
		t.Errorf("%d requirements", len(e.about))
	}
	f.Sender = "0"
	for range 100 {
		e.hear(f, Sender{}, false, voice{"x", "550", now})
	}
	if n := len(e.about[f.key()].words); n != maxWords {
		t.Errorf("%d words of one", n)
	}
	// An hour later it has room, and what was said counts no more.
	f.Sender = "new"
	e.hear(f, Sender{}, false, voice{"x", "550", now.Add(evidenceLife)})
	if len(e.about) != 1 || len(e.against(Finding{Check: f.Check, Sender: "0"}, now.Add(evidenceLife))) > 0 {
		t.Errorf("%d requirements an hour later", len(e.about))
	}
}

// However many are named at once, few are looked at in one go, and all in the end.
func TestReviewsArePaced(t *testing.T) {
	e, now := newEvidence(), time.Now()
	for n := range 50 {
		who := Sender{Domain: fmt.Sprint(n)}
		for _, id := range []string{"SENDER-RESOLVES", "MX-NOT-NULL"} {
			e.hear(Finding{Check: byID(id), Sender: who.Domain}, who, true, voice{"x", "550", now})
		}
	}
	seen := map[string]bool{}
	for range 3 {
		listed, others := e.take(now)
		if len(listed) > maxReview || len(others) > 0 {
			t.Errorf("%d and %d at once", len(listed), len(others))
		}
		for _, s := range listed {
			seen[s.Domain] = true
		}
		if more, _ := e.take(now); len(seen) < 50 && len(more) > 0 {
			t.Error("no rest between two")
		}
		if len(seen) < 50 && !e.next().Equal(now.Add(reviewRest)) {
			t.Errorf("next in %v", e.next().Sub(now))
		}
		now = now.Add(reviewRest)
	}
	if len(seen) != 50 || !e.next().IsZero() {
		t.Errorf("%d were looked at", len(seen))
	}
}

// Receivers who say otherwise do not cut short the wait for what others may still
// have cached, nor hide that a finding is old.
func TestContradictionChangesNoMail(t *testing.T) {
	e, now := newEvidence(), time.Now()
	f := Finding{Check: byID("PTR-EXISTS"), Source: "wan4", Result: Result{Status: Pass, Severity: Mandatory}}
	for range manyTimes {
		e.hear(f, Sender{}, true, voice{"evil.example", "550", now.Add(-time.Minute)})
	}
	hs := believed([]Finding{f})
	hs[0].Settle, hs[0].Stale = now.Add(time.Hour), true
	e.contradicted(hs, now)
	if len(hs[0].ContradictedBy) != manyTimes {
		t.Fatalf("contradicted by %q", hs[0].ContradictedBy)
	}
	p := &Plan{Sources: []Source{{Name: "wan4"}}}
	v := judge(p, hs, now).report.Sources[0]
	if v.Action != "settling" || !v.Stale || v.Findings[0].Severity != Recommended {
		t.Errorf("%s, stale %t, shown as %s", v.Action, v.Stale, v.Findings[0].Severity)
	}
}

func TestContradictionEnds(t *testing.T) {
	e := newEvidence()
	now := time.Now()
	f := Finding{Check: byID("PTR-EXISTS"), Source: "wan4", Result: Result{Status: Pass, Severity: Mandatory}}
	for _, o := range []string{"a", "b"} {
		e.hear(f, Sender{}, true, voice{o, "550", now})
	}
	e.take(now)
	hs := believed([]Finding{f})
	if e.contradicted(hs, now); len(hs[0].ContradictedBy) > 0 {
		t.Error("what was said when the look began already counts against it")
	}
	if e.contradicted(hs, now.Add(time.Second)); len(hs[0].ContradictedBy) != 2 || hs[0].told().Severity != Recommended {
		t.Errorf("%+v", hs[0].ContradictedBy)
	}
	if at := e.next(); !at.Equal(now.Add(evidenceLife)) {
		t.Errorf("looked at again in %v", at.Sub(now))
	}
	hs = believed([]Finding{f})
	if e.contradicted(hs, now.Add(evidenceLife)); len(hs[0].ContradictedBy) > 0 || hs[0].Severity != Mandatory {
		t.Error("an hour later it still counts")
	}
	f.Status = Fail
	hs = believed([]Finding{f})
	if e.contradicted(hs, now.Add(time.Second)); len(hs[0].ContradictedBy) > 0 {
		t.Error("a failure is contradicted")
	}
}

// What becomes of mail that is refused for our sake follows the policy of a
// failure of that check.
func TestInstead(t *testing.T) {
	for name, c := range map[string]struct {
		onFail, onSender Action
		named            []string
		smart            bool
	}{
		"by default":            {"", "", []string{"PTR-EXISTS"}, true},
		"warn":                  {ActWarn, "", []string{"PTR-EXISTS"}, true},
		"hold":                  {ActHold, "", []string{"PTR-EXISTS"}, false},
		"refuse":                {ActRefuse, "", nil, false},
		"no check":              {"", "", nil, true},
		"a sender held":         {ActSmartHost, ActHold, []string{"SPF-SENDER-PASS"}, false},
		"not for the source":    {ActSmartHost, ActHold, []string{"PTR-EXISTS"}, true},
		"nor the other way":     {ActHold, ActSmartHost, []string{"SENDER-RESOLVES"}, true},
		"one of several":        {ActHold, ActSmartHost, []string{"SPF-SENDER-PASS", "PTR-EXISTS"}, false},
		"not built, unheard of": {"", "", []string{"X-UNKNOWN"}, true},
	} {
		w := newGateWorld(t)
		w.plan.Policy.OnFail, w.plan.Policy.OnSenderFail = c.onFail, c.onSender
		r := NewGate(w.plan, w.out, nil, nil).Instead(c.named)
		if r.SmartHost != c.smart || !c.smart && r.Wait <= 0 || r.Why == "" {
			t.Errorf("%s: %+v", name, r)
		}
		w.plan.SmartHosts = nil
		if r := NewGate(w.plan, w.out, nil, nil).Instead(c.named); r.SmartHost || r.Wait <= 0 {
			t.Errorf("%s, without a smart host: %+v", name, r)
		}
	}
}

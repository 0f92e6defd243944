package preflight_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns/dnstest"
)

// outcome is what came of a case, and all that its expectations can be about.
type outcome struct {
	t        testing.TB
	world    *world
	server   *dnstest.Server
	out      preflight.Outside
	findings []preflight.Finding
	report   *preflight.Report
	asked    []string
	took     time.Duration
	foreign  bool     // the case is not one of ours
	clock    *clocked // of a case with a history or looks
	serving  *preflight.Gate
}

// check holds an outcome against a case, which starts from others.
func (c *testCase) check(bases []*testCase, o *outcome) {
	for _, holds := range c.expect.claims {
		if err := holds(o); err != nil {
			o.t.Error(err)
		}
	}
	named := slices.Clone(c.expect.named)
	for _, b := range bases {
		named = append(named, b.expect.named...)
	}
	if o.clock != nil && len(o.clock.seen) > 0 { // by its verdicts
		for _, err := range o.clock.late {
			o.t.Error(err)
		}
		ptr := wanted{id: "PTR-EXISTS", source: o.clock.source().Name}
		for _, ptr.status = range []preflight.Status{preflight.Fail, preflight.Unknown} {
			named = append(named, ptr)
		}
	}
	for _, f := range o.findings {
		bad := f.Status == preflight.Fail || f.Status == preflight.Unknown
		if bad && !slices.ContainsFunc(named, func(w wanted) bool { return w.status == f.Status && w.about(o, f) }) && !o.implied(named, f) {
			o.t.Errorf("unexpected: %s", show(f))
		}
	}
	if o.t.Failed() {
		for _, f := range o.findings {
			if f.Status != preflight.Pass {
				o.t.Log(show(f))
			}
		}
	}
}

// implied unknowns need no name in a file of others: those that never count, and those
// behind a verdict of unknown of which none is named. Our own cases name them all.
func (o *outcome) implied(named []wanted, f preflight.Finding) bool {
	if !o.foreign || f.Status != preflight.Unknown {
		return false
	}
	v, err := o.verdict(f.Source, f.Sender)
	return f.Severity == preflight.Informational || err == nil && v.Status == preflight.Unknown &&
		!slices.ContainsFunc(named, func(w wanted) bool { return w.status == preflight.Unknown })
}

// verdict of a source or, where that is "", of a sender domain.
func (o *outcome) verdict(source, sender string) (preflight.Verdict, error) {
	all, name := o.report.Sources, source
	if source == "" {
		all, name = o.report.Senders, sender
		if sender == anySender && len(all) == 1 {
			return all[0], nil
		}
	}
	if i := slices.IndexFunc(all, func(v preflight.Verdict) bool { return v.Name == name }); i >= 0 {
		return all[i], nil
	}
	return preflight.Verdict{}, fmt.Errorf("%q is not one of those judged", or(source, sender))
}

// about tells whether a finding is one of those wanted.
func (w wanted) about(o *outcome, f preflight.Finding) bool {
	sender := w.sender
	if sender == anySender && len(o.report.Senders) == 1 {
		sender = o.report.Senders[0].Name
	}
	return f.Check.ID == w.id && (w.source == "" || f.Source == w.source) && (sender == "" || f.Sender == sender)
}

// check wants that there is such a finding, and that all of them are so.
func (w wanted) check(o *outcome) error {
	subjects := map[[3]string]bool{}
	for _, f := range o.findings {
		if !w.about(o, f) {
			continue
		}
		subjects[[3]string{f.Source, f.Sender, f.SmartHost}] = true
		if f.Status != w.status {
			return fmt.Errorf("want %s:%s, got %s", w.id, w.status, show(f))
		}
	}
	switch {
	case len(subjects) == 0:
		return fmt.Errorf("want %s:%s of %s, which is not made", w.id, w.status, or(w.source, or(w.sender, "anybody")))
	case len(subjects) > 1 && w.source == "" && w.sender == "":
		return fmt.Errorf("%s:%s: of whom? There are %d", w.id, w.status, len(subjects))
	}
	return nil
}

// oneShot is what relay preflight does.
func oneShot(t testing.TB, w *world) *outcome {
	t.Helper()
	o := &outcome{t: t, world: w}
	o.server, o.out = w.start(t)
	began := time.Now()
	o.findings, _ = preflight.Run(context.Background(), &w.plan, o.out)
	if o.took = time.Since(began); o.took > 30*time.Second {
		t.Errorf("the run took %v", o.took)
	}
	o.asked = o.server.Questions()
	o.report = preflight.Judge(w.plan.Learn(o.out.Observed, time.Now()), o.findings, time.Now())
	return o
}

func show(f preflight.Finding) string {
	s := f.Check.ID + ":" + string(f.Status)
	for _, subject := range []string{f.SmartHost, f.Sender, f.Source} {
		if subject != "" {
			s = subject + "/" + s
		}
	}
	if f.Status == preflight.Skip {
		return s + " (" + f.WaitsFor + f.Because + ")"
	}
	return fmt.Sprintf("%s [%s] %s; want %s", s, f.Severity, f.Found, f.Expected)
}

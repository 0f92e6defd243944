package preflight_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
)

// What the phrases of expect_test.go mean.

func never(id string) claim {
	return func(o *outcome) error {
		for _, f := range o.findings {
			if f.Check.ID == id && f.Status == preflight.Fail {
				return fmt.Errorf("want no failure of %s, got %s", id, show(f))
			}
		}
		return nil
	}
}

func told(text string) claim {
	return func(o *outcome) error {
		if !slices.ContainsFunc(o.findings, func(f preflight.Finding) bool { return strings.Contains(wording(f), text) }) {
			return fmt.Errorf("%q is in no finding", text)
		}
		return nil
	}
}

// wording is all that a finding says.
func wording(f preflight.Finding) string {
	r := f.Remedy
	all := []string{f.Found, f.Because, r.Title, r.Who, r.Message, r.Setting, r.Under, r.Instead}
	for _, rec := range r.Records {
		all = append(all, rec.String())
	}
	return strings.Join(append(all, r.Steps...), "\n")
}

func (o *outcome) printed() string {
	var b bytes.Buffer
	if err := preflight.WriteText(&b, o.report, preflight.TextOptions{}); err != nil {
		o.t.Fatal(err)
	}
	return b.String()
}

func printedOnce(text string) claim {
	return func(o *outcome) error {
		return want(fmt.Sprintf("%q is printed so often", text), "1", fmt.Sprint(strings.Count(o.printed(), text)))
	}
}

func latent(w wanted) claim {
	return func(o *outcome) error {
		for _, f := range o.findings {
			if w.about(o, f) && (f.Check.Severity != preflight.Mandatory || f.Severity == preflight.Mandatory) {
				return fmt.Errorf("%s is %s, and so is the check", show(f), f.Check.Severity)
			}
		}
		return nil
	}
}

// suggested has the remedy name the host that the address has.
func suggested(w wanted) claim {
	return func(o *outcome) error {
		s := o.world.plan.Sources[0]
		i := slices.IndexFunc(o.findings, func(f preflight.Finding) bool { return w.about(o, f) })
		j := slices.IndexFunc(o.world.records, func(r zoneRecord) bool { return r.owner == reverse(s) && r.kind == "PTR" })
		if i < 0 || j < 0 {
			return errors.New("there is no finding, or no name of the address")
		}
		r := o.findings[i].Remedy
		name := strings.TrimSuffix(o.world.records[j].data, ".")
		if r.Setting != fmt.Sprintf("ehlo = %q", name) || !strings.Contains(strings.Join(r.Steps, "\n"), or(s.Public, s.Bind)) {
			return fmt.Errorf("suggested is %s by %q, want %s because the address has that name", r.Setting, r.Steps, name)
		}
		return nil
	}
}

func skipped(starts []string, why string) claim {
	return func(o *outcome) error {
		for _, start := range starts {
			n := 0
			for _, f := range o.findings {
				switch {
				case f.Check.ID != start && (check(start) != nil || !strings.HasPrefix(f.Check.ID, start+"-")):
				case f.Status != preflight.Skip || why != "" && f.Because != why:
					return fmt.Errorf("want a skip %q, got %s", why, show(f))
				default:
					n++
				}
			}
			if n == 0 {
				return fmt.Errorf("no id begins with %s", start)
			}
		}
		return nil
	}
}

func unasked(name string) claim {
	return func(o *outcome) error {
		name := strings.ToLower(or(name, o.world.plan.Sources[0].EHLO+"."))
		for _, q := range o.asked {
			if strings.HasPrefix(q, name+" ") {
				return fmt.Errorf("asked for %s", q)
			}
		}
		return nil
	}
}

// silent: without a resolver there is one thing to say.
func silent(o *outcome) error {
	text := o.printed()
	for _, f := range o.findings {
		if id := f.Check.ID; id != "DNS-REACHABLE" && (f.Status != preflight.Skip || strings.Contains(text, id)) {
			return fmt.Errorf("printed is also %s\n%s", show(f), text)
		}
	}
	if !strings.Contains(text, "DNS-REACHABLE") {
		return fmt.Errorf("DNS-REACHABLE is not printed\n%s", text)
	}
	return nil
}

func within(limit string) claim {
	return func(o *outcome) error {
		d, err := time.ParseDuration(limit)
		if err == nil && o.took > d {
			err = fmt.Errorf("the run took %v", o.took)
		}
		return err
	}
}

// gate is that of relay serve, started.
func (o *outcome) gate() *preflight.Gate {
	if o.clock != nil {
		return o.clock.gate
	}
	if o.serving == nil {
		o.serving = preflight.NewGate(o.world.plan, o.out, nil, nil)
		o.serving.Start(o.t.Context())
	}
	return o.serving
}

// serves: relay serve starts or not as the first report says.
func serves(refuses bool) claim {
	return func(o *outcome) error {
		r := o.gate().Report()
		if (r.Action == string(preflight.ActRefuse)) != refuses || refuses && r.Overall != preflight.Fail {
			return fmt.Errorf("relay serve, %s, does with a start: %s", r.Overall, r.Action)
		}
		return nil
	}
}

// routes are the sources by which mail of a domain goes, one after the other.
func (o *outcome) routes(domain string) (names []string) {
	for {
		r := o.gate().Route(o.t.Context(), preflight.Mail{Envelope: domain, Author: domain}, "example.com", names)
		if r.Source == nil || len(names) > len(o.world.plan.Sources) {
			return names
		}
		names = append(names, r.Source.Name)
	}
}

// leaves by one source only, or at once.
func leaves(domain, only string) claim {
	return func(o *outcome) error {
		if by := o.routes(domain); len(by) == 0 || only != "" && !slices.Equal(by, []string{only}) {
			return fmt.Errorf("mail of %s leaves by %q, want %s", domain, by, or(only, "one at least"))
		}
		return nil
	}
}

func unused(addr string) claim {
	return func(o *outcome) error {
		for _, s := range o.world.plan.Senders {
			for _, name := range o.routes(s.Domain) {
				i := slices.IndexFunc(o.world.plan.Sources, func(s preflight.Source) bool { return s.Name == name })
				if o.world.plan.Sources[i].Bind == addr {
					return fmt.Errorf("mail of %s leaves from %s", s.Domain, addr)
				}
			}
		}
		return nil
	}
}

var errNoClock = errors.New("only a case with a history or looks can say so")

// until: the action changes so long after the last look, and mail goes as it says.
func until(before, after, then string) claim {
	return func(o *outcome) error {
		d, err := time.ParseDuration(after)
		if o.clock == nil || err != nil {
			return first(err, errNoClock)
		}
		now := func() error {
			synctest.Wait()
			o.report = o.clock.gate.Report()
			if goes := len(o.routes(o.world.plan.Senders[0].Domain)) > 0; goes != (o.report.Action == "direct") {
				return fmt.Errorf("the action is %s, mail leaves: %t", o.report.Action, goes)
			}
			return nil
		}
		at := time.Now()
		err = first(now(), want("action", before, o.report.Action))
		time.Sleep(time.Until(at.Add(d - time.Second)))
		err = first(err, now(), want("action a second before +"+after, before, o.report.Action))
		time.Sleep(2 * time.Second)
		return first(err, now(), want("action a second after +"+after, then, o.report.Action))
	}
}

func looked(verdicts []string) claim {
	return func(o *outcome) error {
		if o.clock == nil || len(o.clock.seen) == 0 {
			return errNoClock
		}
		seen := o.clock.seen
		if n := len(verdicts); n == len(seen)-o.clock.before {
			seen = seen[o.clock.before:]
		}
		return want("verdicts", fmt.Sprint(verdicts), fmt.Sprint(seen))
	}
}

func quiet(o *outcome) error {
	switch {
	case o.clock == nil:
		return errNoClock
	case strings.Contains(o.clock.log.String(), `"preflight verdict"`):
		return fmt.Errorf("the log tells of a verdict that changed:\n%s", &o.clock.log)
	}
	return nil
}

// reverse is the name that the PTR of a source stands at.
func reverse(s preflight.Source) string {
	addr, err := netip.ParseAddr(or(s.Public, s.Bind))
	if err != nil {
		return ""
	}
	return dns.Reverse(addr)
}

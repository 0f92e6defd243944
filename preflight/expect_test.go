package preflight_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"smtprelay/preflight"
)

// What a case expects is a row of phrases, with commas, semicolons and parentheses
// between them as they please. Each phrase is a claim about what came of the case;
// words that are none are an error, so that nothing is written down that nobody checks.
//
//	wan4:fail dom:pass dom(example.net):pass  the verdict of a source or sender domain; dom alone: of the only one
//	ID:fail wan6/ID:skip dom(example.org)/ID:fail  every finding of the check about that subject is so; without a
//	                              subject it is about the verdicts named before it
//	!ID                           no such finding fails
//	"text"                        stands in a finding or its remedy
//	"text" (printed once)         and once in the printed report
//	ID:fail (latent)              with less than the check's own severity
//	ID:fail (suggested from the PTR)  with the name of the address for a remedy
//	every PTR/SPF id skip         findings whose ids begin so; "all PTR/SPF checks skip" is the same
//	every PTR/SPF id skip "why"   for that reason
//	no question sent              for the EHLO name of the first source
//	no question for "name." sent
//	nothing else printed          than DNS-REACHABLE
//	run ends within 30 s
//	overall degraded, action=smarthost, stale=true
//	action=settling until +900s, then direct
//	relay preflight exits 2
//	relay serve starts, relay serve exits 78, no listener was opened
//	mail of DOMAIN goes direct, mail of DOMAIN leaves by wan4 only, no connection from ADDR
//	pass, pass, fail              the first source's verdicts after the looks of @ runtime: all, or those after "then"
//	no verdict change logged      by a start with a history, or after the first look
//
// Whatever fails or is unknown has to be named, by the case or by one that it starts from.
type expectation struct {
	named  []wanted
	claims []claim
}

// claim is one thing to be true of an outcome; the error says why it is not.
type claim func(o *outcome) error

// wanted are the findings of a check about a subject.
type wanted struct {
	id     string
	status preflight.Status
	source string // "": any
	sender string // likewise; anySender: of one
}

// reading is an expectation as far as it is read.
type reading struct {
	expectation
	source, sender string // of the verdicts before
	text           string // the last one in quotes
}

const (
	statuses = `(pass|degraded|unknown|fail|skip)`
	domain   = `([A-Za-z0-9.-]+[A-Za-z0-9])`
)

type phrase struct {
	form *regexp.Regexp
	says func(r *reading, m []string) error
}

func says(form string, does func(r *reading, m []string) error) phrase {
	return phrase{regexp.MustCompile(`^(?:` + form + `)`), does}
}

// claims is a phrase that is a claim and nothing else.
func claims(form string, of func(m []string) claim) phrase {
	return says(form, func(r *reading, m []string) error {
		r.claims = append(r.claims, of(m))
		return nil
	})
}

var phrases = []phrase{
	says(`([a-z]\w*(?:\([^)]*\))?):`+statuses+`\b`, (*reading).verdict),
	says(`(?:([a-z]\w*(?:\([^)]*\))?)/)?([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+):`+statuses+`\b`, (*reading).finding),
	says(`!([A-Z][A-Z0-9-]+)`, func(r *reading, m []string) error {
		if check(m[1]) == nil {
			return fmt.Errorf("there is no check %s", m[1])
		}
		r.claims = append(r.claims, never(m[1]))
		return nil
	}),
	claims(`(?:every|all) ([A-Z0-9/-]+) (?:ids?|checks?) skip(?: ("[^"]*"))?`, func(m []string) claim { return skipped(strings.Split(m[1], "/"), unquote(m[2])) }),
	claims(`no question (?:for ("[^"]*") )?sent`, func(m []string) claim { return unasked(unquote(m[1])) }),
	says(`"(?:[^"\\]|\\.)*"`, func(r *reading, m []string) error {
		r.text = unquote(m[0])
		r.claims = append(r.claims, told(r.text))
		return nil
	}),
	says(`printed once`, func(r *reading, _ []string) error {
		r.claims = append(r.claims, printedOnce(r.text))
		return nil
	}),
	says(`latent`, func(r *reading, _ []string) error { return r.last(latent) }),
	says(`suggested from the PTR`, func(r *reading, _ []string) error { return r.last(suggested) }),
	claims(`nothing else printed`, func([]string) claim { return silent }),
	claims(`run ends within (\d+ s)`, func(m []string) claim { return within(strings.ReplaceAll(m[1], " ", "")) }),
	claims(`overall `+statuses, func(m []string) claim {
		return func(o *outcome) error { return want("overall", m[1], string(o.report.Overall)) }
	}),
	claims(`action=([a-z]+) until \+(\w+), then ([a-z]+)`, func(m []string) claim { return until(m[1], m[2], m[3]) }),
	claims(`action=([a-z]+)`, func(m []string) claim {
		return func(o *outcome) error { return want("action", m[1], o.report.Action) }
	}),
	says(`stale=(true|false)`, func(r *reading, m []string) error {
		source := r.source
		r.claims = append(r.claims, func(o *outcome) error {
			v, err := o.verdict(source, "")
			return first(err, want("stale", m[1], fmt.Sprint(v.Stale)))
		})
		return nil
	}),
	claims(`relay preflight exits (\d+)`, func(m []string) claim {
		return func(o *outcome) error { return want("exit", m[1], fmt.Sprint(o.report.Exit())) }
	}),
	claims(`relay serve starts`, func([]string) claim { return serves(false) }),
	claims(`relay serve exits 78`, func([]string) claim { return serves(true) }),
	// A start that is refused is refused before: script refuse.txtar of cmd/relay tries the port.
	claims(`no listener was opened`, func([]string) claim { return serves(true) }),
	claims(`mail of `+domain+` goes direct`, func(m []string) claim { return leaves(m[1], "") }),
	claims(`mail of `+domain+` leaves by (\w+) only`, func(m []string) claim { return leaves(m[1], m[2]) }),
	claims(`no connection from ([0-9a-fA-F.:]+)`, func(m []string) claim { return unused(m[1]) }),
	claims(`no verdict (?:log line|change logged)`, func([]string) claim { return quiet }),
	claims(`(?:after each look: *)?(`+statuses+`(?:[ ,]+`+statuses+`)*)`, func(m []string) claim { return looked(words(m[1])) }),
}

// isExpectation tells whether a text begins with a phrase.
func isExpectation(text string) bool {
	return slices.ContainsFunc(phrases, func(p phrase) bool { return p.form.MatchString(text) })
}

func words(s string) []string { return strings.Fields(strings.ReplaceAll(s, ",", " ")) }

// read takes a line of expectations in.
func (r *reading) read(text string) error {
	for {
		text = strings.TrimLeft(text, " \t,;().")
		if text == "" {
			return nil
		}
		i := slices.IndexFunc(phrases, func(p phrase) bool { return p.form.MatchString(text) })
		if i < 0 {
			return fmt.Errorf("nobody checks %q", text)
		}
		m := phrases[i].form.FindStringSubmatch(text)
		if err := phrases[i].says(r, m); err != nil {
			return err
		}
		text = text[len(m[0]):]
	}
}

func (r *reading) verdict(m []string) error {
	if m[2] == "skip" {
		return fmt.Errorf("%s: no verdict is skip", m[0])
	}
	source, sender := subject(m[1])
	if source != "" {
		r.source = source
	} else {
		r.sender = sender
	}
	r.claims = append(r.claims, func(o *outcome) error {
		v, err := o.verdict(source, sender)
		return first(err, want("verdict of "+m[1], m[2], string(v.Status)))
	})
	return nil
}

// subject is a source or a sender domain, by the word for it.
func subject(word string) (source, sender string) {
	if word == "dom" {
		return "", anySender
	}
	if d, ok := strings.CutPrefix(word, "dom("); ok {
		return "", strings.TrimSuffix(d, ")")
	}
	return word, ""
}

const anySender = "(the only one)"

func (r *reading) finding(m []string) error {
	c := check(m[2])
	if c == nil {
		return fmt.Errorf("there is no check %s", m[2])
	}
	w := wanted{id: m[2], status: preflight.Status(m[3])}
	w.source, w.sender = subject(m[1])
	switch c.Scope {
	case preflight.ScopeSource:
		w.source = or(w.source, r.source)
	case preflight.ScopeSender:
		w.sender = or(w.sender, r.sender)
	case preflight.ScopePair:
		w.source, w.sender = or(w.source, r.onlySource(m[1])), or(w.sender, r.sender)
	case preflight.ScopeZone:
		if m[1] == "" {
			return fmt.Errorf("%s speaks of sources and of sender domains: say of whom", m[0])
		}
	}
	r.named = append(r.named, w)
	r.claims = append(r.claims, w.check)
	return nil
}

// check of an id, nil if there is none.
func check(id string) *preflight.Check {
	i := slices.IndexFunc(preflight.Checks, func(c *preflight.Check) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return preflight.Checks[i]
}

// onlySource: a pair without a subject is one of the sender domain named before it
// and of every source, else of the source named before it.
func (r *reading) onlySource(named string) string {
	if named == "" && r.sender == "" {
		return r.source
	}
	return ""
}

// last makes a claim about the findings named last.
func (r *reading) last(of func(w wanted) claim) error {
	if len(r.named) == 0 {
		return fmt.Errorf("of which finding?")
	}
	r.claims = append(r.claims, of(r.named[len(r.named)-1]))
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func unquote(q string) string {
	if len(q) < 2 {
		return ""
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(q[1 : len(q)-1])
}

func want(what, want, got string) error {
	if want != got {
		return fmt.Errorf("%s: %q, want %s", what, got, want)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

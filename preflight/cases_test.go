package preflight_test

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
)

var casesFlag = flag.String("cases", "", "a file of cases to run instead of those in testdata")

func TestCases(t *testing.T) {
	for _, f := range caseFiles(t) {
		for _, c := range f.cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				f.run(t, c, func(bases []*testCase, o *outcome) {
					o.foreign = *casesFlag != ""
					c.check(bases, o)
					readable(o.t, o.report)
				})
			})
		}
	}
}

// run a case and hand its outcome over, with the cases that it starts from.
func (f *caseFile) run(t *testing.T, c *testCase, judge func(bases []*testCase, o *outcome)) {
	t.Helper()
	steps, bases, err := f.all(c)
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, f.base, steps)
	if w.script.past == 0 && len(w.script.looks) == 0 {
		judge(bases, oneShot(t, w))
		return
	}
	clockedCase(t, w, build(t, f.base, configuration(steps)), func(o *outcome) { judge(bases, o) })
}

// caseFiles are the file of the flag, or those of testdata. A file without a
// baseline of its own has that of cases.txt.
func caseFiles(t testing.TB) (fs []*caseFile) {
	t.Helper()
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *casesFlag != "" {
		names = []string{fromCaller(*casesFlag)}
	}
	for _, name := range names {
		f, err := readCases(name)
		if err != nil {
			t.Fatal(err)
		}
		fs = append(fs, f)
	}
	for _, f := range fs {
		f.base.complete(own.base)
		for _, c := range own.cases { // to start from
			if !slices.ContainsFunc(f.cases, func(o *testCase) bool { return o.name == c.name }) {
				f.bases = append(f.bases, c)
			}
		}
	}
	return fs
}

// configuration are the steps that say nothing of DNS.
func configuration(steps []step) []step {
	return slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.kind != '@' })
}

// witness takes down what a test complains of.
type witness struct {
	testing.TB
	complaints []string
}

func (w *witness) Helper()           {}
func (w *witness) Failed() bool      { return false }
func (w *witness) Error(args ...any) { w.complaints = append(w.complaints, fmt.Sprint(args...)) }
func (w *witness) Errorf(format string, args ...any) {
	w.complaints = append(w.complaints, fmt.Sprintf(format, args...))
}

// A case that expects what is not so fails, each for the reason given.
func TestCasesCanFail(t *testing.T) {
	if *casesFlag != "" {
		return // these are ours, which name every unknown
	}
	const wan6, ptr6 = "@ + source wan6 2001:db8::25", "@ + source wan6 2001:db8::25 with its PTR"
	for text, complaint := range map[string]string{
		"- 25.2.0.192.in-addr.arpa PTR = wan4:fail":                                                            "unexpected: wan4/PTR-EXISTS:fail",
		"- 25.2.0.192.in-addr.arpa PTR = wan4:pass PTR-EXISTS:fail":                                            `verdict of wan4: "fail", want pass`,
		"@ spf=require = dom:degraded":                                                                         `verdict of dom: "pass", want degraded`,
		"@ spf=require = wan5:pass":                                                                            `"wan5" is not one of those judged`,
		"@ spf=require = wan4:pass PTR-EXISTS:fail":                                                            "want PTR-EXISTS:fail, got wan4/PTR-EXISTS:pass",
		"@ spf=require = wan4:pass SMARTHOST-TLS:pass":                                                         "which is not made",
		"- 25.2.0.192.in-addr.arpa PTR = wan4:fail PTR-EXISTS:fail !PTR-EXISTS":                                "want no failure of PTR-EXISTS",
		"- 25.2.0.192.in-addr.arpa PTR = wan4:fail PTR-EXISTS:fail \"NODATA\"":                                 `"NODATA" is in no finding`,
		wan6 + " = wan4:pass wan6:fail wan6/IPV6-SOURCE:fail wan4/PTR-EXISTS:pass":                             "unexpected: wan6/PTR-EXISTS:fail",
		wan6 + " = PTR-EXISTS:fail":                                                                            "wan4/PTR-EXISTS:pass",
		wan6 + " = PTR-SINGLE:skip EHLO-SET:pass":                                                              "of whom? There are 2",
		wan6 + " = wan6:fail IPV6-SOURCE:fail PTR-EXISTS:fail no connection from 192.0.2.25":                   "leaves from 192.0.2.25",
		ptr6 + " = wan4:pass mail of example.net leaves by wan4 only":                                          `leaves by ["wan4" "wan6"], want wan4`,
		"@ senders=example.net,example.org = dom(example.net):pass dom(example.org):fail SENDER-RESOLVES:fail": "unexpected: example.org/DMARC-PRESENT:fail",
		"@ senders=example.net,example.org = dom(example.net)/SENDER-RESOLVES:fail":                            "example.net/SENDER-RESOLVES:pass",
		"@ senders=example.net,example.org = dom:fail":                                                         "is not one of those judged",
		"- example.net TXT = dom:fail SPF-SENDER-PRESENT:fail mail of example.net goes direct":                 `leaves by [], want one at least`,
		"~ 2.0.192.in-addr.arpa SERVFAIL = wan4:unknown PTR-EXISTS:unknown":                                    "unexpected: wan4/PTR-DELEGATION:unknown",
		"@ spf=require = wan4:pass no question sent":                                                           "asked for mail.example.net. ",
		"@ spf=require = wan4:pass no question for \"example.net.\" sent":                                      "asked for example.net. ",
		"@ spf=require = wan4:pass nothing else printed":                                                       "printed is also",
		"@ spf=require = wan4:pass relay preflight exits 2":                                                    `exit: "0", want 2`,
		"@ spf=require = overall degraded":                                                                     `overall: "pass", want degraded`,
		"@ spf=require = action=hold":                                                                          `action: "direct", want hold`,
		"@ spf=require = relay serve exits 78":                                                                 "does with a start: direct",
		"- 25.2.0.192.in-addr.arpa PTR = PTR-EXISTS:fail relay serve starts":                                   "does with a start: refuse",
		"@ spf=require = all PTR checks skip":                                                                  `want a skip "", got wan4/PTR-`,
		"@ route=smarthost = every PTR id skip \"weather\"":                                                    `want a skip "weather"`,
		"@ spf=require = every BIMI id skip":                                                                   "no id begins with BIMI",
		"- 25.2.0.192.in-addr.arpa PTR = wan4:fail PTR-EXISTS:fail (latent)":                                   "and so is the check",
		"@ ehlo= ; - 25.2.0.192.in-addr.arpa PTR = EHLO-SET:fail PTR-EXISTS:fail (suggested from the PTR)":     "no name of the address",
		"- 25.2.0.192.in-addr.arpa PTR = PTR-EXISTS:fail \"25.2.0.192.in-addr.arpa\" (printed once)":           "is printed so often",
		"@ spf=require = wan4:pass stale=true":                                                                 `stale: "false", want true`,
		"@ spf=require = wan4:pass, no verdict log line":                                                       "only a case with a history or looks",
		"@ spf=require = pass, pass":                                                                           "only a case with a history or looks",
		"@ spf=require = action=direct until +900s, then hold":                                                 "only a case with a history or looks",

		"@ history pass -7h ; ~ 2.0.192.in-addr.arpa SERVFAIL = wan4:pass stale=true PTR-EXISTS:unknown PTR-DELEGATION:unknown": `verdict of wan4: "unknown", want pass`,
		"@ runtime: pass, NXDOMAIN = pass, fail":                                           `want [pass fail]`,
		"@ runtime: pass, then NXDOMAIN = pass":                                            "",
		"@ runtime: pass, then NXDOMAIN at +0 +50s = pass, pass":                           "look 3 was at +1m0s, want +50s",
		"@ runtime: fail, SERVFAIL, pass = fail, fail, pass; no verdict change logged":     "the log tells of a verdict that changed",
		"@ runtime: fail, then pass = wan4:pass action=settling until +600s, then direct":  `a second after +600s: "settling", want direct`,
		"@ runtime: fail, then pass = wan4:pass action=settling until +1200s, then direct": `a second before +1200s: "direct", want settling`,
	} {
		t.Run("", func(t *testing.T) {
			f := parsed(t, "T1 "+text)
			w := &witness{}
			f.run(t, f.cases[0], func(bases []*testCase, o *outcome) {
				w.TB, o.t = o.t, w
				f.cases[0].check(bases, o)
			})
			if all := strings.Join(w.complaints, "\n"); (all == "") != (complaint == "") || !strings.Contains(all, complaint) {
				t.Errorf("%s\ngives %q, want %q", text, all, complaint)
			}
		})
	}
}

// What nobody would check is no expectation.
func TestCasesThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"= wan4:pass and the moon is full":              `nobody checks "and the moon is full"`,
		"= wan4:pass (whatever the moon does)":          `nobody checks "whatever the moon does)"`,
		"= wan4:skip":                                   "no verdict is skip",
		"= wan4:pass PTR-EXIST:pass":                    "there is no check PTR-EXIST",
		"= wan4:pass !PTR-EXIST":                        "there is no check PTR-EXIST",
		"= wan4:pass dom:pass DNS-AUTH-CONSISTENT:fail": "say of whom",
		"= (latent)":                                    "of which finding?",
	} {
		if err := parseCases("T1 title\n" + text).faults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// parsed is a file of cases over the usual baseline.
func parsed(t *testing.T, text string) *caseFile {
	t.Helper()
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	f := parseCases(text)
	if err := f.faults(); err != nil {
		t.Fatal(err)
	}
	f.base.complete(own.base)
	return f
}

func build(t testing.TB, b baseline, steps []step) *world {
	t.Helper()
	w, err := newWorld(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := w.step(s); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func judged(t testing.TB, w *world) ([]preflight.Finding, *preflight.Report) {
	t.Helper()
	o := oneShot(t, w)
	return o.findings, o.report
}

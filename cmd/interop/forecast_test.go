//go:build interop

package interop

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// forecast is what the preflight said of a set-up, beside what receivers did.
type forecast struct {
	setup    string
	said     string            // the verdict, and the checks that fail
	verdicts map[string]string // by address of a source: the worst of it, the domain, and both together
	hands    map[hand]string   // what receivers did
}

type hand struct{ from, receiver string }

type forecasts struct {
	mu  sync.Mutex
	all map[string]*forecast
}

func (fs *forecasts) of(setup string) *forecast {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = map[string]*forecast{}
	}
	f := &forecast{setup: setup, verdicts: map[string]string{}, hands: map[hand]string{}}
	fs.all[setup] = f
	return f
}

func (f *forecast) hand(from, receiver, seen string) {
	word, _, _ := strings.Cut(seen, ": ")
	f.hands[hand{from, receiver}] = word
}

// foretell keeps what a report says of each source: whether mail of the domain
// may leave from it.
func (f *forecast) foretell(r report, said string) {
	f.said = said
	domain := "pass"
	for _, d := range r.Senders {
		domain = worse(domain, d.Verdict)
	}
	for _, s := range r.Sources {
		v := worse(s.Verdict, domain)
		for _, d := range r.Senders {
			for _, x := range d.Findings { // of the pair
				if x.Addr == s.Addr && x.Status == "fail" && x.Severity == "mandatory" {
					v = "fail"
				}
			}
		}
		f.verdicts[s.Addr] = v
	}
}

var order = []string{"pass", "degraded", "unknown", "fail"}

func worse(a, b string) string {
	return slices.MaxFunc([]string{a, b}, func(a, b string) int {
		return cmp.Compare(slices.Index(order, a), slices.Index(order, b))
	})
}

// refused tells whether any receiver does not take mail from the address, "" any.
func (f *forecast) refused(from string) bool {
	for h, word := range f.hands {
		if (from == "" || h.from == from) && word != "taken" {
			return true
		}
	}
	return false
}

var update = flag.Bool("update", false, "write docs/forecasts.md anew")

// hold is an error where mail that a receiver refuses was foretold to pass, where
// a failure is foretold that no receiver shares and testdata/unshared.txt has no
// reason for, and where the page in docs tells otherwise than what was seen.
func (fs *forecasts) hold() error {
	reasons, err := unshared()
	if err != nil {
		return err
	}
	var errs []error
	whole := true
	for _, name := range slices.Sorted(maps.Keys(fs.all)) {
		f := fs.all[name]
		if f.said == "" || len(f.hands) == 0 {
			continue
		}
		for h, word := range f.hands {
			if v := f.verdicts[h.from]; word != "taken" && (v == "pass" || v == "degraded") {
				errs = append(errs, fmt.Errorf("%s: %s %s mail from %s, and the preflight says %s", name, h.receiver, word, h.from, v))
			}
		}
		reason, listed := reasons[name]
		switch alone := strings.HasPrefix(f.said, "fail") && !f.refused(""); {
		case alone && !listed:
			errs = append(errs, fmt.Errorf("%s: %s, and no receiver refuses the mail; testdata/unshared.txt has no reason", name, f.said))
		case !alone && listed:
			errs = append(errs, fmt.Errorf("%s: testdata/unshared.txt has a reason (%s), and there is nothing to give one for", name, reason))
		}
	}
	setups, err := filepath.Glob("testdata/setup/*.txtar")
	if err != nil {
		return err
	}
	whole = len(fs.all) == len(setups) // not with -test.run
	if whole && errs == nil {
		errs = append(errs, fs.page(reasons))
	}
	return errors.Join(errs...)
}

// unshared are the set-ups whose failure no receiver here shares, and why it is
// one all the same.
func unshared() (map[string]string, error) {
	text, err := os.ReadFile("testdata/unshared.txt")
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, reason, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && name[0] != '#' {
			reasons[name] = reason
		}
	}
	return reasons, nil
}

// page is docs/forecasts.md.
func (fs *forecasts) page(reasons map[string]string) error {
	const path = "../../docs/forecasts.md"
	var b bytes.Buffer
	b.WriteString(`# What the preflight foretells, and what receivers do

Printed by ` + "`make interop`" + `, which asks real servers: each set-up is a server and a domain in DNS (BIND, unbound), in order but for
what its name says. Somebody sends from there by hand, without the relay, to a strict Postfix and a strict Exim; then
` + "`relay preflight`" + ` judges the same server. What it lets pass no receiver refuses. The files are in ` + "`cmd/interop/testdata/setup`" + `.

| set-up | receivers | preflight |
|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(fs.all)) {
		f := fs.all[name]
		if f.said == "" || len(f.hands) == 0 {
			continue
		}
		said := f.said
		if reason, ok := reasons[name]; ok {
			said += " (1): " + reason
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, f.receivers(), said)
	}
	b.WriteString("\n(1) No receiver here refuses it. It is a failure all the same, for the reason given.\n")
	if *update {
		return os.WriteFile(path, b.Bytes(), 0o644)
	}
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, b.Bytes()) {
		return errors.Join(errors.New("docs/forecasts.md is stale: run bin/interop.test -update"), err)
	}
	return nil
}

// receivers in a few words: what all do, or each.
func (f *forecast) receivers() string {
	byWord := map[string][]string{}
	families := map[bool]bool{}
	for h := range f.hands {
		families[strings.Contains(h.from, ":")] = true
	}
	for h, word := range f.hands {
		who := h.receiver
		if len(families) > 1 {
			who += map[bool]string{false: " over IPv4", true: " over IPv6"}[strings.Contains(h.from, ":")]
		}
		byWord[word] = append(byWord[word], who)
	}
	var out []string
	for _, word := range slices.Sorted(maps.Keys(byWord)) {
		slices.Sort(byWord[word])
		if len(byWord) == 1 && len(byWord[word]) > 1 {
			return word
		}
		out = append(out, word+" by "+strings.Join(byWord[word], ", "))
	}
	return strings.Join(out, "; ")
}

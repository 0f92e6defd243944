package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	here  = netip.MustParseAddr("192.0.2.25")
	there = netip.MustParseAddr("198.51.100.7")
)

// said takes lines "OPERATOR METHOD ADDR AGE" in.
func toldBy(o *Observations, now time.Time, lines ...string) {
	for _, l := range lines {
		f := strings.Fields(l)
		age, err := time.ParseDuration(f[3])
		if err != nil {
			panic(err)
		}
		o.add(Observation{Source: "wan4 ", Operator: f[0], Method: f[1], Addr: netip.MustParseAddr(f[2]), At: now.Add(-age)})
	}
}

// seenBy writes views as "ADDR=OPERATORS", those believed with an exclamation mark.
func seenBy(vs []view) string {
	var all []string
	for _, v := range vs {
		s := v.addr.String() + "=" + strings.Join(v.operators, ",")
		if v.believed() {
			s += "!"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestViews(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ name, said, want string }{
		{"nothing", "", ""},
		{"two agree", "g probe 192.0.2.25 1h; o probe 192.0.2.25 1h", "192.0.2.25=g,o!"},
		{"one operator twice is one", "g probe 192.0.2.25 1h; g ehlo 192.0.2.25 0s", "192.0.2.25=g"},
		{"strangers are not believed, however many", "a ehlo 198.51.100.7 1h; b ehlo 198.51.100.7 1h; c rejection 198.51.100.7 1h", "198.51.100.7=a,b,c"},
		{"one that we chose among them", "a ehlo 198.51.100.7 1h; g probe 198.51.100.7 1h", "198.51.100.7=a,g!"},
		{"a refusal is no answer to us", "g probe 192.0.2.25 1h; o probe 192.0.2.25 1h; g rejection 198.51.100.7 1m; a ehlo 198.51.100.7 0s", "192.0.2.25=g,o! 198.51.100.7=a,g"},
		{"nor is a greeting", "g probe 192.0.2.25 1h; o probe 192.0.2.25 1h; g ehlo 198.51.100.7 1m; a ehlo 198.51.100.7 0s", "192.0.2.25=g,o! 198.51.100.7=a,g"},
		{"the latest word counts", "g probe 198.51.100.7 2h; g probe 192.0.2.25 1h", "192.0.2.25=g"},
		{"of yesterday", "g probe 192.0.2.25 25h; o probe 192.0.2.25 23h", "192.0.2.25=o"},
		{"UDP counts while nobody else speaks", "g stun 192.0.2.25 1h; c stun 192.0.2.25 1h", "192.0.2.25=c,g!"},
		{"UDP never outranks mail", "g stun 198.51.100.7 1h; c dns 198.51.100.7 1h; o probe 192.0.2.25 1h", "192.0.2.25=o"},
		{"a change that two have seen is one", "g probe 198.51.100.7 0s; o probe 198.51.100.7 1h; y probe 192.0.2.25 3h", "198.51.100.7=g,o!"},
		{"and back again", "a ehlo 198.51.100.7 5h; b probe 198.51.100.7 4h; g probe 192.0.2.25 1h; o probe 192.0.2.25 1h", "192.0.2.25=g,o!"},
		{"a pool", "g probe 198.51.100.7 1h; o probe 198.51.100.7 1h; y probe 192.0.2.25 0s", "198.51.100.7=g,o! 192.0.2.25=y"},
	} {
		o := NewObservations()
		if c.said != "" {
			toldBy(o, now, strings.Split(c.said, ";")...)
		}
		if got := seenBy(o.views("wan4 ", now)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if other := o.views("wan5 ", now); len(other) != 0 {
			t.Errorf("%s: of another source: %v", c.name, other)
		}
	}
}

// A flood of strangers takes the place of no witness of ours, and has an end.
func TestObservationsAreBounded(t *testing.T) {
	now, o := time.Now(), NewObservations()
	toldBy(o, now, "g probe 192.0.2.25 1h", "o probe 192.0.2.25 1h")
	for i := range 3 * maxSeen {
		toldBy(o, now, fmt.Sprintf("x%d ehlo 198.51.100.7 0s", i))
		o.use(Use{Source: "wan4 ", Addr: here, EHLO: fmt.Sprint("m", i), Last: now.Add(time.Duration(i))})
	}
	s := o.state()
	if len(s.Seen) != maxSeen || len(s.Used) != maxUsed {
		t.Errorf("%d and %d are kept", len(s.Seen), len(s.Used))
	}
	if !slices.ContainsFunc(o.views("wan4 ", now), func(v view) bool { return v.addr == here && v.believed() }) {
		t.Error("the witnesses are gone")
	}
}

func TestLearn(t *testing.T) {
	now, o := time.Now(), NewObservations()
	toldBy(o, now, "g probe 198.51.100.7 1h", "o probe 198.51.100.7 1h")
	for _, c := range []struct {
		name, want string
		s          Source
		policy     Policy
	}{
		{"bound nowhere", "198.51.100.7", Source{}, Policy{}},
		{"configured", "192.0.2.25", Source{Public: "192.0.2.25"}, Policy{}},
		{"configured wrong", "mail", Source{Public: "mail"}, Policy{}},
		{"off", "", Source{}, Policy{Discovery: DiscoverOff}},
		{"private", "", Source{}, Policy{Private: true}},
	} {
		c.s.Name = "wan4"
		p := &Plan{Sources: []Source{c.s}, Policy: c.policy}
		n := p.Learn(o, now)
		if n.Sources[0].Public != c.want || p.Sources[0].Public != c.s.Public {
			t.Errorf("%s: %q, want %q", c.name, n.Sources[0].Public, c.want)
		}
		if n.Sources[0].key() != p.Sources[0].key() || n.Sources[0].configured() == "" {
			t.Errorf("%s: it is another source now", c.name)
		}
	}
	p := &Plan{Sources: []Source{{Name: "wan4"}}}
	if n := p.Learn(o, now.Add(25*time.Hour)); n.Sources[0].Public != "" {
		t.Error("learnt from what was seen yesterday")
	}
}

func TestDue(t *testing.T) {
	now := time.Now()
	good := Witness{Spoke: true, Honest: true}
	for _, c := range []struct {
		name    string
		age     time.Duration
		w       Witness
		prepare func(o *Observations)
		due     bool
	}{
		{"fresh", 30 * time.Minute, good, nil, false},
		{"fresh, and bad", 30 * time.Minute, Witness{Err: "timed out"}, nil, false},
		{"fresh, and wanted", 30 * time.Minute, good, func(o *Observations) { o.wanted["a"] = true }, false},
		{"good", 23 * time.Hour, good, nil, false},
		{"good, a day old", 24 * time.Hour, good, nil, true},
		{"bad", time.Hour, Witness{Err: "timed out"}, nil, true},
		{"bad, and a delivery got through since", time.Hour, Witness{Err: "timed out"}, func(o *Observations) { o.reached("a", now) }, false},
		{"redirected", time.Hour, Witness{Spoke: true}, nil, true},
		{"our clock is wrong", time.Hour, Witness{Spoke: true, Honest: true, Dated: true, Ahead: -time.Hour}, nil, true},
		{"wanted", time.Hour, good, func(o *Observations) { o.wanted["a"] = true }, true},
		{"the program has just started", time.Hour, good, func(o *Observations) { delete(o.begun, "a") }, true},
		{"nobody was reached", 2 * time.Minute, Witness{Unsure: true}, nil, true},
		{"nobody was reached just now", 20 * time.Second, Witness{Unsure: true}, nil, false},
		{"the clock was set back", -time.Hour, good, nil, true},
	} {
		o := NewObservations()
		o.put("a", Round{At: now.Add(-c.age), Witnesses: []Witness{c.w}})
		if c.prepare != nil {
			c.prepare(o)
		}
		if _, due := o.due("a", now); due != c.due {
			t.Errorf("%s: due %v", c.name, due)
		}
	}
	if _, due := NewObservations().due("a", now); !due {
		t.Error("never asked, and not due")
	}
}

// tally is a prober that counts.
type tally struct {
	n  chan string
	in Greeting
}

func (c tally) Greet(_ context.Context, s Source, domain string) Greeting {
	c.n <- s.Name + " " + domain
	g := c.in
	g.Host = "mx." + domain
	return g
}

// However many runs there are, a source's way out is tried once an hour, and what
// came of it survives a restart.
func TestProbedOnceAnHour(t *testing.T) {
	c := tally{n: make(chan string, 100), in: Greeting{Code: 220, Addr: there, Hello: "Hello [192.0.2.25]"}}
	p := &Plan{Sources: []Source{{Name: "wan4", Public: "192.0.2.25", EHLO: "mail.example.net"}}, Special: Special{Prefixes: []SpecialPrefix{}, Names: []string{}}}
	o := NewObservations()
	look := func() {
		r := newRun(p, Outside{Probe: c, Observed: o})
		if n := r.inquire(t.Context(), 0); len(n.Witnesses) != 3 {
			t.Errorf("%d answers", len(n.Witnesses))
		}
	}
	for range 5 {
		look()
	}
	file := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	if err := file.Save(t.Context(), History{Observed: o.state()}); err != nil {
		t.Fatal(err)
	}
	h, _ := file.Load(t.Context())
	o = NewObservations()
	o.recall(h.Observed, p, time.Now())
	look()
	if len(c.n) != 3 {
		t.Errorf("%d greetings, want 3", len(c.n))
	}
	if got := seenBy(o.views("wan4 ", time.Now())); got != "192.0.2.25=gmail.com,outlook.com,yahoo.com!" {
		t.Errorf("after the restart: %s", got)
	}
	p.Sources[0].Bind = "192.0.2.26"
	if o.recall(h.Observed, p, time.Now()); len(o.state().Seen) != 3 {
		t.Error("what belongs to another bind address was recalled")
	}
}

// A memory that is torn, foreign or from the future is none.
func TestRecallTakesNothingOnTrust(t *testing.T) {
	now := time.Now()
	p := &Plan{Sources: []Source{{Name: "wan4"}}}
	for _, s := range []Observed{
		{Seen: []Observation{{Source: "wan4 ", Operator: "g", Method: byProbe, Addr: here, At: now.Add(time.Hour)}}},
		{Seen: []Observation{{Source: "wan4 ", Operator: "g", Method: byProbe, At: now}}},
		{Seen: []Observation{{Source: "gone ", Operator: "g", Method: byProbe, Addr: here, At: now}}},
		{Rounds: map[string]Round{"gone ": {At: now}, "wan4 ": {At: now.Add(-25 * time.Hour)}}},
		{Used: []Use{{Addr: here, Last: now.Add(-31 * 24 * time.Hour)}}},
	} {
		o := NewObservations()
		o.recall(s, p, now)
		if k := o.state(); len(k.Seen)+len(k.Used)+len(k.Rounds) > 0 {
			t.Errorf("%+v was recalled", k)
		}
	}
	path := filepath.Join(t.TempDir(), "preflight.json")
	for _, text := range []string{`{"schema":1,"observed":{"seen":[{"addr":"no`, `{"schema":1,"observed":{"seen":[{"addr":"nonsense"}]}}`, `{"schema":1,"observed":7}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := FileMemory(path).Load(t.Context()); err != nil || len(h.Observed.Seen) > 0 {
			t.Errorf("%s: %v %v", text, h, err)
		}
	}
}

func FuzzRecall(f *testing.F) {
	f.Add(`{"seen":[{"source":"wan4 ","method":"probe","operator":"g","addr":"192.0.2.25","at":"2026-11-23T09:14:07Z"}],"rounds":{"wan4 ":{"at":"2026-11-23T09:14:07Z","witnesses":[{"host":"x"}]}}}`)
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		var s Observed
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		p := &Plan{Sources: []Source{{Name: "wan4"}}}
		o := NewObservations()
		o.recall(s, p, now)
		o.due("wan4 ", now)
		p.Learn(o, now)
		if k := o.state(); len(k.Seen) > maxSeen || len(k.Used) > maxUsed || len(k.Rounds) > 1 {
			t.Errorf("too much: %d %d %d", len(k.Seen), len(k.Used), len(k.Rounds))
		}
	})
}

func TestBannerTime(t *testing.T) {
	for banner, want := range map[string]string{
		"mx.example.org ESMTP Exim 4.96 Mon, 23 Nov 2026 09:14:07 +0000":                                                 "2026-11-23T09:14:07Z",
		"X.mail.protection.outlook.com Microsoft ESMTP MAIL Service ready at Mon, 2 Nov 2026 09:14:07 +0000 [08DE:1234]": "2026-11-02T09:14:07Z",
		"mx.google.com ESMTP 5b1f17b1804b1":                                                                              "",
		"Mon, 99 Nov 2026 09:14:07 +0000":                                                                                "",
	} {
		at, ok := dated(banner)
		if got := at.UTC().Format(time.RFC3339); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s %v", banner, got, ok)
		}
	}
}

func FuzzDated(f *testing.F) {
	f.Add("ESMTP Exim 4.96 Mon, 23 Nov 2026 09:14:07 +0000")
	f.Fuzz(func(_ *testing.T, s string) {
		Greeting{Code: 220, Banner: s}.witness("example.org")
	})
}

package preflight

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Long histories, made up at random: whatever is looked at in whatever order and
// however the program is stopped and started in between, silence alone never turns a
// pass into a fail or a fail into a pass, one failure between passes changes nothing,
// and what is believed is what the rules in their plainest form say.

// asks are the questions whose answers come and go: what each makes of the plan of a
// story, and whose verdict it speaks to.
var asks = []struct {
	name   string
	finds  func(s Status, value string) []Finding
	sender bool
}{
	{"PTR", func(s Status, value string) []Finding {
		fs := ptr(s)
		if len(fs) > 0 {
			fs[0].Found = value
		}
		return fs
	}, false},
	{"SPF", func(s Status, value string) []Finding {
		if s == Pass {
			return nil
		}
		f := of("SPF-SENDER-PRESENT", "", "example.net", s)
		f.Found = value
		return []Finding{f, waiting("SPF-SENDER-PASS", "wan4", "example.net", "SPF-SENDER-PRESENT")}
	}, true},
	{"pair", func(s Status, value string) []Finding {
		if s == Pass {
			return nil
		}
		f := of("AUTH-ANY", "wan4", "example.net", s)
		f.Found = value
		return []Finding{f}
	}, true},
}

// rule is what the policy's defaults say of one check, and nothing of how the model does it.
type rule struct {
	is                  Status
	good, first, settle time.Time
	looks               int
	value               string
}

func (r *rule) see(s Status, value string, now time.Time, start bool) {
	switch s {
	case Pass:
		if r.is == Fail {
			r.settle = now.Add(15 * time.Minute) // the negative TTL of the findings
		}
		r.is, r.good, r.looks = Pass, now, 0
	case Unknown:
		if r.is == Fail || r.is == Pass && now.Sub(r.good) <= 6*time.Hour {
			return
		}
		r.is, r.looks = Unknown, 0
	case Fail:
		if r.is == Pass && !start {
			if r.looks == 0 || value != r.value {
				r.value, r.first, r.looks = value, now, 0
			}
			if r.looks++; r.looks < 3 || now.Sub(r.first) < 10*time.Minute {
				return
			}
		}
		r.is, r.looks, r.settle = Fail, 0, time.Time{}
	}
}

// gaps between looks: those of the schedule, and the edges of span, settling and grace.
var gaps = []time.Duration{
	time.Second, 5 * time.Second, time.Minute, 5 * time.Minute, 10*time.Minute - time.Second, 10 * time.Minute, 15*time.Minute - time.Second,
	15 * time.Minute, time.Hour, 6*time.Hour - time.Second, 6 * time.Hour, 6*time.Hour + time.Second, 48 * time.Hour,
}

// history plays the looks that the bytes mean, three each: when, what, how.
func history(t *testing.T, looks []byte) (turns map[string]int) {
	turns = map[string]int{}
	s, folded := tell(t), tell(t)
	folded.fold = true
	rules := make([]rule, len(asks))
	was := make([]Status, len(asks))
	var story []string
	for i := 0; i+2 < len(looks); i += 3 {
		after, what, how := gaps[int(looks[i])%len(gaps)], looks[i+1], looks[i+2]
		start := i == 0 || how&0xf0 == 0
		if start && i > 0 {
			switch how & 3 {
			case 0: // the file is torn or foreign
				s.h, folded.h, rules = History{}, History{}, make([]rule, len(asks))
				clear(was)
			default:
				s.h, folded.h = reread(t, s.h), reread(t, folded.h)
			}
		}
		var changes []Finding
		var saw []Status
		dead := how&0x0f == 0x0f // no resolver answers
		value := fmt.Sprint("value ", how>>2&1)
		for j, a := range asks {
			see := []Status{Pass, Fail, Unknown, Fail}[what>>(2*j)&3]
			if dead {
				see = Unknown
			}
			saw = append(saw, see)
			changes = append(changes, a.finds(see, value)...)
		}
		if dead {
			changes = nothingKnown(s.plan)
		}
		s.look(after, start, changes...)
		folded.look(after, start, changes...)
		story = append(story, fmt.Sprintf("+%s %v %s start %t dead %t", after, saw, value, start, dead))
		fatal := func(format string, args ...any) {
			t.Helper()
			t.Fatalf(format+"\n%q", append(args, story[max(0, len(story)-8):])...)
		}
		if !same(s.last, folded.last) || !s.next.Equal(folded.next) {
			fatal("as it is remembered: %s, folded %s", inShort(s.last), inShort(folded.last))
		}
		if s.next.Before(s.at.Add(soonest)) || s.next.After(s.at.Add(s.plan.Policy.RecheckMax)) {
			fatal("next look in %s", s.next.Sub(s.at))
		}
		for j, a := range asks {
			got := s.believes(a.finds(Fail, "")[0])
			if dead && got.Status == Skip { // DNS-REACHABLE is unknown in its stead
				got.Status = Unknown
			}
			rules[j].see(saw[j], value, s.at, start)
			if got.Status != rules[j].is {
				fatal("%s is believed to be %s, want %s", a.name, got.Status, rules[j].is)
			}
			if saw[j] == Unknown && (was[j] == Pass && got.Status == Fail || was[j] == Fail && got.Status == Pass) {
				fatal("%s: silence turned %s into %s", a.name, was[j], got.Status)
			}
			if was[j] != "" && was[j] != got.Status {
				turns[string(was[j]+" to "+got.Status)]++
			}
			was[j] = got.Status
		}
		source, sender := s.last.Sources[0], s.last.Senders[0]
		if want := verdictOf(dead && unseenYet(was), rules[0]); source.Status != want {
			fatal("the source is %s, want %s", source.Status, want)
		}
		if want := verdictOf(dead && unseenYet(was), rules[1], rules[2]); sender.Status != want && want == Fail != (sender.Status == Fail) {
			fatal("the sender is %s, want %s", sender.Status, want)
		}
		if settles := rules[0].is == Pass && rules[0].settle.After(s.at); source.Status == Pass && settles != (source.Action == "settling") {
			fatal("the source does %s, settling %t", source.Action, settles)
		}
	}
	return turns
}

// unseenYet: a dead resolver speaks for itself only while nothing was ever good.
func unseenYet(was []Status) bool { return was[0] == Unknown }

// verdictOf subjects whose checks stand so.
func verdictOf(dead bool, rules ...rule) Status {
	worst := Pass
	if dead {
		worst = Unknown
	}
	for _, r := range rules {
		if rank(r.is) > rank(worst) {
			worst = r.is
		}
	}
	return worst
}

// nothingKnown is a look without a resolver.
func nothingKnown(p *Plan) []Finding {
	changes := []Finding{of("DNS-REACHABLE", "", "", Unknown)}
	for _, f := range findings(p) {
		if f.Check.ID != "DNS-REACHABLE" {
			changes = append(changes, waiting(f.Check.ID, f.Source, f.Sender, "DNS-REACHABLE"))
		}
	}
	return changes
}

// believes is the finding as it is believed.
func (s *story) believes(f Finding) Finding {
	for _, v := range append(s.last.Sources, s.last.Senders...) {
		for _, o := range v.Findings {
			if o.key() == f.key() {
				return o
			}
		}
	}
	s.t.Fatalf("no finding %s", f.key())
	return Finding{}
}

// reread is a history as the next run of the program finds it.
func reread(t *testing.T, h History) (again History) {
	text, err := json.Marshal(h)
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// inShort is a report in a line.
func inShort(r *Report) (s string) {
	for _, v := range append(r.Sources, r.Senders...) {
		s += fmt.Sprintf("%s %s %s %v stale %t; ", v.Name, v.Status, v.Action, v.Because, v.Stale)
	}
	return s
}

// FuzzObserve looks for a history that breaks the rules.
func FuzzObserve(f *testing.F) {
	f.Add([]byte("p u f s p u f f p"))
	f.Add([]byte{0, 0, 16, 2, 1, 16, 3, 1, 16, 5, 1, 16, 10, 2, 16, 0, 0, 16, 6, 0, 0x1f})
	f.Fuzz(func(t *testing.T, looks []byte) { history(t, looks[:min(len(looks), 3*256)]) })
}

// The same without a fuzzer: enough of them, and long enough that every turn is made.
func TestHistories(t *testing.T) {
	turns := map[string]int{}
	for seed := range uint64(16) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		looks := make([]byte, 3*120)
		for i := range looks {
			looks[i] = byte(rnd.Uint32())
		}
		for i := 1; i < len(looks); i += 3 { // runs of one answer, as there are when something breaks
			if i > 3 && rnd.Uint32()%4 != 0 {
				looks[i], looks[i+1] = looks[i-3], looks[i-2]|0x10
			}
		}
		for turn, n := range history(t, looks) {
			turns[turn] += n
		}
	}
	for _, a := range []Status{Pass, Fail, Unknown} {
		for _, b := range []Status{Pass, Fail, Unknown} {
			turn := string(a + " to " + b)
			if made := turns[turn] > 5; a != b && made == (turn == "fail to unknown") {
				t.Errorf("%s: %d times", turn, turns[turn])
			}
		}
	}
}

// One failure between passes leaves no trace, whatever was before: who never saw it
// knows the same.
func TestOneFailureLeavesNoTrace(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s, twin := tell(t), tell(t)
		for range rnd.IntN(12) {
			after, kind := gaps[rnd.IntN(len(gaps))], []Status{Pass, Fail, Unknown}[rnd.IntN(3)]
			for _, x := range []*story{s, twin} {
				x.look(after, x.last == nil, ptr(kind)...)
			}
		}
		for _, x := range []*story{s, twin} {
			x.look(time.Minute, x.last == nil)
		}
		after := gaps[rnd.IntN(len(gaps))]
		s.look(after, false, ptr(Fail)...)
		twin.look(after, false)
		if !same(s.last, twin.last) {
			t.Fatalf("seed %d: %s, without it %s", seed, inShort(s.last), inShort(twin.last))
		}
		s.look(time.Minute, false)
		twin.look(time.Minute, false)
		if !same(s.last, twin.last) || !s.next.Equal(twin.next) {
			t.Fatalf("seed %d, afterwards: %s, without it %s", seed, inShort(s.last), inShort(twin.last))
		}
		for range 2 { // nor does it count towards the next ones
			s.look(10*time.Minute, false, ptr(Fail)...)
			twin.look(10*time.Minute, false)
			s.want(s.last.Sources[0], Pass, twin.last.Sources[0].Action)
		}
	}
}

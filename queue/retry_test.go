package queue

import (
	"testing"
	"time"
)

func TestBook(t *testing.T) {
	const h = time.Hour
	o := Options{}.withDefaults()
	later := Attempt{Outcome: Deferred, Reply: Reply{Code: 421}}
	ours := Attempt{Outcome: Deferred, Ours: true, Why: "gate"}
	named := Attempt{Outcome: Deferred, Ours: true, Class: "PTR-EXISTS", Reply: Reply{Code: 550}}
	woken, shut := named, ours
	woken.Awaits, woken.Host = "PTR-EXISTS", "mx.example"
	shut.Awaits = "PTR-EXISTS"
	for _, c := range []struct {
		name     string
		life     time.Duration
		r        Recipient
		a        Attempt
		state    State
		delay    time.Duration
		notice   bool
		tellHeld bool
	}{
		{name: "sent", a: Attempt{Outcome: Sent}, state: Delivered},
		{name: "refused", a: Attempt{Outcome: Refused}, state: Failed},
		{name: "refused though delayed long", r: Recipient{Age: 500 * h}, a: Attempt{Outcome: Refused}, state: Failed},
		{name: "first deferral", a: later, state: Waiting, delay: 5 * time.Minute},
		{name: "third", r: Recipient{Tries: 2}, a: later, state: Waiting, delay: 20 * time.Minute},
		{name: "hundredth", r: Recipient{Tries: 99}, a: later, state: Waiting, delay: 4 * h},
		{name: "an outcome we do not know", a: Attempt{}, state: Waiting, delay: 5 * time.Minute},
		{name: "default lifetime", r: Recipient{Age: 120 * h, Tries: 9}, a: later, state: Failed},
		{name: "just before", r: Recipient{Age: 119 * h, Tries: 9, Delayed: true}, a: later, state: Waiting, delay: h},
		{name: "lifetime of the message", life: h, r: Recipient{Age: h}, a: later, state: Failed},
		{name: "our wait does not count", life: h, r: Recipient{Ours: 9 * h, Delayed: true}, a: later, state: Waiting, delay: 5 * time.Minute},
		{name: "notice", r: Recipient{Age: 3 * h, Ours: h}, a: later, state: Waiting, delay: 5 * time.Minute, notice: true},
		{name: "no second notice", r: Recipient{Age: 5 * h, Delayed: true}, a: later, state: Waiting, delay: 5 * time.Minute},
		{name: "our fault waits less", r: Recipient{Tries: 99}, a: ours, state: Waiting, delay: 15 * time.Minute},
		{name: "our fault, by a remote's word", r: Recipient{Tries: 99}, a: named, state: Waiting, delay: 4 * h},
		{name: "that it waits for is no reason to be quick", r: Recipient{Tries: 99}, a: woken, state: Waiting, delay: 4 * h},
		{name: "the gate's word", r: Recipient{Tries: 99}, a: shut, state: Waiting, delay: 15 * time.Minute},
		{name: "that at first", a: named, state: Waiting, delay: 5 * time.Minute},
		{name: "that never bounces", r: Recipient{Age: 999 * h, Delayed: true}, a: named, state: Held, tellHeld: true},
		{name: "our fault never bounces", r: Recipient{Age: 60 * h, Ours: 60 * h}, a: ours, state: Held, notice: true, tellHeld: true},
		{name: "nor old mail", r: Recipient{Age: 999 * h, Delayed: true}, a: ours, state: Held, tellHeld: true},
		{name: "the attempt's own wait", a: Attempt{Outcome: Deferred, Wait: 7 * h}, state: Waiting, delay: 7 * h},
	} {
		b := o.book(&Message{ID: "x", Lifetime: c.life}, &c.r, c.a, 0.5)
		if b.Attempt.Waited != c.r.Age+c.r.Ours {
			t.Errorf("%s: the attempt was made after %v", c.name, b.Attempt.Waited)
		}
		if b.State != c.state || b.Delay != c.delay || b.tellDelay != c.notice || b.tellHeld != c.tellHeld {
			t.Errorf("%s: %s after %v (notice %v, held %v), want %s after %v (%v, %v)", c.name,
				b.State, b.Delay, b.tellDelay, b.tellHeld, c.state, c.delay, c.notice, c.tellHeld)
		}
	}
}

func TestJitterStaysNear(t *testing.T) {
	o := Options{}.withDefaults()
	for _, jitter := range []float64{0, 0.25, 0.5, 0.999} {
		d := o.delay(&Recipient{Tries: 4}, Attempt{Outcome: Deferred}, jitter)
		if d < 54*time.Minute || d > 66*time.Minute {
			t.Errorf("jitter %v makes %v of an hour", jitter, d)
		}
	}
}

func TestReason(t *testing.T) {
	for want, a := range map[string]Attempt{
		"451 4.7.1 from mx.example":              {Host: "mx.example", Reply: Reply{Code: 451, Status: "4.7.1"}, Why: "unused"},
		"550 5.7.25 from mx.example: PTR-EXISTS": {Host: "mx.example", Class: "PTR-EXISTS", Reply: Reply{Code: 550, Status: "5.7.25"}},
		"421":                                    {Reply: Reply{Code: 421}},
		"no route to host":                       {Host: "mx.example", Why: "no route to host"},
		"no reason given":                        {},
	} {
		if got := a.reason(); got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	}
}

// What the operator does, against every state a recipient can be in.
func TestChanged(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		from, to State
		ok       bool
	}{
		{Waiting, Waiting, true}, {Waiting, Held, true}, {Waiting, Removed, true},
		{Held, Waiting, true}, {Held, Held, false}, {Held, Removed, true},
		{Failed, Waiting, false}, {Failed, Held, false}, {Failed, Removed, true},
		{Waiting, Failed, true}, {Held, Failed, true}, {Failed, Failed, false},
		{Waiting, Delivered, false}, {Waiting, "", false},
	} {
		r, ok := Recipient{State: c.from}.Changed(Change{State: c.to, Delay: time.Hour}, now)
		want := c.from
		if c.ok {
			want = c.to
		}
		if ok != c.ok || r.State != want {
			t.Errorf("%s to %s: %s, %v", c.from, c.to, r.State, ok)
		}
		if c.ok && c.to == Waiting && !r.Next.Equal(now.Add(time.Hour)) {
			t.Errorf("%s to %s is due at %v", c.from, c.to, r.Next)
		}
	}
	if _, ok := (Recipient{State: Held}).Changed(Change{State: Waiting, Only: []State{Failed}}, now); ok {
		t.Error("changed a state that was not asked for")
	}
}

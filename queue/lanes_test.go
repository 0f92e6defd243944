package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// enters has one worker come to a destination that is a lane of its own, and leave it
// after that.
func enters(ls *lanes, name string, as ...Attempt) (ok bool) {
	t := &Trip{lease: &lease{Lease: Lease{Destination: name}}}
	if !ls.enter(t, Lane{Name: name}) {
		return false
	}
	for _, a := range as {
		ls.learn(t.lane, &a)
	}
	ls.leave(t)
	return true
}

func idleLanes(o Options) *lanes {
	nothing := func(*Trip) {}
	return newLanes(o.withDefaults(), nothing, nothing)
}

// What becomes of one message is one word of its hosts, and an answer to another
// message in between is a conversation.
func TestTroubleUponTrouble(t *testing.T) {
	broke := Attempt{Outcome: Deferred, Host: "mx.example", Stage: "connect"}
	full := Attempt{Outcome: Deferred, Host: "mx.example", Stage: "rcpt", Reply: Reply{Code: 452}}
	for name, c := range map[string]struct {
		messages []map[int]Attempt
		shut     bool
	}{
		"two":                 {[]map[int]Attempt{{0: broke}, {0: broke}}, true},
		"one to two":          {[]map[int]Attempt{{0: broke, 1: broke}}, false},
		"with one in between": {[]map[int]Attempt{{0: broke}, {0: full}, {0: broke}}, false},
		"in part":             {[]map[int]Attempt{{0: broke, 1: full}, {0: full, 1: broke}}, false},
	} {
		ls := idleLanes(Options{})
		var as []Attempt
		for _, m := range c.messages {
			as = append(as, telling(m))
		}
		enters(ls, "d", as...)
		if _, shut := ls.count(); shut == 1 != c.shut {
			t.Errorf("%s: shut is %v", name, !c.shut)
		}
	}
}

// However many hosts there are, and all of them dead, not much is remembered.
func TestLanesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := idleLanes(Options{})
		broke := Attempt{Outcome: Deferred, Host: "mx.example", Stage: "connect"}
		most := 0
		for i := range 70_000 {
			enters(ls, fmt.Sprint("d", i), broke, broke)
			most = max(most, len(ls.all))
			time.Sleep(100 * time.Microsecond)
		}
		if _, shut := ls.count(); most > 3*lanesMost || shut == 0 {
			t.Errorf("%d lanes were remembered, %d are shut", most, shut)
		}
		if n := ls.busy.upTo(good) + ls.held.upTo(good); n != 0 {
			t.Errorf("%d workers and trips are counted that are not there", n)
		}
	})
}

// What the hosts are like is remembered for an hour, and that they are left alone for
// as long as they are.
func TestLanesRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := idleLanes(Options{})
		broke := Attempt{Outcome: Deferred, Host: "mx.example", Stage: "connect"}
		enters(ls, "good", Attempt{Outcome: Sent, Host: "mx.example"})
		enters(ls, "bad", broke, broke)
		if enters(ls, "bad") {
			t.Error("a worker came to hosts that are left alone")
		}
		time.Sleep(50 * time.Minute)
		enters(ls, "other")
		if ls.all["good"] == nil || ls.all["good"].standing() != good || ls.all["bad"].standing() != bad {
			t.Error("forgotten too early")
		}
		time.Sleep(50 * time.Minute)
		enters(ls, "another")
		if ls.all["good"] != nil || ls.all["bad"] != nil {
			t.Error("never forgotten")
		}
	})
}

// What an attempt says of the hosts, and what is no word of them.
func TestTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		a    Attempt
		want trouble
	}{
		"taken":             {Attempt{Outcome: Sent, Stage: "dot"}, fine},
		"no such user":      {Attempt{Outcome: Refused, Host: "h", Stage: "rcpt", Reply: Reply{Code: 550}}, answered},
		"mailbox full":      {Attempt{Outcome: Deferred, Host: "h", Stage: "rcpt", Reply: Reply{Code: 452, Status: "4.2.2"}}, answered},
		"no TLS now":        {Attempt{Outcome: Deferred, Host: "h", Stage: "starttls", Reply: Reply{Code: 454}}, silence},
		"too large":         {Attempt{Outcome: Refused, Host: "h", Stage: "mail", Reply: Reply{Status: "5.3.4"}}, silence},
		"greylisted":        {Attempt{Outcome: Deferred, Host: "h", Stage: "rcpt", Reply: Reply{Code: 451, Status: "4.7.1"}}, less},
		"421":               {Attempt{Outcome: Deferred, Host: "h", Stage: "mail", Reply: Reply{Code: 421, Status: "4.3.2"}}, broken},
		"refused":           {Attempt{Outcome: Deferred, Host: "h", Stage: "connect"}, broken},
		"no banner":         {Attempt{Outcome: Deferred, Host: "h", Stage: "greet"}, broken},
		"greeted with 554":  {Attempt{Outcome: Deferred, Host: "h", Stage: "greet", Reply: Reply{Code: 554}}, broken},
		"lost in the body":  {Attempt{Outcome: Deferred, Host: "h", Stage: "data"}, broken},
		"rate at a greet":   {Attempt{Outcome: Deferred, Host: "h", Stage: "greet", Ours: true, Slow: true, Reply: Reply{Code: 421}}, broken},
		"rate at a dot":     {Attempt{Outcome: Deferred, Host: "h", Stage: "dot", Ours: true, Slow: true, Reply: Reply{Code: 421}}, less},
		"a check is named":  {Attempt{Outcome: Deferred, Host: "h", Stage: "greet", Ours: true, Class: "PTR-EXISTS", Reply: Reply{Code: 550}}, silence},
		"DNS is silent":     {Attempt{Outcome: Deferred, Stage: "resolve", Reply: Reply{Status: "4.4.3"}}, silence},
		"the gate says so":  {Attempt{Outcome: Deferred, Stage: "gate", Ours: true}, silence},
		"our own decision":  {Attempt{Outcome: Deferred, Host: "h", Stage: "mail", Reply: Reply{Status: "5.7.10"}}, silence},
		"our own disk":      {Attempt{Outcome: Deferred, Host: "h", Stage: "data", Ours: true}, silence},
		"no address of our": {Attempt{Outcome: Deferred, Host: "h", Stage: "connect", Ours: true}, silence},
	} {
		if got := c.a.trouble(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

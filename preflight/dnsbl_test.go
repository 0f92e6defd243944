package preflight_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight"
)

// The key of an account is in no report, no log and no history; and the daemon asks a
// list once and not at every look.
func TestKeyIsToldNobody(t *testing.T) {
	const key = "abcdefghijklmnopqrstuvwx23"
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	for how, records := range map[string][]string{
		"listed":  {"2.0.0.127.%. A 127.0.0.2", "25.2.0.192.%. A 127.0.0.4", `25.2.0.192.%. TXT "see ` + key + `"`},
		"refused": {"*.%. A 127.255.255.254"},
		"circle":  {"2.0.0.127.%. CNAME x.%.", "x.%. CNAME 2.0.0.127.%."},
		"silent":  nil,
	} {
		zone := key + ".zen.dq.spamhaus.net"
		steps := []step{{'@', "dnsbl=" + zone}}
		for _, r := range records {
			steps = append(steps, step{'+', strings.ReplaceAll(r, "%", zone)})
		}
		w := build(t, own.base, steps)
		w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = 10*time.Millisecond, 20*time.Millisecond
		s, out := w.start(t)
		if how == "silent" {
			s.Behave("spamhaus.net", "servfail")
		}
		var kept bytes.Buffer
		said := looks{over: make(chan bool, 1)}
		memory := noted{into: &kept}
		g := preflight.NewGate(w.plan, out, memory, slog.New(slog.NewJSONHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})))
		rep := g.Start(t.Context())
		asked := questionsOf(s.Questions(), zone)
		if asked == 0 {
			t.Errorf("%s: the list was not asked", how)
		}
		again(t, g, said.over)
		if more := questionsOf(s.Questions(), zone); more != asked {
			t.Errorf("%s: %d questions at the first look, %d after more", how, asked, more)
		}
		if err := preflight.WriteJSON(&said, rep); err != nil {
			t.Fatal(err)
		}
		if err := preflight.WriteText(&said, rep, preflight.TextOptions{}); err != nil {
			t.Fatal(err)
		}
		said.Write(kept.Bytes())
		if !strings.Contains(said.String(), "(key)") {
			t.Errorf("%s: the list is not spoken of at all", how)
		}
		if i := strings.Index(said.String(), key); i >= 0 {
			t.Errorf("%s: the key is told: %s", how, said.String()[max(0, i-200):i+60])
		}
	}
}

// looks is a log, and tells of each look that is over.
type looks struct {
	bytes.Buffer
	over chan bool
}

func (l *looks) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"msg":"preflight run"`)) {
		select {
		case l.over <- true:
		default:
		}
	}
	return l.Buffer.Write(p)
}

// again lets the gate look twice more.
func again(t *testing.T, g *preflight.Gate, look <-chan bool) {
	t.Helper()
	<-look // the first
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var watching sync.WaitGroup
	watching.Go(func() { g.Watch(ctx) })
	for range 2 {
		select {
		case <-look:
		case <-ctx.Done():
			t.Fatal("the gate does not look again")
		}
	}
	cancel()
	watching.Wait()
}

// noted is a memory that writes down what it is given.
type noted struct{ into *bytes.Buffer }

func (noted) Load(context.Context) (preflight.History, error) { return preflight.History{}, nil }

func (n noted) Save(_ context.Context, h preflight.History) error {
	return json.NewEncoder(n.into).Encode(h)
}

// questionsOf counts those about names of a zone.
func questionsOf(all []string, zone string) (n int) {
	for _, q := range all {
		if strings.Contains(q, zone+". ") {
			n++
		}
	}
	return n
}

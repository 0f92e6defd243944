package preflight

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// lines of a log, as maps.
func logLines(t *testing.T, b *bytes.Buffer) (out []map[string]any) {
	t.Helper()
	for d := json.NewDecoder(b); d.More(); {
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	b.Reset()
	return out
}

func messages(lines []map[string]any) (out []string) {
	for _, l := range lines {
		m, _ := l["msg"].(string)
		for _, k := range []string{"level", "check", "result", "source", "domain", "verdict", "overall"} {
			if v, ok := l[k].(string); ok {
				m += " " + v
			}
		}
		out = append(out, m)
	}
	return out
}

func TestJournal(t *testing.T) {
	var b bytes.Buffer
	j := newJournal(slog.New(slog.NewJSONHandler(&b, nil)))
	s := tell(t)
	look := func(after time.Duration, want []string, changes ...Finding) []map[string]any {
		t.Helper()
		s.at = s.at.Add(after)
		h, hs := observe(s.h, s.plan, findings(s.plan, changes...), s.at, false)
		s.h = h
		r := judge(s.plan, hs, s.at).report
		r.Run = "RUN"
		j.write(r, hs, true)
		lines := logLines(t, &b)
		if got := messages(lines); !slices.Equal(got, want) {
			t.Errorf("at +%s:\n got %q\nwant %q", s.at.Sub(noon), got, want)
		}
		return lines
	}
	look(0, []string{"preflight verdict INFO wan4 pass", "preflight verdict INFO example.net pass", "preflight run INFO pass"})
	pass, fail := []string{"preflight run INFO pass"}, []string{"preflight run INFO fail"}
	look(time.Minute, pass)
	look(time.Minute, pass, ptr(Fail)...)
	look(time.Minute, pass)
	for _, d := range []time.Duration{time.Minute, time.Minute, time.Minute} {
		look(d, pass, ptr(Fail)...)
	}
	lines := look(10*time.Minute, []string{"preflight finding ERROR PTR-EXISTS fail wan4", "preflight verdict WARN wan4 fail", "preflight run WARN fail"}, ptr(Fail)...)
	if f := lines[0]; f["addr"] != "192.0.2.25" || f["ehlo"] != "mail.example.net" || f["severity"] != "mandatory" || f["found"] != "PTR-EXISTS is fail" || f["run"] != "RUN" || f["since"] == nil {
		t.Errorf("finding: %v", f)
	}
	if v := lines[1]; v["was"] != "pass" || v["action"] != "refuse" {
		t.Errorf("verdict: %v", v)
	}
	look(time.Minute, fail, ptr(Fail)...)
	look(time.Minute, fail, ptr(Unknown)...)
	look(24*time.Hour, []string{"preflight finding INFO PTR-EXISTS fail wan4", "preflight run WARN fail"}, ptr(Fail)...)
	look(time.Minute, []string{"preflight verdict INFO wan4 pass", "preflight run INFO pass"})
	look(20*time.Minute, []string{"preflight verdict INFO wan4 pass", "preflight run INFO pass"})
	look(time.Minute, []string{"preflight finding WARN PTR-EXISTS unknown wan4", "preflight run INFO pass"}, ptr(Unknown)...)
	look(time.Minute, pass, ptr(Unknown)...)
	look(time.Minute, pass)
}

// Silence is told once, however it sounds.
func TestJournalTellsSilenceOnce(t *testing.T) {
	for _, start := range []bool{true, false} {
		var b bytes.Buffer
		j := newJournal(slog.New(slog.NewJSONHandler(&b, nil)))
		s := tell(t)
		if !start { // a pass goes before, and the grace covers the silence
			s.look(0, true)
		}
		told := 0
		for _, found := range []string{"timeout", "SERVFAIL", "timeout"} {
			silent := of("PTR-EXISTS", "wan4", "", Unknown)
			silent.Found = found
			h, hs := observe(s.h, s.plan, findings(s.plan, silent), s.at, start)
			s.h = h
			j.write(judge(s.plan, hs, s.at).report, hs, true)
			for _, l := range logLines(t, &b) {
				if l["check"] == "PTR-EXISTS" {
					told++
				}
			}
		}
		if told != 1 {
			t.Errorf("start %t: told %d times", start, told)
		}
	}
}

// A run that changes nothing is not worth a warning, unless mail is sent in spite of it.
func TestJournalWarnsOfEveryRunThatSends(t *testing.T) {
	for action, want := range map[Action]int{ActHold: 1, ActWarn: 3} {
		var b bytes.Buffer
		j := newJournal(slog.New(slog.NewJSONHandler(&b, nil)))
		s := tell(t)
		s.plan.Policy.OnFail = action
		told := 0
		for range 3 {
			h, hs := observe(s.h, s.plan, findings(s.plan, ptr(Fail)...), s.at, true)
			s.h = h
			j.write(judge(s.plan, hs, s.at).report, hs, true)
			for _, l := range logLines(t, &b) {
				if l["msg"] == "preflight run" && l["level"] == "WARN" {
					told++
				}
			}
		}
		if told != want {
			t.Errorf("on_fail %q: %d warnings for 3 runs, want %d", action, told, want)
		}
	}
}

// A start says what is open even if an earlier run of the program said it.
func TestJournalAtAStart(t *testing.T) {
	var b bytes.Buffer
	s := tell(t)
	for _, want := range []string{"ERROR", "INFO"} {
		j := newJournal(slog.New(slog.NewJSONHandler(&b, nil)))
		hs := s.h.recall()
		j.recall(judge(s.plan, hs, s.at).report, hs)
		h, hs := observe(s.h, s.plan, findings(s.plan, ptr(Fail)...), s.at, true)
		s.h = h
		j.write(judge(s.plan, hs, s.at).report, hs, true)
		if lines := logLines(t, &b); len(lines) == 0 || lines[0]["check"] != "PTR-EXISTS" || lines[0]["level"] != want {
			t.Errorf("want PTR-EXISTS at %s: %v", want, lines)
		}
	}
}

// Records in another order are no change.
func TestJournalIgnoresOrder(t *testing.T) {
	var b bytes.Buffer
	j := newJournal(slog.New(slog.NewJSONHandler(&b, nil)))
	s := tell(t)
	wrong := of("EHLO-ADDR", "wan4", "", Fail)
	for i, found := range []string{"mail is 192.0.2.8, 192.0.2.9", "mail is 192.0.2.9, 192.0.2.8", "mail is 192.0.2.9"} {
		wrong.Found = found
		h, hs := observe(s.h, s.plan, findings(s.plan, wrong), s.at, true)
		s.h = h
		j.write(judge(s.plan, hs, s.at).report, hs, false)
		if n := len(logLines(t, &b)); (n > 0) != (i != 1) {
			t.Errorf("look %d: %d lines", i, n)
		}
	}
}

// in two days of fake time: each line of the log from info on, and how many looks
// at host and sources there were.
func twoDays(t *testing.T, p Plan, spoil func(name string, q dns.Type) bool, also func(g *Gate, c *calm)) (lines []map[string]any, looks int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		c := &calm{delay: 10 * time.Millisecond}
		c.deny(spoil)
		g := NewGate(p, c.outside(), nil, slog.New(slog.NewJSONHandler(&log, nil)))
		g.Start(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Watch(ctx) }()
		also(g, c)
		time.Sleep(48*time.Hour - time.Minute - time.Since(g.journal.daily.Add(-24*time.Hour)))
		cancel()
		<-done
		looks = g.looks
		lines = logLines(t, bytes.NewBufferString(log.String()))
	})
	return lines, looks
}

func noDMARC(name string, _ dns.Type) bool { return strings.HasPrefix(name, "_dmarc.") }

// Of two quiet days: what was found when it was, once more the next day, and one
// line for each run.
func TestTwoDaysOfLog(t *testing.T) {
	lines, looks := twoDays(t, manySenders(1), noDMARC, func(*Gate, *calm) {})
	count := map[string]int{}
	for _, m := range messages(lines) {
		count[m]++
	}
	want := map[string]int{
		"preflight finding WARN DMARC-PRESENT fail shop00000.example": 1,
		"preflight finding INFO DMARC-PRESENT fail shop00000.example": 1,
		"preflight verdict INFO wan4 pass":                            1,
		"preflight verdict INFO shop00000.example degraded":           1,
		"preflight run WARN degraded":                                 2, // what it found, and the day after
		"preflight run INFO degraded":                                 looks - 2,
	}
	delete(count, "DKIM key is published and signs")
	for m := range count {
		if strings.HasPrefix(m, "DKIM key") {
			delete(count, m)
		}
	}
	if !maps.Equal(count, want) || looks > 2*100 {
		t.Errorf("%d looks\n got %v\nwant %v", looks, count, want)
	}
}

// Two days of an episode: the resolver does not know about the address for ten hours,
// which is said when it begins, when the grace ends, and when it is over.
func TestLogOfAnEpisode(t *testing.T) {
	lines, looks := twoDays(t, manySenders(1), func(string, dns.Type) bool { return false }, func(g *Gate, c *calm) {
		time.Sleep(time.Hour)
		c.fault("SERVFAIL", func(_ string, q dns.Type) bool { return q == dns.TypePTR })
		time.Sleep(10 * time.Hour)
		c.fault("", func(string, dns.Type) bool { return false })
	})
	runs, warned := 0, []string{}
	for i, m := range messages(lines) {
		if strings.HasPrefix(m, "preflight run") {
			runs++
		}
		if lines[i]["level"] != "INFO" && lines[i]["check"] == "PTR-EXISTS" || lines[i]["msg"] == "preflight verdict" && lines[i]["source"] != nil {
			warned = append(warned, strings.TrimPrefix(m, "preflight "))
		}
	}
	want := []string{
		"verdict INFO wan4 pass", "finding WARN PTR-EXISTS unknown wan4", "finding WARN PTR-EXISTS unknown wan4",
		"verdict WARN wan4 unknown", "verdict INFO wan4 pass",
	}
	if !slices.Equal(warned, want) || runs < looks || runs > looks+1 { // one more says once a day what is open
		t.Errorf("%d summaries of %d runs\n got %q\nwant %q", runs, looks, warned, want)
	}
}

// Two days of very many sender domains in trouble: each says so once, a day later all
// of them together; and that no resolver answers is not said once for each.
func TestLogOfManyInTrouble(t *testing.T) {
	const n = wholeReport + 1
	p := manySenders(n)
	p.Policy.RecheckMin = 6 * time.Hour // or it takes long, even in fake time
	lines, looks := twoDays(t, p, noDMARC, func(g *Gate, c *calm) {
		time.Sleep(time.Hour)
		c.fault("SERVFAIL", func(string, dns.Type) bool { return true })
		time.Sleep(8 * time.Hour)
		c.deny(noDMARC)
	})
	found, daily, verdicts, rest := 0, 0, 0, []string{}
	for i, m := range messages(lines) {
		l := lines[i]
		domain, _ := l["domain"].(string)
		switch {
		case l["check"] == "DMARC-PRESENT" && l["level"] == "WARN" && !strings.Contains(domain, " "):
			found++
		case l["check"] == "DMARC-PRESENT" && strings.HasSuffix(domain, fmt.Sprintf(" and %d more", n-1)):
			daily++
		case l["msg"] == "preflight verdict" && strings.HasPrefix(domain, "shop") && l["was"] == nil:
			verdicts++
		case !strings.HasPrefix(m, "DKIM key") && (l["msg"] != "preflight run" || l["level"] != "INFO"):
			rest = append(rest, m)
		}
	}
	if found != n || daily != 1 || verdicts != n {
		t.Errorf("%d found, %d times told of all, %d first verdicts of %d domains", found, daily, verdicts, n)
	}
	if len(rest) > 150 { // runs of the first hour that found something, and the episode
		t.Errorf("%d lines besides, in %d looks:\n%s", len(rest), looks, strings.Join(rest, "\n"))
	}
}

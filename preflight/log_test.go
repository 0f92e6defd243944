package preflight

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"
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
		j.write(r, hs)
		lines := logLines(t, &b)
		if got := messages(lines); !slices.Equal(got, want) {
			t.Errorf("at +%s:\n got %q\nwant %q", s.at.Sub(noon), got, want)
		}
		return lines
	}
	look(0, []string{"preflight verdict INFO wan4 pass", "preflight verdict INFO example.net pass", "preflight run INFO pass"})
	look(time.Minute, nil)
	look(time.Minute, nil, ptr(Fail)...)
	look(time.Minute, nil)
	for _, d := range []time.Duration{time.Minute, time.Minute, time.Minute} {
		look(d, nil, ptr(Fail)...)
	}
	lines := look(10*time.Minute, []string{"preflight finding ERROR PTR-EXISTS fail wan4", "preflight verdict WARN wan4 fail", "preflight run WARN fail"}, ptr(Fail)...)
	if f := lines[0]; f["addr"] != "192.0.2.25" || f["ehlo"] != "mail.example.net" || f["severity"] != "mandatory" || f["found"] != "PTR-EXISTS is fail" || f["run"] != "RUN" || f["since"] == nil {
		t.Errorf("finding: %v", f)
	}
	if v := lines[1]; v["was"] != "pass" || v["action"] != "refuse" {
		t.Errorf("verdict: %v", v)
	}
	look(time.Minute, nil, ptr(Fail)...)
	look(time.Minute, nil, ptr(Unknown)...)
	look(24*time.Hour, []string{"preflight finding INFO PTR-EXISTS fail wan4", "preflight run WARN fail"}, ptr(Fail)...)
	look(time.Minute, []string{"preflight verdict INFO wan4 pass", "preflight run INFO pass"})
	look(20*time.Minute, []string{"preflight verdict INFO wan4 pass", "preflight run INFO pass"})
	look(time.Minute, []string{"preflight finding WARN PTR-EXISTS unknown wan4", "preflight run INFO pass"}, ptr(Unknown)...)
	look(time.Minute, nil, ptr(Unknown)...)
	look(time.Minute, []string{"preflight run INFO pass"})
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
			j.write(judge(s.plan, hs, s.at).report, hs)
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

// A run that changes nothing is not worth a line, unless mail is sent in spite of it.
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
			j.write(judge(s.plan, hs, s.at).report, hs)
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
		j.write(judge(s.plan, hs, s.at).report, hs)
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
		j.write(judge(s.plan, hs, s.at).report, hs)
		if n := len(logLines(t, &b)); (n > 0) != (i != 1) {
			t.Errorf("look %d: %d lines", i, n)
		}
	}
}

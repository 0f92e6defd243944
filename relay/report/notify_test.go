package report

import (
	"strings"
	"testing"

	"smtprelay/queue"
)

// TestNotify: who is told of what (RFC 3461 section 4.1), and that a bounce does
// not bounce.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		kind   queue.Kind
		notify string
		want   int
	}{
		{queue.WasFailed, "", 1},
		{queue.WasFailed, "FAILURE", 1},
		{queue.WasFailed, "SUCCESS,FAILURE", 1},
		{queue.WasFailed, "NEVER", 0},
		{queue.WasFailed, "DELAY,SUCCESS", 0},
		{queue.WasDelayed, "", 1},
		{queue.WasDelayed, "FAILURE,DELAY", 1},
		{queue.WasDelayed, "FAILURE", 0},
		{queue.WasDelayed, "NEVER", 0},
		{queue.WasDelivered, "", 0},
		{queue.WasDelivered, "SUCCESS", 1},
		{queue.WasDelivered, "FAILURE", 0},
		{queue.WasDelivered, "NEVER", 0},
		{queue.WasDeferred, "FAILURE,DELAY,SUCCESS", 0},
		{queue.WasHeld, "FAILURE,DELAY,SUCCESS", 0},
	} {
		for _, from := range []string{"ann@example.net", ""} {
			var s shelf
			r, log := desk(&s)
			e := event(c.kind)
			e.Message.Envelope.From = from
			e.Recipients[0].Notify = c.notify
			if err := r.Report(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			want := c.want
			if from == "" {
				want = 0
			}
			if len(s.kept) != want {
				t.Errorf("%s from <%s> with NOTIFY=%s: %d notices, want %d", c.kind, from, c.notify, len(s.kept), want)
			}
			if !strings.Contains(log.String(), `"msg":"`+string(c.kind)+`"`) {
				t.Errorf("%s: not logged: %s", c.kind, log)
			}
		}
	}
}

// TestSuccessIsToldOnce: a remote that knows NOTIFY tells of the success itself
// (RFC 3461 section 5.2.2); of one that does not, we do.
func TestSuccessIsToldOnce(t *testing.T) {
	for name, c := range map[string]struct {
		kind   queue.Kind
		notify string
		dsn    bool
		want   int
	}{
		"theirs to tell":                   {queue.WasDelivered, "SUCCESS", true, 0},
		"theirs, among others":             {queue.WasDelivered, "SUCCESS,FAILURE", true, 0},
		"ours to tell":                     {queue.WasDelivered, "SUCCESS", false, 1},
		"nobody asked":                     {queue.WasDelivered, "", true, 0},
		"a failure is ours in any case":    {queue.WasFailed, "FAILURE", true, 1},
		"so it is unasked":                 {queue.WasFailed, "", true, 1},
		"and so is the word that it waits": {queue.WasDelayed, "DELAY", true, 1},
	} {
		var s shelf
		r, log := desk(&s)
		e := event(c.kind)
		e.Recipients[0].Notify, e.Recipients[0].Last.DSN = c.notify, c.dsn
		if err := r.Report(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if len(s.kept) != c.want {
			t.Errorf("%s: %d notices, want %d", name, len(s.kept), c.want)
		}
		if n := strings.Count(verbs(t, log), string(c.kind)); n != 1 {
			t.Errorf("%s: logged %s", name, log)
		}
	}
}

// TestSuccessOfSome: one transaction, two recipients, and only whom we must tell of
// is in the notice.
func TestSuccessOfSome(t *testing.T) {
	var s shelf
	r, _ := desk(&s)
	e := event(queue.WasDelivered)
	second := e.Recipients[0]
	e.Recipients[0].Notify, second.Notify, second.Address = "NEVER", "SUCCESS", "carol@example.org"
	e.Recipients = append(e.Recipients, second)
	if err := r.Report(t.Context(), e); err != nil || len(s.kept) != 1 {
		t.Fatalf("%v, %d notices", err, len(s.kept))
	}
	p := parse(t, s.kept[0].body.Bytes(), false)
	if len(p.recipients) != 1 || p.recipients[0].Get("Final-Recipient") != "rfc822; carol@example.org" || p.recipients[0].Get("Action") != "relayed" {
		t.Errorf("got %v", p.recipients)
	}
}

// TestOnlyAskers: a notice names those who may be named and no others.
func TestOnlyAskers(t *testing.T) {
	var s shelf
	r, log := desk(&s)
	e := event(queue.WasFailed)
	second, third := e.Recipients[0], e.Recipients[0]
	second.Address, second.Notify = "silent@example.org", "NEVER"
	third.Address = "carol@example.org"
	e.Recipients = append(e.Recipients, second, third)
	if err := r.Report(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	text := s.kept[0].body.String()
	if strings.Contains(text, "silent@") || !strings.Contains(text, "carol@") || !strings.Contains(text, "the 2 addresses below") {
		t.Errorf("notice:\n%s", text)
	}
	if got := verbs(t, log); got != "notice queued, failed, failed, failed" {
		t.Errorf("logged %s", got)
	}
}

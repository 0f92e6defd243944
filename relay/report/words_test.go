package report

import (
	"strings"
	"testing"

	"smtprelay/queue"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		kind    queue.Kind
		outcome queue.Outcome
		stage   string
		reply   queue.Reply
		want    string
	}{
		{queue.WasFailed, queue.Refused, "rcpt", queue.Reply{Code: 550, Status: "5.1.1"}, "5.1.1"},
		{queue.WasFailed, queue.Refused, "rcpt", queue.Reply{Code: 550}, "5.0.0"},
		{queue.WasFailed, queue.Refused, "rcpt", queue.Reply{Code: 550, Status: "4.2.1"}, "5.0.0"},
		{queue.WasFailed, queue.Refused, "rcpt", queue.Reply{Code: 550, Status: "5.1.1\r\nX: y"}, "5.0.0"},
		{queue.WasFailed, queue.Refused, "rcpt", queue.Reply{Code: 550, Status: "5.1234.1"}, "5.0.0"},
		{queue.WasFailed, queue.Refused, "resolve", queue.Reply{}, "5.4.4"},
		{queue.WasFailed, queue.Deferred, "rcpt", queue.Reply{Code: 451, Status: "4.7.1"}, "4.4.7"},
		{queue.WasDelayed, queue.Deferred, "rcpt", queue.Reply{Code: 451, Status: "4.7.1"}, "4.7.1"},
		{queue.WasDelayed, queue.Deferred, "rcpt", queue.Reply{Code: 451, Status: "5.7.1"}, "4.0.0"},
		{queue.WasDelayed, queue.Deferred, "connect", queue.Reply{}, "4.4.1"},
		{queue.WasDelayed, queue.Deferred, "gate", queue.Reply{}, "4.0.0"},
		{queue.WasDelivered, queue.Sent, "dot", queue.Reply{Code: 250, Status: "2.6.0"}, "2.6.0"},
		{queue.WasDelivered, queue.Sent, "dot", queue.Reply{Code: 250}, "2.0.0"},
	} {
		rc := queue.Recipient{Last: queue.Attempt{Outcome: c.outcome, Stage: c.stage, Reply: c.reply}}
		if got := status(c.kind, rc); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

// TestWhoseFault: what we decided ourselves is not laid at the other server's door.
func TestWhoseFault(t *testing.T) {
	for name, c := range map[string]struct {
		kind queue.Kind
		last queue.Attempt
		want string
	}{
		"too big": {queue.WasFailed, queue.Attempt{Outcome: queue.Refused, Stage: "mail", Host: "mx.example.org",
			Why: "the message has 100 octets, mx.example.org takes 30", Reply: queue.Reply{Status: "5.3.4"}},
			"This server could not send it: the message has 100 octets, mx.example.org takes 30"},
		"needs UTF8": {queue.WasFailed, queue.Attempt{Outcome: queue.Refused, Stage: "rcpt", Host: "mx.example.org",
			Why: "the address is not ASCII", Reply: queue.Reply{Status: "5.6.7"}},
			"This server could not send it: the address is not ASCII"},
		"password": {queue.WasDelayed, queue.Attempt{Outcome: queue.Deferred, Ours: true, Stage: "auth", Why: "neither AUTH PLAIN nor AUTH LOGIN is offered"},
			"This server could not send it: neither AUTH PLAIN nor AUTH LOGIN is offered"},
		"null MX": {queue.WasFailed, queue.Attempt{Outcome: queue.Refused, Stage: "resolve", Why: "x takes no mail (null MX)", Reply: queue.Reply{Status: "5.1.10"}},
			"No mail server was found for the address: x takes no mail (null MX)"},
		"gate": {queue.WasDelayed, queue.Attempt{Outcome: queue.Deferred, Ours: true, Stage: "gate", Why: "PTR-EXISTS of wan4"},
			"This server is not ready to send it: PTR-EXISTS of wan4"},
		"lost": {queue.WasFailed, queue.Attempt{Outcome: queue.Deferred, Stage: "mail", Why: "connection lost"},
			"The other server could not be talked to: connection lost"},
		"unreachable": {queue.WasFailed, queue.Attempt{Outcome: queue.Deferred, Stage: "connect", Why: "connection refused"},
			"The other server could not be reached: connection refused"},
	} {
		e := event(c.kind)
		e.Recipients[0].Last = c.last
		p := parse(t, write(t, e).text, false)
		if got := strings.Join(strings.Fields(p.words), " "); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, p.words)
		}
		if c.last.Ours && (strings.Contains(p.words, "tried until") || p.recipients[0].Get("Will-Retry-Until") != "") {
			t.Errorf("%s: what waits on us has no such end: %s", name, p.words)
		}
		if want := c.last.Reply.Status; want != "" && p.recipients[0].Get("Status") != want {
			t.Errorf("%s: status %s", name, p.recipients[0].Get("Status"))
		}
	}
}

package preflight

import (
	"testing"
	"time"
)

// What a reply quotes has to be ours: what an exchanger passes on of another sender,
// and a code that stands in an address of the envelope, are no fault of ours.
func TestOfUs(t *testing.T) {
	mine := Mail{Envelope: "bounces.example.net", Author: "example.net"}
	for _, c := range []struct {
		host string
		code int
		text string
		want bool
	}{
		{"aspmx.l.google.com", 550, "The MAIL FROM domain [bounces.example.net] has an SPF record with a hard fail policy (-all) but it fails to pass", true},
		{"aspmx.l.google.com", 550, "The MAIL FROM domain [Example.NET] has an SPF record with a hard fail policy (-all) but it fails", true},
		{"aspmx.l.google.com", 550, "The MAIL FROM domain [srs.forwarder.example] has an SPF record with a hard fail policy (-all) but it fails", false},
		{"aspmx.l.google.com", 550, "The MAIL FROM domain has an SPF record with a hard fail policy (-all) but it fails", true},
		{"aspmx.l.google.com", 550, "Unauthenticated email from other.example is not accepted due to domain's DMARC policy.", false},
		{"aspmx.l.google.com", 550, "Unauthenticated email from example.net is not accepted due to domain's DMARC policy. Please contact the administrator of other.example domain", true},
		{"aspmx.l.google.com", 550, "Gmail requires all senders to authenticate with either SPF or DKIM.\nDKIM = did not pass\nSPF [other.example] with ip: [192.0.2.25] = did not pass", false},
		{"aspmx.l.google.com", 550, "Gmail requires all senders to authenticate with either SPF or DKIM. SPF [mail.example.net] with ip: [192.0.2.25] = did not pass", true},
		{"aspmx.l.google.com", 550, "Gmail requires all large senders to authenticate with SPF. SPF notexample.net with ip 192.0.2.25 = Did not pass", false},
		{"x.mail.protection.outlook.com", 550, "Access denied, sending domain OTHER.EXAMPLE does not pass DMARC verification", false},
		{"x.mail.protection.outlook.com", 550, "Access denied, sending domain [example.net] does not pass DMARC verification", true},
		{"mx02.mail.icloud.com", 554, "Your message was rejected due to other.example's DMARC policy.", false},
		{"mx02.mail.icloud.com", 554, "Your message was rejected due to example.net's DMARC policy.", true},
		{"mx.dest.example", 450, "<alice@other.example>: Sender address rejected: Domain not found", false},
		{"mx.dest.example", 450, "<alice@bounces.example.net>: Sender address rejected: Domain not found", true},
		{"mx.dest.example", 550, "<bob@dest.example>: Recipient address rejected: Message rejected due to: SPF fail - not authorized", true},
		{"mx.dest.example", 550, "Message rejected due to: SPF fail - not authorized. See http://x/Why?s=mfrom;id=alice@other.example;ip=192.0.2.25", false},
		{"mx.dest.example", 550, "Message rejected due to: SPF fail - not authorized. See http://x/Why?s=mfrom;id=alice%40example.net;ip=192.0.2.25", true},
		{"mx.dest.example", 550, "Message rejected due to: SPF fail - not authorized. See http://x/Why?s=helo;id=mail.example.net;ip=192.0.2.25", true},
		{"mx.dest.example", 450, "<gw.forwarder.example>: Helo command rejected: Host not found", false},
		{"mx.dest.example", 450, "<MAIL.example.net.>: Helo command rejected: Host not found", true},
		{"aspmx.l.google.com", 501, "HELO/EHLO argument \"gw\" invalid, closing connection.", false},
		{"live-com.olc.protection.outlook.com", 550, "user SC-001 is not known here", false},
		{"live-com.olc.protection.outlook.com", 550, "user SC-001 is not known here: SC-002", true},
		// Not the sender's: what the source is refused for says nothing of domains.
		{"mx.dest.example", 550, "No PTR record found for host of domain other.example", true},
	} {
		r := Reply{Host: c.host, Stage: "rcpt", Code: c.code, Text: c.text, Source: "wan4", Mail: mine, EHLO: "mail.example.net",
			Envelope: []string{"alice@bounces.example.net", "sc-001@live.com"}}
		class, ok := Classify(Operator(r.Host), r.Stage, r.Code, r.Status, r.Text)
		if !ok || class.Of(r) != c.want {
			t.Errorf("%s: known %t, of us %t", c.text, ok, !c.want)
		}
	}
}

// What is said of another domain, name or address is no word against our checks.
func TestHeardOfOthers(t *testing.T) {
	g := sleepy(t).gate(t, nil)
	r := noPTR("mx.one.example")
	r.EHLO, r.Addr = "mail.example.net", there
	for text, want := range map[string]bool{
		"No PTR record found for 192.0.2.25":    true,
		"No PTR record found for 198.51.100.66": false, // Met sees to that one
		"No PTR record found":                   true,
	} {
		g.evidence = newEvidence()
		r.Text = text
		g.Heard(r)
		if heard := !g.evidence.next().IsZero(); heard != want {
			t.Errorf("%s: heard %t", text, heard)
		}
	}
	g.evidence = newEvidence()
	r.Text = "Message rejected due to: SPF fail - not authorized. http://x/Why?s=mfrom;id=x@other.example"
	r.Code = 550
	if g.Heard(r); !g.evidence.next().IsZero() {
		t.Error("another domain's SPF")
	}
}

// Our own words that come back tell nothing of our address.
func TestEchoOfOurWords(t *testing.T) {
	for _, c := range []struct {
		text, said string
		want       bool
	}{
		{"Hello [192.0.2.25]", "[192.0.2.25]", false},
		{"Hello [192.0.2.25]", "mail.example.net", true},
		{"Hello [192.0.2.25]", "mail.192.0.2.25.example.net", true}, // a name, no address
		{"relaying to [192.0.2.25] denied", "bob@[192.0.2.25]", false},
		{"no such user: 192.0.2.25", "192.0.2.25@dest.example", false},
		{"who is \"x 192.0.2.25 y\"@dest.example", "\"x 192.0.2.25 y\"@dest.example", false},
		{"blocked: 192.0.2.25", "alice@example.net", true},
		{"Hello [192.0.2.25]", "[IPv6:2001:db8::25]", true},
	} {
		if a, ok := Echo(c.text, there, true, "mail.example.net", c.said); ok != c.want {
			t.Errorf("%q after %q: %s %t", c.text, c.said, a, ok)
		}
	}
	g := newGateWorld(t).gate(t, nil)
	g.Met(Contact{Source: "wan4", Host: "mx.example.org", Addr: there, EHLO: "mail.example.net", Envelope: []string{"198.51.100.66@example.org"},
		Said: "user 198.51.100.66 unknown", Refused: true})
	for _, v := range g.out.Observed.views("wan4 192.0.2.25", time.Now()) {
		if v.addr.String() == "198.51.100.66" {
			t.Errorf("a word of the envelope became an address of ours: %+v", v)
		}
	}
}

// The name that a session gave is the one that is remembered.
func TestContactRemembersWhatWasSaid(t *testing.T) {
	w := newGateWorld(t)
	g := w.gate(t, nil)
	g.Met(Contact{Source: "wan4", Host: "mx.example.org", Addr: there, EHLO: "Old.example.net.", Said: "mx.example.org"})
	if u := g.out.Observed.used(time.Now()); len(u) != 1 || u[0].EHLO != "old.example.net" {
		t.Errorf("%+v", u)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Who says again and again what our own look does not bear out has us look ever
// more rarely; once it is borne out, or an hour has been quiet, at once again.
func TestInsistenceIsLookedAtMoreRarely(t *testing.T) {
	e, now := newEvidence(), time.Now()
	f := Finding{Check: byID("PTR-EXISTS"), Source: "wan4", Result: Result{Status: Pass, Severity: Mandatory}}
	look := func(status Status) {
		t.Helper()
		e.hear(f, Sender{}, true, voice{"one.example", "550", now})
		now = later(now, e.next())
		if listed, _ := e.take(now); len(listed) != 1 {
			t.Fatal("nothing to look at")
		}
		g := f
		g.Status = status
		e.contradicted(believed([]Finding{g}), now)
	}
	last := now
	for _, want := range []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute} {
		look(Pass)
		if got := now.Sub(last); got != want {
			t.Errorf("looked after %v, want %v", got, want)
		}
		last = now
	}
	look(Pass) // 32 minutes, or as soon as the first word is old
	if got := now.Sub(last); got < 16*time.Minute {
		t.Errorf("looked after %v", got)
	}
	last = now
	look(Fail)
	if got := now.Sub(last); got > evidenceLife {
		t.Errorf("looked after %v", got)
	}
	last = now
	if look(Pass); now.Sub(last) != evidenceRest {
		t.Errorf("after it was borne out: %v", now.Sub(last))
	}
	now = now.Add(evidenceLife)
	last = now
	if look(Pass); now.Sub(last) != 0 {
		t.Errorf("after an hour of silence: %v", now.Sub(last))
	}
}

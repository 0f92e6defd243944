package report

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"

	"smtprelay/queue"
)

// notice is a delivery status notification, ready to queue.
type notice struct {
	text   []byte // header and body, CRLF lines of at most 998 octets
	id     string // its Message-ID
	author string // domain of its From
	body   string // what it asks of SMTP (queue.Envelope.Body)
}

// rfc5322 is the form of dates (RFC 5322 section 3.3).
const rfc5322 = "Mon, 02 Jan 2006 15:04:05 -0700"

var subjects = map[queue.Kind]string{
	queue.WasFailed:    "Your message could not be delivered",
	queue.WasDelayed:   "Your message is delayed",
	queue.WasDelivered: "Your message was passed on",
}

// actions by RFC 3464 section 2.3.3. What we deliver we pass on: only the next
// server knows whether it reached a mailbox.
var actions = map[queue.Kind]string{
	queue.WasFailed:    "failed",
	queue.WasDelayed:   "delayed",
	queue.WasDelivered: "relayed",
}

// notice writes the three parts of a multipart/report (RFC 6522): words for
// people, fields for programs, and the message it is about.
func (r *Reporter) notice(e queue.Event, told []queue.Recipient) (*notice, error) {
	orig, err := original(e)
	if err != nil {
		return nil, err
	}
	n := &notice{author: domainOf(r.o.Postmaster), body: "7BIT"}
	n.id = "<" + r.token() + "@" + n.author + ">"
	to := e.Message.Envelope.From
	if !ascii(to) {
		n.body = "8BITMIME" // SMTPUTF8 comes with it (RFC 6531 section 3.2)
	}
	boundary := r.token()

	var b bytes.Buffer
	r.header(&b, e, n.id, boundary)
	begin := func(fields string) { fmt.Fprintf(&b, "\r\n--%s\r\n%s\r\n", boundary, fields) }
	words := r.words(e, told)
	if ascii(words) {
		begin("Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n")
		b.WriteString(words)
	} else {
		begin("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n")
		quote(&b, []byte(words))
	}
	begin("Content-Type: message/delivery-status\r\n")
	r.status(&b, e, told)
	begin("Content-Type: " + orig.kind + "\r\nContent-Transfer-Encoding: " + orig.encoding + "\r\n")
	if orig.encoding == "7bit" {
		b.Write(orig.text)
	} else {
		quote(&b, orig.text)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	n.text = b.Bytes()
	return n, nil
}

func (r *Reporter) header(b *bytes.Buffer, e queue.Event, id, boundary string) {
	field(b, "From", "Mail Delivery System <"+printable(r.o.Postmaster)+">")
	to := printable(e.Message.Envelope.From)
	if len(to) <= 500 {
		field(b, "To", "<"+to+">")
	} else {
		field(b, "To", "undisclosed-recipients:;")
	}
	field(b, "Subject", subjects[e.Kind])
	field(b, "Date", r.now().UTC().Format(rfc5322))
	field(b, "Message-ID", id)
	if ref := messageID(e.Message.MessageID); ref != "" {
		field(b, "In-Reply-To", ref)
		field(b, "References", ref)
	}
	field(b, "Auto-Submitted", "auto-replied") // RFC 3834 section 5
	field(b, "MIME-Version", "1.0")
	field(b, "Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
}

// status writes the fields of RFC 3464: one block for the message, one for each
// recipient.
func (r *Reporter) status(b *bytes.Buffer, e queue.Event, told []queue.Recipient) {
	m := e.Message
	if m.Envelope.EnvelopeID != "" {
		field(b, "Original-Envelope-Id", clean(m.Envelope.EnvelopeID, 200))
	}
	field(b, "Reporting-MTA", "dns; "+clean(r.o.Hostname, 255))
	if !m.Received.IsZero() {
		field(b, "Arrival-Date", m.Received.UTC().Format(rfc5322))
	}
	for _, rc := range told {
		b.WriteString("\r\n")
		if rc.Original != "" {
			field(b, "Original-Recipient", originalRecipient(rc.Original))
		}
		field(b, "Final-Recipient", typed(rc.Address))
		field(b, "Action", actions[e.Kind])
		field(b, "Status", status(e.Kind, rc))
		a := rc.Last
		if a.Host != "" {
			field(b, "Remote-MTA", "dns; "+clean(a.Host, 255))
		}
		switch {
		case a.Reply.Code != 0:
			field(b, "Diagnostic-Code", "smtp; "+diagnosis(a.Reply))
		case a.Why != "":
			field(b, "Diagnostic-Code", "X-Relay; "+clean(a.Why, maxReply))
		}
		if !a.At.IsZero() {
			field(b, "Last-Attempt-Date", a.At.UTC().Format(rfc5322))
		}
		if until := r.until(e, rc); !until.IsZero() {
			field(b, "Will-Retry-Until", until.UTC().Format(rfc5322))
		}
	}
}

// until is when we shall give up; zero when that is not known or has happened, or
// when we wait on ourselves: that time does not count.
func (r *Reporter) until(e queue.Event, rc queue.Recipient) time.Time {
	left := e.Message.Lifetime - rc.Age
	if e.Kind != queue.WasDelayed || rc.State == queue.Held || rc.Last.Ours || left <= 0 {
		return time.Time{}
	}
	return r.now().Add(left)
}

// diagnosis is the remote's reply in one line.
func diagnosis(p queue.Reply) string {
	s := strconv.Itoa(p.Code)
	if p.Status != "" {
		s += " " + p.Status
	}
	return clean(s+" "+p.Text, maxReply)
}

// status is the enhanced code of RFC 3463. The remote's own is used where it
// fits what happened; its class must be that of the action (RFC 3464 section
// 2.3.4), but for 4.4.7, by which an expiry is known.
func status(k queue.Kind, rc queue.Recipient) string {
	class := map[queue.Kind]string{queue.WasFailed: "5", queue.WasDelayed: "4", queue.WasDelivered: "2"}[k]
	if k == queue.WasFailed && expired(rc) {
		return "4.4.7"
	}
	if s := rc.Last.Reply.Status; enhanced(s) && s[:1] == class {
		return s
	}
	if s, _, _ := strings.Cut(rc.Last.Why, " "); enhanced(s) && s[:1] == class { // "5.1.10 null MX": our own word
		return s
	}
	switch {
	case rc.Last.Reply.Code == 0 && rc.Last.Stage == "resolve" && class != "2":
		return class + ".4.4" // unable to route
	case rc.Last.Reply.Code == 0 && rc.Last.Stage == "connect" && class != "2":
		return class + ".4.1" // no answer from host
	}
	return class + ".0.0"
}

// expired says that we gave up, not they.
func expired(rc queue.Recipient) bool { return rc.Last.Outcome == queue.Deferred }

// enhanced says whether s is an enhanced status code (RFC 3463 section 2).
func enhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// quote writes text in quoted-printable (RFC 2045 section 6.7).
func quote(b *bytes.Buffer, text []byte) {
	w := quotedprintable.NewWriter(b)
	w.Write(text) // into memory: no error
	w.Close()
}

package deliver

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/queue"
)

// This file is the only place that decides what trouble means: which error fails
// a recipient, which puts it off, whether another exchanger is worth a try, and
// whether the fault is ours. What is not explained here is temporary.

// decision is an end that we came to without a remote's word.
type decision struct {
	status string        // RFC 3463
	why    string        // in our words
	final  bool          // the recipient fails; else it waits
	ours   bool          // our own verdict or fault
	wait   time.Duration // try again after this; 0: the schedule's
	awaits string        // nothing was tried: the queue is woken when this has come about
}

func (d *decision) Error() string { return d.status + " " + d.why }

// absent is a denial that may be a mistake of the moment: a zone being edited, a
// lame server. It is believed when it is seen twice, a quarter of an hour apart by the
// time we ran: each time what was seen may be as old as a denial that is kept.
type absent struct{ decision }

const (
	confirmAfter = 15*time.Minute + dns.MaxDenial
	confirmWait  = 18 * time.Minute // before the second look; the schedule spreads it by a tenth
)

// confirm says what a denial means for one recipient, by what its last try saw. It was
// asked for at a time that may be a while ago: a trip asks once for many messages. A
// clock that was set, or a time when we were down, brings no two looks apart.
func (a *absent) confirm(r queue.Recipient, asked time.Time) *decision {
	d, last := a.decision, r.Last
	if last.Stage == "resolve" && last.Reply.Status == d.status && last.Reply.Code == 0 &&
		r.Age+r.Ours-last.Waited-time.Since(asked) >= confirmAfter {
		d.final = true
		return &d
	}
	d.wait = confirmWait
	return &d
}

// local is a fault on our side in the middle of a transaction: the stored body
// cannot be read, or the queue cannot take the mark before the final dot.
type local struct{ err error }

func (l *local) Error() string { return l.err.Error() }
func (l *local) Unwrap() error { return l.err }

// next is what may be tried at once; the later it stands here, the more it leaves out.
type next int

const (
	settled     next = iota // nothing
	again                   // the same exchanger, over a new connection
	elsewhere               // another exchanger
	slower                  // nothing, and no other message from this source either
	overIPv4                // an exchanger over IPv4, first the same
	otherSource             // another source, else the smart host
)

// turn is where a message goes after a try, and what the remote's words meant.
type turn struct {
	next
	class preflight.Class // zero: nothing that we know
}

// dialogue is what was said to a remote, by which its own words are judged.
type dialogue struct {
	mail     preflight.Mail
	ehlo     string
	envelope []string
}

// reply is the remote's word of an attempt, as the preflight hears it.
func (d dialogue) reply(a queue.Attempt) preflight.Reply {
	return preflight.Reply{
		Host: a.Host, Stage: a.Stage, Code: a.Reply.Code, Status: a.Reply.Status, Text: a.Reply.Text,
		Source: a.Source, Mail: d.mail, Addr: a.Addr.Addr(), EHLO: d.ehlo, Envelope: d.envelope,
	}
}

// class is what the remote's word of an attempt means, if it is about us.
func (d dialogue) class(a queue.Attempt) (preflight.Class, bool) {
	c, ok := preflight.Classify(preflight.Operator(a.Host), a.Stage, a.Reply.Code, a.Reply.Status, a.Reply.Text)
	return c, ok && c.Of(d.reply(a))
}

// book says how a try ended: a comes with who, where and when, and gets its
// outcome. err is nil when the message was taken with the reply r.
func book(a queue.Attempt, err error, r reply, d dialogue) (queue.Attempt, turn) {
	a.Took = time.Since(a.At)
	var f *fault
	if errors.As(err, &f) {
		a.Stage, a.TLS = f.stage, cmp.Or(a.TLS, f.tls)
	}
	if err == nil {
		a.Stage, a.Outcome, a.Reply = "dot", queue.Sent, apart(r)
		return a, turn{}
	}
	var own *decision
	if errors.As(err, &own) {
		return own.book(a), turn{}
	}
	a.Outcome = queue.Deferred
	var l *local
	switch said, ok := remote(err); {
	case errors.As(err, &l):
		a.Ours = true
		a.Why = printable(l.Error(), 200)
		return a, turn{}
	case ok:
		a.Reply = apart(said)
		return answeredWith(a, d, f != nil && f.botched)
	}
	a.Why = why(err)
	a.Ours = a.Source == smartName && a.Stage != "data" && a.Stage != "dot" || bindFault(err)
	// The final dot may have arrived: another exchanger would make a second
	// copy certain where it is only possible.
	if a.Stage == "dot" {
		return a, turn{}
	}
	return a, turn{next: elsewhere}
}

// wantsMore are the codes by which a server asks for AUTH or TLS, or for more of
// it (RFC 4954 section 6, RFC 5248).
var wantsMore = []int{523, 524, 530, 534, 535, 538}

// answeredWith judges a 4xx or 5xx. Before MAIL a 5xx speaks of us or of the
// exchanger, not of the message: another may take it, and blocks are lifted
// (RFC 5321 section 4.2.1 leaves that to the client). The smart host is the
// operator's choice: what it has against us is ours.
func answeredWith(a queue.Attempt, d dialogue, botched bool) (queue.Attempt, turn) {
	smart, code := a.Source == smartName, a.Reply.Code
	if c, ok := d.class(a); ok {
		a.Class = c.String()
		if n := classed(&a, c); n != settled {
			return a, turn{n, c}
		}
	}
	switch a.Stage {
	case "mail", "rcpt", "data", "dot":
		switch {
		case smart && (slices.Contains(wantsMore, code) || deniesRelay(a)):
			a.Ours = true // it wants AUTH or TLS from us, or does not know us: no fault of the message
		case code == 530 && botched:
			// It wants TLS first, which may work next time.
		case code >= 500:
			a.Outcome = queue.Refused
			return a, turn{}
		}
	default:
		a.Ours = smart
	}
	return a, turn{next: elsewhere}
}

// classed judges a reply that says what is missing. What is ours is never the
// message's fault, and so is a rate or a reputation of ours: it waits on us, and a
// 5xx of it is tried from another source or by the smart host. settled: the code
// alone counts.
func classed(a *queue.Attempt, c preflight.Class) next {
	final := a.Reply.Code >= 500
	switch c.Kind {
	case preflight.KindTheirs:
		return elsewhere // they may mend it within the lifetime
	case preflight.KindContent:
		return settled
	case preflight.KindRate, preflight.KindReputation:
		if c.Kind == preflight.KindRate || !final {
			a.Ours, a.Slow = true, true
			return slower
		}
	case preflight.KindFamily:
		if a.Ours = true; six(a.Addr) {
			return overIPv4
		}
	}
	switch {
	case !a.Ours && !c.Held:
		return settled
	case final:
		a.Ours = true
		return otherSource
	}
	a.Ours = true
	return elsewhere
}

// after judges a by what the same try met before it. Where a reply named what is
// ours, mail only came here because of that: what puts it off here, or a smart
// host that does not serve this sender or destination, is no fault of the message
// either. IPv4 after a refusal over IPv6 is as good a way as if it had been the
// first.
func after(had, a queue.Attempt, t turn) (queue.Attempt, turn) {
	if !had.Ours || had.Class == "" || a.Source != smartName && six(had.Addr) && !six(a.Addr) {
		return a, t
	}
	if a.Outcome == queue.Refused && a.Source == smartName && aboutUs(a) {
		a.Outcome, t.next = queue.Deferred, elsewhere
	}
	if a.Outcome == queue.Deferred && (!a.Ours || a.Class == "") {
		a.Ours, a.Class = true, had.Class
	}
	return a, t
}

// aboutUs: a 5xx speaks of who may send, or where to, not of the message or the
// mailbox. Of the sender are 5.1.7 and 5.1.8, of policy 5.7.X (RFC 3463 sections
// 3.2 and 3.8).
func aboutUs(a queue.Attempt) bool {
	if a.Reply.Code < 500 || a.Stage != "rcpt" {
		return a.Reply.Code >= 500 && a.Stage == "mail"
	}
	switch status := a.Reply.Status; {
	case status == "5.1.7", status == "5.1.8", strings.HasPrefix(status, "5.7."):
		return true
	case status == "", status == "5.0.0", status == "5.1.0":
		return says(a, "sender", "relay", "relaying")
	}
	return false
}

// deniesRelay: a 5xx says that we may not send through there.
func deniesRelay(a queue.Attempt) bool {
	return aboutUs(a) && says(a, "relay", "relaying")
}

func says(a queue.Attempt, words ...string) bool {
	return slices.ContainsFunc(strings.Fields(strings.ToLower(a.Reply.Text)), func(word string) bool {
		return slices.Contains(words, strings.Trim(word, ".,:;()"))
	})
}

func six(a netip.AddrPort) bool { return a.IsValid() && !a.Addr().Unmap().Is4() }

func (d *decision) book(a queue.Attempt) queue.Attempt {
	a.Outcome = queue.Deferred
	if d.final {
		a.Outcome = queue.Refused
	}
	a.Why, a.Ours, a.Wait, a.Awaits = d.why, d.ours, d.wait, d.awaits
	a.Reply.Status = d.status
	return a
}

// bindFault: our own address is not there to send from.
func bindFault(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }

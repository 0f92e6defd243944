// Package report tells what became of a message: the operator by one log line
// for each recipient, the sender by a delivery status notification (RFC 3464)
// that goes back into the queue like any other mail. A notice has the null
// sender and none is made for it, so a bounce never bounces.
package report

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"strings"
	"time"

	"smtprelay/queue"
)

// Signer signs notices; sign has one.
type Signer interface {
	Sign(domain string, r io.Reader) ([]byte, error)
}

// Reporter is the queue's reporter.
type Reporter struct {
	o     Options
	in    queue.Intake
	sign  Signer
	log   *slog.Logger
	now   func() time.Time
	token func() string // a word nobody can guess, for boundaries and message ids
}

// New makes a Reporter whose notices enter the queue by in. A nil signer leaves
// them unsigned.
func New(o Options, in queue.Intake, s Signer) *Reporter {
	if o.Postmaster == "" {
		o.Postmaster = "MAILER-DAEMON@" + o.Hostname
	}
	if a, err := mail.ParseAddress(o.Postmaster); err == nil {
		o.Postmaster = a.Address
	}
	if o.Lifetime == 0 {
		o.Lifetime = 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reporter{o: o, in: in, sign: s, log: o.Log, now: time.Now, token: rand.Text}
}

// Report logs the event and queues a notice when one is due. An error means
// that the notice is not in the queue: nothing was logged, and the same event
// is to be reported again. A delivery is logged in any case, it does not come
// again.
func (r *Reporter) Report(ctx context.Context, e queue.Event) error {
	if e.Kind == queue.WasDelivered {
		r.lines(ctx, e)
	}
	if told := recipients(e); len(told) > 0 {
		id, err := r.queue(ctx, e, told)
		if err != nil {
			return fmt.Errorf("queue notice about %s: %w", e.Message.ID, err)
		}
		r.log.Info("notice queued", "id", id, "to", e.Message.Envelope.From, "reason", string(e.Kind)+" "+string(e.Message.ID))
	}
	if e.Kind != queue.WasDelivered {
		r.lines(ctx, e)
	}
	return nil
}

// recipients returns those whom the sender is to be told about (RFC 3461
// section 4.1: without NOTIFY, failures and delays).
func recipients(e queue.Event) []queue.Recipient {
	if e.Message.Envelope.From == "" {
		return nil // never a bounce of a bounce (RFC 5321 section 4.5.5)
	}
	word, unasked := "", true
	switch e.Kind {
	case queue.WasFailed:
		word = "FAILURE"
	case queue.WasDelayed:
		word = "DELAY"
	case queue.WasDelivered:
		word, unasked = "SUCCESS", false
	default:
		return nil
	}
	var told []queue.Recipient
	for _, rc := range e.Recipients {
		asked := false
		for w := range strings.SplitSeq(rc.Notify, ",") {
			asked = asked || strings.EqualFold(strings.TrimSpace(w), word)
		}
		if e.Kind == queue.WasDelivered && rc.Last.DSN {
			continue // the remote knows NOTIFY and was given it (RFC 3461 section 5.2.2)
		}
		if asked || rc.Notify == "" && unasked {
			told = append(told, rc)
		}
	}
	return told
}

// queue makes the notice a message of its own: durable when it returns.
func (r *Reporter) queue(ctx context.Context, e queue.Event, told []queue.Recipient) (queue.ID, error) {
	n, err := r.notice(e, told)
	if err != nil {
		return "", err
	}
	d, err := r.in.Create(ctx)
	if err != nil {
		return "", err
	}
	defer d.Abort()
	if _, err := d.Write(n.text); err != nil {
		return "", err
	}
	head, err := r.signed(d, n.author)
	if err != nil {
		return "", err
	}
	to := e.Message.Envelope.From
	return d.Commit(ctx, &queue.Message{
		Envelope:  queue.Envelope{Body: n.body, UTF8: !ascii(to), RequireTLS: e.Message.Envelope.RequireTLS},
		Author:    n.author,
		MessageID: n.id,
		Head:      head,
		Lifetime:  r.o.Lifetime,
	}, []queue.Recipient{{Address: to, Domain: domainOf(to)}})
}

// signed returns the signature fields. A notice that cannot be signed goes out
// without: the sender must hear of his mail.
func (r *Reporter) signed(d queue.Draft, author string) ([]byte, error) {
	if r.sign == nil {
		return nil, nil
	}
	text, err := d.Reader()
	if err != nil {
		return nil, err
	}
	defer text.Close()
	head, err := r.sign.Sign(author, text)
	if err != nil {
		r.log.Warn("notice not signed", "domain", author, "err", err)
	}
	return head, nil
}

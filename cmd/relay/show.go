package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"smtprelay/preflight"
	"smtprelay/relay/admin"
)

// show prints one message for a person.
func show(w io.Writer, e admin.Entry) error {
	m := e.Message
	var b strings.Builder
	fmt.Fprintf(&b, "%s  from %s, %d octets, received %s\n", m.ID, address(m.Envelope.From), m.Size, m.Received.UTC().Format(time.RFC3339))
	if m.MessageID != "" {
		fmt.Fprintf(&b, "  message-id  %s\n", m.MessageID)
	}
	if m.Submitter != "" {
		fmt.Fprintf(&b, "  submitted by  %s\n", m.Submitter)
	}
	for _, r := range e.Recipients {
		fmt.Fprintf(&b, "\n  to %s  %s", r.Address, r.State)
		if r.Reason != "" {
			fmt.Fprintf(&b, ": %s", r.Reason)
		}
		fmt.Fprintf(&b, "\n    tries %d, waited %s", r.Tries, short(r.Age))
		if r.Ours > 0 {
			fmt.Fprintf(&b, " and %s for our own sake, which does not count towards its lifetime", short(r.Ours))
		}
		fmt.Fprintf(&b, ", next %s\n", next(r))
		b.WriteString(lastAttempt(r.Last))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func lastAttempt(a admin.Attempt) string {
	if a.At.IsZero() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "    last try %s, %s at %s", a.At.UTC().Format(time.RFC3339), a.Outcome, a.Stage)
	if a.Host != "" {
		fmt.Fprintf(&b, " by %s to %s (%s)", a.Source, a.Host, a.Addr)
	}
	if a.TLS != "" {
		fmt.Fprintf(&b, " %s", a.TLS)
	}
	b.WriteByte('\n')
	if a.Reply.Code != 0 {
		fmt.Fprintf(&b, "      they said: %d %s %s\n", a.Reply.Code, a.Reply.Status, strings.ReplaceAll(a.Reply.Text, "\n", "\n      "))
	}
	if a.Class != "" {
		fmt.Fprintf(&b, "      which names: %s\n", a.Class)
	}
	if c, ok := preflight.Classify(preflight.Operator(a.Host), a.Stage, a.Reply.Code, a.Reply.Status, a.Reply.Text); ok && a.Class != "" {
		fmt.Fprintf(&b, "      what to do: %s\n", c.Do)
	}
	if a.Why != "" {
		fmt.Fprintf(&b, "      %s\n", a.Why)
	}
	return b.String()
}

func address(a string) string {
	if a == "" {
		return "<>"
	}
	return a
}

func next(r admin.Recipient) string {
	if r.State != "waiting" {
		return "-"
	}
	d := time.Until(r.Next)
	if d <= 0 {
		return "now"
	}
	return "in " + short(d)
}

// short is a duration a person can compare: one or two units.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

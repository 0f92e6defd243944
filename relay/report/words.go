package report

import (
	"cmp"
	"fmt"
	"strings"

	"smtprelay/queue"
)

// words is the part for people: what happened, to which address, what the
// remote said, what to do. CRLF lines.
func (r *Reporter) words(e queue.Event, told []queue.Recipient) string {
	p := &page{}
	p.para(0, "This is the mail server "+clean(r.o.Hostname, 255)+".")
	addresses := "the address"
	if len(told) > 1 {
		addresses = fmt.Sprintf("the %d addresses", len(told))
	}
	switch e.Kind {
	case queue.WasFailed:
		p.para(0, "Your message could not be delivered to "+addresses+" below. It will not be tried again.")
	case queue.WasDelayed:
		p.para(0, "Your message has not been delivered yet to "+addresses+" below. It will be tried again: there is nothing you need to do.")
	case queue.WasDelivered:
		p.para(0, "Your message was passed on to the mail server for "+addresses+" below. Only that server knows whether it reached a mailbox.")
	}
	for _, rc := range told {
		p.para(0, printable(rc.Address))
		r.story(p, e, rc)
	}
	m := e.Message
	p.para(0, "Your message:")
	if !m.Received.IsZero() {
		p.line(4, "taken over on "+m.Received.UTC().Format(rfc5322))
	}
	if id := messageID(m.MessageID); id != "" {
		p.line(4, "its Message-ID is "+id)
	}
	p.line(4, "here it was number "+clean(string(m.ID), 100))
	p.para(0, "Details for whoever runs your mail, and the header of your message, are attached.")
	return p.b.String()
}

// story tells of one recipient.
func (r *Reporter) story(p *page, e queue.Event, rc queue.Recipient) {
	a := rc.Last
	host := clean(a.Host, 255)
	if host == "" {
		host = "the other server"
	}
	switch {
	case e.Kind == queue.WasDelivered:
		p.line(4, host+" took it.")
		return
	case e.Kind == queue.WasFailed && expired(rc):
		p.line(4, fmt.Sprintf("It was tried %s, for too long. What happened last:", times(rc.Tries)))
	}
	if a.Reply.Code != 0 {
		p.line(4, host+" "+refusal(a.Stage)+". It said:")
		p.reply(8, a.Reply)
	} else {
		p.line(4, trouble(a)+": "+clean(cmp.Or(a.Why, rc.Reason, "no reason was given"), maxReply))
	}
	if until := r.until(e, rc); !until.IsZero() {
		p.line(4, "It will be tried until "+until.UTC().Format(rfc5322)+". You will hear of it if that fails.")
	}
	if e.Kind == queue.WasFailed {
		p.line(4, "What to do: "+advice(rc))
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// refusal says at what a remote balked.
func refusal(stage string) string {
	switch stage {
	case "mail":
		return "would not take mail from your address"
	case "rcpt":
		return "would not take mail for this address"
	case "data", "dot":
		return "would not take this message"
	}
	return "would not talk to us"
}

// trouble says where it ended when nobody refused.
func trouble(a queue.Attempt) string {
	switch {
	case a.Stage == "resolve":
		return "No mail server was found for the address"
	case a.Stage == "gate":
		return "This server is not ready to send it"
	case a.Stage == "policy":
		return "The way to the other server is not safe enough"
	case a.Ours, a.Outcome == queue.Refused: // by us, that is
		return "This server could not send it"
	case a.Stage == "connect", a.Stage == "greet":
		return "The other server could not be reached"
	}
	return "The other server could not be talked to"
}

// advice follows the subject of the status code (RFC 3463 section 3).
func advice(rc queue.Recipient) string {
	s := status(queue.WasFailed, rc)
	_, detail, _ := strings.Cut(s, ".")
	subject, _, _ := strings.Cut(detail, ".")
	switch {
	case s == "4.4.7":
		return "send it again later, or reach the recipient in another way."
	case detail == "2.2":
		return "the mailbox is full; reach the recipient in another way, or send it again later."
	case detail == "3.4" || detail == "2.3" || rc.Last.Reply.Code == 552:
		return "the message is too large for them; send a smaller one."
	case subject == "1" && rc.Last.Stage != "mail":
		return "look for a mistake in the address, and send the message again to the right one."
	case subject == "4":
		return "look for a mistake in the part of the address after the @; if it is right, tell the recipient in another way."
	case subject == "7":
		return "their rules refused it; show this notice to whoever runs your mail, the answer above says why."
	}
	return "show this notice to whoever runs your mail, or reach the recipient in another way."
}

// page is text wrapped for a terminal.
type page struct{ b strings.Builder }

// para begins a paragraph.
func (p *page) para(indent int, text string) {
	if p.b.Len() > 0 {
		p.b.WriteString("\r\n")
	}
	p.line(indent, text)
}

// line wraps at spaces; a word longer than maxWord is broken.
func (p *page) line(indent int, text string) {
	at, pad := 0, strings.Repeat(" ", indent)
	for word := range strings.FieldsSeq(text) {
		for word != "" {
			var part string
			part, word = piece(word)
			switch {
			case at == 0:
				p.b.WriteString(pad)
				at = indent
			case at+1+len(part) > width:
				p.b.WriteString("\r\n" + pad)
				at = indent
			default:
				p.b.WriteByte(' ')
				at++
			}
			p.b.WriteString(part)
			at += len(part)
		}
	}
	p.b.WriteString("\r\n")
}

// reply quotes what a remote said, line by line.
func (p *page) reply(indent int, r queue.Reply) {
	said := fmt.Sprint(r.Code)
	if r.Status != "" {
		said += " " + clean(r.Status, 20)
	}
	room := maxReply
	for text := range strings.SplitSeq(r.Text, "\n") {
		text = clean(text, room)
		if said += " " + text; strings.TrimSpace(said) != "" {
			p.line(indent, said)
		}
		if said, room = "", room-len(text)-1; room <= 0 {
			break
		}
	}
}

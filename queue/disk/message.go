package disk

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"smtprelay/queue"
)

// message is the record of a message.
type message struct {
	queue.Message
	Sum   []byte // SHA-256 of the stored body
	File  bool   // the body is a file, not a value
	Count int    // how many recipients it had at first
}

// The payload of a message's record:
//
//	0   Sum
//	32  flags: 1 File
//	33  Count
//	37  length of Head
//	41  Head, then the rest as a document
const messageFixed = 32 + 1 + 4 + 4

// appendMessage appends the record to an empty b.
func appendMessage(b []byte, m *message) ([]byte, error) {
	rest := m.Message
	rest.Head = nil
	doc, err := json.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	b = append(begin(b), m.Sum...)
	b = append(b, flags(m.File))
	b = binary.BigEndian.AppendUint32(b, uint32(m.Count))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Head)))
	b = append(b, m.Head...)
	return finish(append(b, doc...)), nil
}

// decodeMessage also holds the record against its key.
func decodeMessage(id queue.ID, b []byte) (*message, error) {
	p, err := open(b)
	if err != nil {
		return nil, err
	}
	if len(p) < messageFixed || p[32] > flagsAll {
		return nil, errDamage("the record of message %s makes no sense", id)
	}
	m := &message{
		Sum: append([]byte(nil), p[:32]...), File: p[32]&flagFile != 0,
		Count: int(binary.BigEndian.Uint32(p[33:])),
	}
	head := uint64(binary.BigEndian.Uint32(p[37:]))
	if p = p[messageFixed:]; head > uint64(len(p)) {
		return nil, errDamage("the record of message %s is cut short", id)
	}
	if err := json.Unmarshal(p[head:], &m.Message); err != nil {
		return nil, errDamage("%v", err)
	}
	if m.ID != id || m.Size < 0 || m.Count < 1 {
		return nil, errDamage("the record is not that of message %s", id)
	}
	m.Head = nil
	if head > 0 {
		m.Head = append(m.Head, p[:head]...)
	}
	return m, nil
}

// checkText refuses what a JSON document would not give back unchanged.
func checkText(m *queue.Message, rs []queue.Recipient) error {
	for _, s := range [...]string{m.Envelope.From, m.Envelope.EnvelopeID, m.Author, m.MessageID, m.Submitter} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("message with %q: not UTF-8", s)
		}
	}
	for i := range rs {
		r := &rs[i]
		for _, s := range [...]string{r.Address, r.Domain, r.Original, r.Notify} {
			if !utf8.ValidString(s) {
				return fmt.Errorf("recipient %d with %q: not UTF-8", r.N, s)
			}
		}
		if r.State != "" && stateCode(r.State) == 0 {
			return fmt.Errorf("recipient %d is %s: nothing is left to do for it", r.N, r.State)
		}
	}
	return nil
}

package report

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"smtprelay/queue"
)

// maxReturn bounds what a notice returns of the message.
const maxReturn = 64 << 10

// returned is the part of a notice that holds the message or its header.
type returned struct {
	kind     string // media type
	encoding string // 7bit or quoted-printable
	text     []byte
}

// original reads what the notice returns: the header, or the whole message when
// RET=FULL asks for it, it failed, it is small, and it can travel as it is
// (message/rfc822 must not be encoded, RFC 2046 section 5.2.1). A header longer
// than the cap is cut at the end of a line. What the store has lost is left out.
func original(e queue.Event) (returned, error) {
	m := e.Message
	text, err := read(e)
	if err != nil {
		return returned{}, err
	}
	// A message that must not travel without TLS is not copied (RFC 8689 section 5).
	full := m.Envelope.Return == "FULL" && e.Kind == queue.WasFailed && !m.Envelope.RequireTLS
	if whole := int64(len(m.Head))+m.Size <= maxReturn; full && whole && plain(text) {
		return returned{"message/rfc822", "7bit", text}, nil
	}
	text = header(text)
	switch {
	case plain(text):
		return returned{"text/rfc822-headers", "7bit", text}, nil
	case m.Envelope.UTF8 && utf8.Valid(text):
		return returned{"message/global-headers", "quoted-printable", text}, nil // RFC 6533 section 6
	}
	return returned{"text/rfc822-headers; charset=utf-8", "quoted-printable", text}, nil
}

// read returns the message as it went over the wire, as much as is returned at most.
func read(e queue.Event) ([]byte, error) {
	head := e.Message.Head
	if e.Head == nil {
		return head[:min(len(head), maxReturn)], nil
	}
	body, err := e.Head()
	if err == nil {
		defer body.Close()
		var text []byte
		text, err = io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head), body), maxReturn))
		if err == nil {
			return text, nil
		}
	}
	if errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrDamaged) {
		return head[:min(len(head), maxReturn)], nil
	}
	return nil, err
}

// header cuts text after its header, or after the last whole line of it.
func header(text []byte) []byte {
	if i := bytes.Index(text, []byte("\r\n\r\n")); i >= 0 {
		return text[:i+2]
	}
	return text[:bytes.LastIndexByte(text, '\n')+1]
}

// plain says whether text is what 7bit means (RFC 2045 section 2.7).
func plain(text []byte) bool {
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > 998 {
			return false
		}
		for _, c := range line {
			if c == 0 || c == '\r' || c == '\n' || c >= utf8.RuneSelf {
				return false
			}
		}
	}
	return true
}

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// line is one line of a body, its end included.
const line = 78

// idField names the message to the sink.
const idField = "X-Bench-Id: "

// headSize is about what the header takes.
const headSize = 300

// mail makes the messages of a run and knows them again: every number has a body of its
// own, text that does not compress, and the sink compares it octet for octet.
type mail struct {
	size int // octets of a message, about
	pool []byte
}

// newMail makes messages of about size octets.
func newMail(size int) *mail {
	m := &mail{size: size}
	rng := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, (line-2)/4*3)
	for len(m.pool) < 2*size+(1<<20) {
		rng.Read(raw)
		m.pool = base64.StdEncoding.AppendEncode(m.pool, raw)
		m.pool = append(m.pool, "\r\n"...)
	}
	return m
}

// body of message number id.
func (m *mail) body(id int) []byte {
	n := max(1, (m.size-headSize)/line) * line
	places := (len(m.pool) - n) / line
	at := id % places * line
	return m.pool[at : at+n]
}

// number stands for a message's, in its text.
const number = "\x00"

// append message id to buf, as it goes over the wire without the final dot.
func (m *mail) append(buf []byte, id int, from, to string) []byte {
	for _, part := range [...]string{
		"From: Bench <", from, ">\r\nTo: <", to, ">\r\nSubject: message ", number,
		"\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <", number, ".bench@" + senderDomain + ">\r\n",
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n" + idField, number, "\r\n\r\n",
	} {
		if part == number {
			buf = strconv.AppendInt(buf, int64(id), 10)
			continue
		}
		buf = append(buf, part...)
	}
	return append(buf, m.body(id)...)
}

// read tells which message arrived. An error says how it differs from what was sent.
func (m *mail) read(data []byte) (id int, signed bool, err error) {
	head, body, ok := bytes.Cut(data, []byte("\r\n\r\n"))
	if !ok {
		return 0, false, fmt.Errorf("no end of the header in %d octets", len(data))
	}
	_, rest, ok := bytes.Cut(head, []byte("\r\n"+idField))
	if !ok {
		return 0, false, fmt.Errorf("no field %q in the header", idField)
	}
	number, _, _ := bytes.Cut(rest, []byte("\r\n"))
	id, err = strconv.Atoi(string(number))
	if err != nil || id < 0 {
		return 0, false, fmt.Errorf("the message's number is %q", number)
	}
	if !bytes.Equal(body, m.body(id)) {
		return 0, false, fmt.Errorf("the body of message %d is not what was sent", id)
	}
	return id, bytes.HasPrefix(head, []byte("DKIM-Signature:")) || bytes.Contains(head, []byte("\r\nDKIM-Signature:")), nil
}

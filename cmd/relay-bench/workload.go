package main

import (
	"fmt"
	"time"
)

// workload is one way to use a mail server.
type workload struct {
	name, title string
	clients     int
	kept        bool // connections are kept
	size        int  // octets of a message
	messages    int
	many        bool // 1,000 destinations, not one
	bad         bool // of which a third does not take mail
	waiting     int  // messages that wait for a dead destination meanwhile
	dkim        bool
}

const (
	small = 4 << 10
	large = 100 << 10
)

var workloads = []workload{
	{name: "W1", title: "20 clients, a connection for each message of 4 KiB, one destination", clients: 20, size: small, messages: 10000},
	{name: "W2", title: "as W1, connections kept", clients: 20, kept: true, size: small, messages: 10000},
	{name: "W3", title: "as W2, messages of 100 KiB", clients: 20, kept: true, size: large, messages: 2000},
	{name: "W4", title: "one client, one message of 4 KiB after another", clients: 1, kept: true, size: small, messages: 2000},
	{name: "W5", title: "as W2, 1,000 destination domains by DNS", clients: 20, kept: true, size: small, messages: 10000, many: true},
	{name: "W6", title: "as W5, a third of the domains bad: of nine one answers 451, one never greets, one loses every packet; the figures are of the others' mail", clients: 20, kept: true, size: small, messages: 10000, many: true, bad: true},
	{name: "W7", title: "as W2, while others wait for a destination that cannot be reached", clients: 20, kept: true, size: small, messages: 10000, waiting: 100000},
	{name: "W8", title: "as W2, 100 clients", clients: 100, kept: true, size: small, messages: 10000},
	{name: "D1", title: "as W1, signed with DKIM (RSA, 2048 bits)", clients: 20, size: small, messages: 10000, dkim: true},
	{name: "D2", title: "as W2, signed with DKIM (RSA, 2048 bits)", clients: 20, kept: true, size: small, messages: 10000, dkim: true},
}

// words tell a person what it is.
func (w workload) words() string {
	text := fmt.Sprintf("%s: %s; %d messages", w.name, w.title, w.messages)
	if w.waiting > 0 {
		text += fmt.Sprintf(" while %d wait", w.waiting)
	}
	return text
}

// scaled to a part of its messages.
func (w workload) scaled(by float64) workload {
	w.messages = max(w.clients, int(float64(w.messages)*by))
	w.waiting = int(float64(w.waiting) * by)
	return w
}

// domain of message id.
func (w workload) domain(id int) int {
	if w.many {
		return id % domains
	}
	return 0
}

func (w workload) rcpt(id int) string { return fmt.Sprintf("reader@%s", domain(w.domain(id))) }

// expected tells whether message id can arrive.
func (w workload) expected(id int) bool { return !w.bad || fate(w.domain(id)) == takes }

// ceiling tells whether the generator's way straight to the sink bounds it.
func (w workload) ceiling() bool { return !w.many && w.waiting == 0 && !w.dkim }

const (
	runLimit  = 3 * time.Minute  // of a run, from its first message on
	fillLimit = 15 * time.Minute // to take the messages that wait
)

package main

import (
	"fmt"
	"strings"
	"sync"
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
	backlog     int  // messages that have been deferred already when the system starts: relay only
	dkim        bool
	rounds      int // how often each has its turn, where the command line does not say
}

const (
	small = 4 << 10
	large = 100 << 10
)

var workloads = []workload{
	{name: "W1", title: "20 clients, a connection for each message of 4 KiB, one destination", clients: 20, size: small, messages: 10000, rounds: 3},
	{name: "W2", title: "as W1, connections kept", clients: 20, kept: true, size: small, messages: 10000, rounds: 3},
	{name: "W3", title: "as W2, messages of 100 KiB", clients: 20, kept: true, size: large, messages: 2000, rounds: 2},
	{name: "W4", title: "one client, one message of 4 KiB after another", clients: 1, kept: true, size: small, messages: 2000, rounds: 3},
	{name: "W5", title: "as W2, 1,000 destination domains by DNS", clients: 20, kept: true, size: small, messages: 10000, many: true, rounds: 3},
	{name: "W6", title: "as W5, a third of the domains bad: of nine one answers 451, one never greets, one loses every packet; the figures are of the others' mail", clients: 20, kept: true, size: small, messages: 10000, many: true, bad: true, rounds: 2},
	{name: "W7", title: "as W2, while others wait for a destination that cannot be reached", clients: 20, kept: true, size: small, messages: 10000, waiting: 100000, rounds: 1},
	{name: "W8", title: "as W2, 100 clients", clients: 100, kept: true, size: small, messages: 10000, rounds: 3},
	{name: "D1", title: "as W1, signed with DKIM (RSA, 2048 bits)", clients: 20, size: small, messages: 10000, dkim: true, rounds: 2},
	{name: "D2", title: "as W2, signed with DKIM (RSA, 2048 bits)", clients: 20, kept: true, size: small, messages: 10000, dkim: true, rounds: 2},
	{name: "M", title: "as W2, beside messages for 1,000 domains that were deferred before the start", clients: 20, kept: true, size: small, messages: 20000, backlog: 1000000, rounds: 1},
}

// words tell a person what it is.
func (w workload) words() string {
	text := fmt.Sprintf("%s: %s; %d messages", w.name, w.title, w.messages)
	if n := w.waiting + w.backlog; n > 0 {
		text += fmt.Sprintf(", while %d wait", n)
	}
	return text
}

// scaled to a part of its messages.
func (w workload) scaled(by float64) workload {
	w.messages = max(w.clients, int(float64(w.messages)*by))
	w.waiting = int(float64(w.waiting) * by)
	w.backlog = int(float64(w.backlog) * by)
	return w
}

// domain of message id.
func (w workload) domain(id int) int {
	if w.many {
		return id % domains
	}
	return 0
}

func (w workload) rcpt(id int) string { return rcpts()[w.domain(id)] }

// rcpts has the recipient in each domain.
var rcpts = sync.OnceValue(func() (all []string) {
	for i := range domains {
		all = append(all, "reader@"+domain(i))
	}
	return all
})

// expected tells whether message id can arrive.
func (w workload) expected(id int) bool { return !w.bad || fate(w.domain(id)) == takes }

// ceiling tells whether the generator's way straight to the sink bounds it.
func (w workload) ceiling() bool { return !w.bad && w.backlog == 0 }

// takesPart tells whether a system does: a backlog is written for relay alone, and how
// it signs makes a difference only where it does.
func (w workload) takesPart(system string) bool {
	return (w.backlog == 0 || system == "relay") && (w.dkim || system != opensslName)
}

// roundsOf all workloads, for the report: "3 (W3, W6: 2)".
func roundsOf(ws []workload) string {
	by := map[int][]string{}
	most := 0
	for _, w := range ws {
		by[w.rounds] = append(by[w.rounds], w.name)
		most = max(most, w.rounds)
	}
	var rest []string
	for n := most - 1; n > 0; n-- {
		if len(by[n]) > 0 {
			rest = append(rest, fmt.Sprintf("%s: %d", strings.Join(by[n], ", "), n))
		}
	}
	if rest == nil {
		return fmt.Sprint(most)
	}
	return fmt.Sprintf("%d (%s)", most, strings.Join(rest, "; "))
}

// What bounds a run, whatever the system. What is not there by then has its place in the
// report: so many of so many.
const (
	runLimit  = 90 * time.Second  // from its first message on, to the last arrival
	restLimit = 20 * time.Second  // then, until the system has come to rest
	waitLimit = 150 * time.Second // to take the messages that wait; those it has taken by then are those that wait
	fillLimit = 8 * time.Minute   // to write a backlog
)

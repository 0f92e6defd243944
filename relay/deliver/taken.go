package deliver

import (
	"sync"
	"time"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// Some words of receivers may be about us or about the content of one message
// (preflight.Class.Doubt). Other mail tells: when the same operator takes mail of the
// same sender from the same source, and refuses this message before and after that,
// it is about the message. Until then it is ours, and waits.

// taken remembers when operators last took mail.
type taken struct {
	mu sync.Mutex
	at map[taker]time.Time
}

type taker struct {
	operator, source string
	mail             preflight.Mail
}

const (
	maxTaken  = 4096           // what is beyond is not remembered, and a doubt stays one
	takenLife = 24 * time.Hour // then it gives way
)

func newTaken() *taken { return &taken{at: map[taker]time.Time{}} }

// note remembers an attempt if an exchanger took the message.
func (t *taken) note(a queue.Attempt, m preflight.Mail) {
	if a.Outcome != queue.Sent || a.Source == smartName {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.at) >= maxTaken {
		for k, at := range t.at {
			if time.Since(at) > takenLife {
				delete(t.at, k)
			}
		}
	}
	who := taker{preflight.Operator(a.Host), a.Source, m}
	if _, known := t.at[who]; known || len(t.at) < maxTaken {
		t.at[who] = time.Now()
	}
}

// content tells whether a doubtful refusal of r after the final dot is proven to be
// about the message.
func (t *taken) content(r queue.Recipient, a queue.Attempt, m preflight.Mail) bool {
	last := r.Last
	if a.Stage != "dot" || a.Reply.Code < 500 || last.Stage != a.Stage || last.Reply.Code < 500 || last.Class != a.Class {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.at[taker{preflight.Operator(a.Host), a.Source, m}]
	return ok && at.After(last.At.Add(last.Took))
}

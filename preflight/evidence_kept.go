package preflight

import (
	"slices"
	"sync"
	"time"
)

const (
	evidenceLife = time.Hour        // a word counts so long
	evidenceRest = time.Minute      // between two looks at one requirement for what remotes say, at first
	maxEvidence  = 2_000            // requirements of which words are kept
	maxWords     = 16               // of each, the newest
	maxReview    = 20               // senders looked at in one go
	reviewRest   = 10 * time.Second // after any of them
	manyVoices   = 2                // operators that must agree
	manyTimes    = 3                // or words of one
)

// evidence is what remotes said in the last hour, by the finding it is about.
type evidence struct {
	woken chan struct{}

	mu    sync.Mutex
	about map[string]*testimony // by key of the finding
	rest  time.Time             // no review before
}

type testimony struct {
	who    Sender
	listed bool // who is in the plan, or it is about no sender
	words  []voice
	looked time.Time // when it was last reviewed
	vain   int       // reviews in a row after which it passed, and remotes said it again
	due    time.Time // when it is to be reviewed; zero: not
}

// voice is one reply.
type voice struct {
	operator, said string
	at             time.Time
}

func (w voice) String() string { return w.operator + " " + w.said + " " + w.at.UTC().Format("15:04") }

func newEvidence() *evidence {
	return &evidence{woken: make(chan struct{}, 1), about: map[string]*testimony{}}
}

// wake whoever waits for next.
func (e *evidence) wake() {
	select {
	case e.woken <- struct{}{}:
	default:
	}
}

func (e *evidence) hear(f Finding, who Sender, listed bool, w voice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.about[f.key()]
	if t == nil {
		if e.forget(w.at); len(e.about) >= maxEvidence {
			return
		}
		t = &testimony{who: who, listed: listed}
		e.about[f.key()] = t
	}
	if t.words = t.fresh(w.at); len(t.words) == 0 {
		t.vain = 0
	}
	t.words = append(t.words, w)
	t.words = t.words[max(0, len(t.words)-maxWords):]
	if at := t.looked.Add(t.rest()); t.due.IsZero() || at.Before(t.due) {
		t.due = at
	}
}

// rest is the least time from one review to the next: ever longer while our own
// look finds nothing, so that who insists has us look no more than once an hour.
func (t *testimony) rest() time.Duration {
	return min(evidenceRest<<min(max(t.vain-1, 0), 6), evidenceLife)
}

// fresh are the words that still count.
func (t *testimony) fresh(now time.Time) []voice {
	return slices.DeleteFunc(t.words, func(w voice) bool { return now.Sub(w.at) >= evidenceLife })
}

// forget what counts no more, once there is much of it.
func (e *evidence) forget(now time.Time) {
	if len(e.about) < maxEvidence {
		return
	}
	for k, t := range e.about {
		if t.words = t.fresh(now); len(t.words) == 0 {
			delete(e.about, k)
		}
	}
}

// next is when something is to be reviewed; zero: nothing is.
func (e *evidence) next() (at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.about {
		if !t.due.IsZero() && (at.IsZero() || t.due.Before(at)) {
			at = t.due
		}
	}
	if !at.IsZero() && at.Before(e.rest) {
		return e.rest
	}
	return at
}

// take hands out whom a review is due of, so many at a time; the zero Sender
// stands for what is about no sender.
func (e *evidence) take(now time.Time) (listed, others []Sender) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Before(e.rest) {
		return nil, nil
	}
	for _, t := range e.about {
		if t.due.IsZero() || t.due.After(now) {
			continue
		}
		into := &others
		if t.listed {
			into = &listed
		}
		if !slices.ContainsFunc(*into, t.who.same) {
			if len(*into) == maxReview {
				continue
			}
			*into = append(*into, t.who)
		}
		t.looked, t.due = now, time.Time{}
		t.vain++ // until the look says otherwise
	}
	if len(listed)+len(others) > 0 {
		e.rest = now.Add(reviewRest) // whatever remotes say, and however many
	}
	return listed, others
}

func (s Sender) same(o Sender) bool { return s.Domain == o.Domain && s.Envelope == o.Envelope }

// against are the words against a finding that passes, said before the look
// that began then; none where too few say so. They stand until they are old:
// then it is looked at again.
func (e *evidence) against(f Finding, began time.Time) (said []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.about[f.key()]
	if t == nil {
		return nil
	}
	t.words = t.fresh(began)
	by, insists := map[string]int{}, false
	for _, w := range t.words {
		if w.at.Before(began) {
			by[w.operator]++
			insists = insists || by[w.operator] >= manyTimes
			said = append(said, w.String())
		}
	}
	if len(by) < manyVoices && !insists {
		return nil
	}
	if old := t.words[0].at.Add(evidenceLife); t.due.IsZero() || old.Before(t.due) {
		t.due = old
	}
	return said
}

// contradicted marks the findings that pass here and fail out there. What is
// believed of them stays as it is, and so what it does to mail: anybody can be the
// one who says so.
func (e *evidence) contradicted(hs []held, began time.Time) {
	for i := range hs {
		h := &hs[i]
		h.ContradictedBy = nil
		if h.Status != Pass || h.seen.Status != Pass {
			e.borneOut(h.Finding)
			continue
		}
		if said := e.against(h.Finding, began); len(said) > 0 {
			h.ContradictedBy, h.Remedy = said, lookFurther
		}
	}
}

// borneOut: what remotes say of a finding is so, or was not to be found out.
func (e *evidence) borneOut(f Finding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.about[f.key()]; t != nil {
		t.vain = 0
	}
}

// told is a finding as it is shown: one that is contradicted is worth a look, and no more.
func (h held) told() Finding {
	f := h.Finding
	if len(f.ContradictedBy) > 0 {
		f.Severity = Recommended
	}
	return f
}

// lookFurther is what to do about a check that passes here and fails out there.
var lookFurther = Remedy{
	Title: "Find out why receivers see something else",
	Who:   "you",
	Steps: []string{
		"One of the zone's name servers may give others another answer than we get: ask each of them.",
		"Or mail leaves from another address than is configured: send one to yourself elsewhere and read its first Received line.",
	},
}

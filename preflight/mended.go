package preflight

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// Mail that was refused for want of something waits by the queue's schedule, as any
// that is put off; when a check that was named fails here, and passes later, it
// comes at once. Where the check passed all the time nothing is mended, and there is
// nothing to come for.

// broken remembers what was seen to fail and is waited for: by text of a refusal, the
// checks of it.
type broken struct {
	mu   sync.Mutex
	seen map[string][]string
}

// maxBroken things are remembered, for mail may be gone that waited for one; what is
// forgotten comes by the schedule.
const maxBroken = 10_000

// note what fails, and tell whether something was mended since: of what failed
// before, less is left and nothing else.
func (b *broken) note(text string, failing []string) (mended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.seen[text]
	b.set(text, failing)
	return len(failing) < len(before) && len(without(failing, before)) == 0
}

// add what fails to what failed before: that something passes is for note to tell, as
// other mail waits for the same.
func (b *broken) add(text string, failing []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.seen[text]
	b.set(text, slices.Concat(before, without(failing, before)))
}

func (b *broken) set(text string, failing []string) {
	if len(failing) == 0 {
		delete(b.seen, text)
		return
	}
	if b.seen[text] == nil && len(b.seen) >= maxBroken {
		for any := range b.seen {
			delete(b.seen, any)
			break
		}
	}
	b.seen[text] = failing
}

func without(all, those []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(those, id) })
}

// refusal is what a refused mail waits for: text in the queue, the same for all mail
// of one sender that was refused for the same from one source.
type refusal struct {
	Checks   []string `json:"checks"`
	Source   string   `json:"source"`
	Author   string   `json:"author,omitempty"`
	Envelope string   `json:"envelope,omitempty"`
}

// Mended is what a mail waits for that a remote refused from a source for want of
// what these checks are about; Waits tells whether it has come about. "": nothing
// that we could see.
func (g *Gate) Mended(m Mail, source string, checks []string) string {
	known := slices.DeleteFunc(slices.Clone(checks), func(id string) bool { return byID(id) == nil })
	if len(known) == 0 || g.plan.SmartHostOnly || g.plan.source(source) == nil {
		return ""
	}
	r := refusal{Checks: known, Source: source}
	if slices.ContainsFunc(rests(known), func(id string) bool { s := byID(id).Scope; return s == ScopeSender || s == ScopePair || s == ScopeZone }) {
		r.Author, r.Envelope = m.Author, m.Envelope
	}
	text, _ := json.Marshal(r)
	if failing, known := g.fails(r); known {
		g.broken.add(string(text), failing)
	}
	return string(text)
}

// rests are the checks that can tell whether something was mended: those, and what
// they need; a check whose input fails says nothing by itself.
func rests(ids []string) (all []string) {
	todo := slices.Clone(ids)
	for len(todo) > 0 {
		c := byID(todo[0])
		if todo = todo[1:]; c != nil && !slices.Contains(all, c.ID) {
			all, todo = append(all, c.ID), append(todo, c.Needs...)
		}
	}
	return all
}

// readRefusal tells the text of a refusal from that of a passport.
func readRefusal(text string) (r refusal, ok bool) {
	return r, strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &r) == nil
}

// Clear tells whether nothing stands in the way of what an earlier run of the program
// left waiting for this: what was mended may have wanted a restart.
func (g *Gate) Clear(awaited string) bool {
	r, ok := readRefusal(awaited)
	if !ok {
		return !g.Waits(awaited)
	}
	failing, known := g.fails(r)
	if known {
		g.broken.note(awaited, failing)
	}
	return known && len(failing) == 0
}

// fails are the checks that a refusal is about and that fail now. Of a sender that
// nobody has looked at nothing is known.
func (g *Gate) fails(r refusal) (failing []string, known bool) {
	m := Mail{Author: r.Author, Envelope: r.Envelope}
	c := g.weigh(m, g.sights.known)
	j := c.judged()
	all := slices.Concat(j.host, j.sources[r.Source], j.senders[c.name], j.pairs[pair{r.Source, c.name}])
	for _, id := range rests(r.Checks) {
		if slices.ContainsFunc(all, func(h held) bool { return h.Check.ID == id && (h.Status == Fail || h.Status == Unknown) }) {
			failing = append(failing, id)
		}
	}
	if c.first || len(failing) > 0 {
		g.waiting(m)
	}
	return failing, !c.first
}

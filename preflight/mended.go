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

// broken remembers what was seen to fail and is waited for.
type broken struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxBroken things are remembered, for mail may be gone that waited for one; what is
// forgotten comes by the schedule.
const maxBroken = 10_000

// note whether a thing fails, and tell whether it did before.
func (b *broken) note(text string, fails bool) (before bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if before = b.seen[text]; !fails {
		delete(b.seen, text)
		return before
	}
	if !before && len(b.seen) >= maxBroken {
		for any := range b.seen {
			delete(b.seen, any)
			break
		}
	}
	b.seen[text] = true
	return before
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
	if now, known := g.fails(r); now && known {
		g.broken.note(string(text), true) // that it passes is for Waits to see: other mail waits for the same
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
	now, known := g.fails(r)
	if known {
		g.broken.note(awaited, now)
	}
	return !now
}

// fails tells whether something that a refusal is about fails now. Of a sender that
// nobody has looked at nothing is known, and it counts as failing.
func (g *Gate) fails(r refusal) (now, known bool) {
	m := Mail{Author: r.Author, Envelope: r.Envelope}
	c := g.weigh(m, g.sights.known)
	ids := rests(r.Checks)
	now = c.first || slices.ContainsFunc(slices.Concat(c.host, c.sources[r.Source], c.senders[c.name], c.pairs[pair{r.Source, c.name}]), func(h held) bool {
		return slices.Contains(ids, h.Check.ID) && (h.Status == Fail || h.Status == Unknown)
	})
	if now {
		g.waiting(m)
	}
	return now, !c.first
}

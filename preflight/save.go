package preflight

import (
	"context"
	"maps"
	"time"
)

// save the history: at once when there is news, else now and then. With very many
// sender domains there is news all the time, and much to write.
func (g *Gate) save(ctx context.Context, news bool) {
	g.saving.Lock()
	defer g.saving.Unlock()
	if news && g.sights.whole() || time.Since(g.saved) >= saveAtLeast {
		g.write(ctx)
	}
}

// keep saves the history whatever there is to tell.
func (g *Gate) keep(ctx context.Context) {
	g.saving.Lock()
	defer g.saving.Unlock()
	g.write(ctx)
}

// write the history. g.saving is held.
func (g *Gate) write(ctx context.Context) {
	if g.memory == nil {
		return
	}
	h := g.all()
	h.Live, h.Observed = g.keys.published(), g.out.Observed.state()
	if err := g.memory.Save(context.WithoutCancel(ctx), h); err != nil {
		g.log.Warn("preflight history not kept", "err", err)
	}
	g.saved = time.Now()
}

// all that is remembered of what is configured.
func (g *Gate) all() History {
	g.mu.RLock()
	h := History{Entries: maps.Clone(g.history.Entries)}
	g.mu.RUnlock()
	if h.Entries == nil {
		h.Entries = map[string]Entry{}
	}
	g.sights.mu.Lock()
	defer g.sights.mu.Unlock()
	for _, n := range g.sights.listed {
		of := n.history()
		maps.Copy(h.Entries, of.Entries)
		h.Past = append(h.Past, of.Past...)
	}
	return h
}

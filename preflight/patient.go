package preflight

import (
	"context"
	"sync"
	"time"
)

// patientTrier asks a smart host that works only once a day, and one that
// refuses our password not at every look: accounts get locked that way.
type patientTrier struct {
	Trier
	pause time.Duration

	mu   sync.Mutex
	last map[string]pastTrial
}

type pastTrial struct {
	Trial
	until time.Time
}

func (t *patientTrier) Try(ctx context.Context, s SmartHost) Trial {
	now := time.Now()
	t.mu.Lock()
	past, known := t.last[s.Name]
	t.mu.Unlock()
	if known && now.Before(past.until) {
		return past.Trial
	}
	trial := t.Trier.Try(ctx, s)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case trial.Err != "" || trial.TLSErr != "" || trial.AuthErr != "" && !trial.Refused:
		delete(t.last, s.Name)
	case trial.Refused:
		t.last[s.Name] = pastTrial{trial, now.Add(t.pause)}
	default:
		t.last[s.Name] = pastTrial{trial, now.Add(24 * time.Hour)}
	}
	return trial
}

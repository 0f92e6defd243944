package dns

import (
	"context"
	"sync"
)

// Memo asks each question once and gives everybody who asks it the same
// answer, failures included: what one run of checks sees is one picture.
// It forgets nothing, so it is to be thrown away after the run. The answers
// are shared and not to be changed.
type Memo struct {
	r    Resolver
	mu   sync.Mutex
	seen map[question]*flight
	n    int
}

type question struct {
	name string
	t    Type
}

// flight is a question on its way or come home.
type flight struct {
	home    chan struct{} // closed when answer and err are there
	answer  *Answer
	err     error
	waiting int
	cancel  context.CancelFunc
}

// NewMemo puts a memory before a resolver.
func NewMemo(r Resolver) *Memo {
	return &Memo{r: r, seen: map[question]*flight{}}
}

// Questions tells how many went on to the resolver.
func (m *Memo) Questions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// Query waits for the answer for as long as its own context lasts. The question
// itself goes on while anybody waits; when the last has left it is given up and forgotten.
func (m *Memo) Query(ctx context.Context, name string, t Type) (*Answer, error) {
	q := question{name, t}
	if c, err := normal(name); err == nil {
		q.name = c
	}
	f := m.board(ctx, q)
	select {
	case <-f.home:
		return f.answer, f.err
	default:
	}
	select {
	case <-f.home:
		return f.answer, f.err
	case <-ctx.Done():
		m.leave(q, f)
		a := &Answer{Question: q.name, Type: t, Name: q.name, Outcome: Temp, Detail: ended(ctx)}
		return a, a.failure()
	}
}

// board joins a flight, or starts it.
func (m *Memo) board(ctx context.Context, q question) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.seen[q]
	if f == nil {
		f = &flight{home: make(chan struct{})}
		ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		m.seen[q] = f
		m.n++
		go func() {
			defer f.cancel()
			f.answer, f.err = m.r.Query(ctx, q.name, q.t)
			close(f.home)
		}()
	}
	f.waiting++
	return f
}

func (m *Memo) leave(q question, f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	select {
	case <-f.home:
	default:
		f.cancel()
		delete(m.seen, q)
	}
}

// ended says why a context is over, for a Detail.
func ended(ctx context.Context) string {
	if ctx.Err() == context.Canceled {
		return "given up"
	}
	return "timeout"
}

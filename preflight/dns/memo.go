package dns

import (
	"context"
	"math"
	"sync"
	"time"
	"unsafe"
)

// Memo asks a question once and gives everybody who asks it the same answer, for as
// long as that is kept. The answers are shared and not to be changed.
type Memo struct {
	r     Resolver
	life  func(*Answer) time.Duration // how long an answer is kept; 0: for those alone who wait for it
	limit int                         // octets of memory that kept answers take, about
	mu    sync.Mutex
	seen  map[question]*flight
	kept  int // octets
	n     int
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
	until   time.Time // it is kept, once it is home
	size    int       // octets
	waiting int
	cancel  context.CancelFunc
}

// NewMemo keeps every answer, failures included: what one run of checks sees is one
// picture. It forgets nothing, so it is to be thrown away after the run.
func NewMemo(r Resolver) *Memo {
	return &Memo{r: r, life: forever, limit: math.MaxInt, seen: map[question]*flight{}}
}

func forever(*Answer) time.Duration { return math.MaxInt64 }

// What a cache keeps longest.
const (
	maxAnswer = time.Hour
	// MaxDenial is short: a name that was missing is looked for again soon.
	MaxDenial = time.Minute
)

// NewCache keeps answers for their TTL, an hour at most, and denials for theirs, a
// minute at most; what is neither is asked for again. Some are forgotten where all
// would take more memory than limit, octets: a zone may have any names, and each of them
// as many records as fit an answer.
func NewCache(r Resolver, limit int) *Memo {
	return &Memo{r: r, life: shelf, limit: limit, seen: map[question]*flight{}}
}

// shelf is how long a cache keeps an answer (RFC 2308 section 5 for denials).
func shelf(a *Answer) time.Duration {
	switch a.Outcome {
	case Present:
		return min(a.TTL, maxAnswer)
	case NoData, NoName:
		return min(a.NegTTL, MaxDenial)
	}
	return 0
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
	if f == nil || f.landed() && !time.Now().Before(f.until) {
		m.forget(q)
		f = &flight{home: make(chan struct{})}
		ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		m.seen[q] = f
		m.n++
		go m.fly(ctx, q, f)
	}
	f.waiting++
	return f
}

// keep an answer that has come home, and forget others where there is too much: of a
// few the one that would have been kept the shortest. Questions on their way stay.
func (m *Memo) keep(f *flight) {
	f.size = f.answer.size()
	for m.kept += f.size; m.kept > m.limit; {
		var worst question
		var until time.Time
		n := 0
		for q, f := range m.seen {
			if f.size == 0 {
				continue
			}
			if until.IsZero() || f.until.Before(until) {
				worst, until = q, f.until
			}
			if n++; n == 8 {
				break
			}
		}
		m.forget(worst)
	}
}

func (m *Memo) forget(q question) {
	if f := m.seen[q]; f != nil {
		m.kept -= f.size
		delete(m.seen, q)
	}
}

// size is about how much memory an answer takes, octets.
func (a *Answer) size() int {
	n := int(unsafe.Sizeof(*a)+unsafe.Sizeof(flight{})) + 4*len(a.Question) + len(a.Zone) + len(a.Detail)
	for _, s := range a.Chain {
		n += int(unsafe.Sizeof(s)) + len(s)
	}
	for _, r := range a.Records {
		n += int(unsafe.Sizeof(r)) + len(r.Name) + len(r.Host) + len(r.Mailbox) + len(r.Text)
	}
	return n
}

// fly brings the answer home.
func (m *Memo) fly(ctx context.Context, q question, f *flight) {
	defer f.cancel()
	f.answer = &Answer{Question: q.name, Type: q.t, Name: q.name, Outcome: Temp, Detail: "the answer could not be read"}
	f.err = f.answer.failure()
	defer func() {
		_ = recover() // one bad answer stops nobody else
		m.mu.Lock()
		defer m.mu.Unlock()
		life := m.life(f.answer)
		f.until = time.Now().Add(life)
		switch {
		case m.seen[q] != f: // all who waited have left
		case life > 0:
			m.keep(f)
		default:
			delete(m.seen, q)
		}
		close(f.home)
	}()
	f.answer, f.err = m.r.Query(ctx, q.name, q.t)
}

func (f *flight) landed() bool {
	select {
	case <-f.home:
		return true
	default:
		return false
	}
}

func (m *Memo) leave(q question, f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.waiting--; f.waiting > 0 || f.landed() {
		return
	}
	f.cancel()
	if m.seen[q] == f {
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

package disk

import "sync"

// locks are the locks of messages. Whoever reads, changes or writes the records
// of a message holds its lock, and takes it before Store.mu; who needs several
// takes them in the order of their IDs.
type locks struct {
	mu    sync.Mutex
	held  map[uint64]*lock
	spare []*lock
}

type lock struct {
	sync.Mutex
	users int // who has it or waits for it
}

func (t *locks) lock(id uint64) {
	t.mu.Lock()
	l := t.held[id]
	if l == nil {
		if t.held == nil {
			t.held = map[uint64]*lock{}
		}
		if n := len(t.spare); n > 0 {
			l, t.spare = t.spare[n-1], t.spare[:n-1]
		} else {
			l = &lock{}
		}
		t.held[id] = l
	}
	l.users++
	t.mu.Unlock()
	l.Lock()
}

func (t *locks) unlock(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.held[id]
	l.Unlock()
	if l.users--; l.users == 0 {
		delete(t.held, id)
		if len(t.spare) < 1000 {
			t.spare = append(t.spare, l)
		}
	}
}

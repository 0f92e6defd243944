package queue

import "sync"

// wakings are what Scheduler.Wake was told, for mail that was in a worker's hands
// then: the store could not make it due, or did not know yet what it waits for.
type wakings struct {
	mu   sync.Mutex
	no   uint64 // of the last one
	come func(awaited string) bool
	came map[string]uint64 // what had come about, and in which
}

// maxCame things are remembered; mail that waits for one forgotten comes in its time.
const maxCame = 10_000

func (w *wakings) count() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.no
}

// next begins a waking: that is before the store looks. What it is told to be
// asked remembers the answers.
func (w *wakings) next(come func(awaited string) bool) func(awaited string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.no++
	w.come = come
	no := w.no
	return func(awaited string) bool {
		if !come(awaited) {
			return false
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.came == nil || len(w.came) >= maxCame {
			w.came = map[string]uint64{}
		}
		w.came[awaited] = no
		return true
	}
}

// since tells whether what is awaited has come about in a waking after that one,
// or would have, had the store known of it.
func (w *wakings) since(no uint64, awaited string) bool {
	w.mu.Lock()
	came, come := w.came[awaited] > no, w.come
	w.mu.Unlock()
	return came || come(awaited)
}

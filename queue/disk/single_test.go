package disk

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// A record that is deleted singly was written once since it was there last, whatever
// happened to its message, and whenever memory and tables were merged in between:
// Pebble would say so where it sees a breach. And nothing of a message stays behind.
func TestSingleDeletions(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		var log journal
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, mem, "queue", Options{Log: log.logger()})
		merge := func(often int) {
			if rng.IntN(often) > 0 {
				return
			}
			err := s.flush()
			if rng.IntN(2) == 0 {
				err = errors.Join(err, s.db.Compact(t.Context(), []byte("a"), []byte("z"), false))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			switch k := rng.IntN(10); {
			case k < 4:
				commit(t, s, make([]byte, rng.IntN(2)*(inline+1)), []string{"a.example", "b.example", "a.example"}[:1+rng.IntN(3)]...)
			case k < 7:
				tryAll(t, s, rng)
			case k < 8:
				state := []queue.State{queue.Waiting, queue.Held, queue.Failed, queue.Removed}[rng.IntN(4)]
				must(s.Update(t.Context(), queue.Filter{Limit: 1 + rng.IntN(2)}, queue.Change{State: state}))
			case k < 9:
				putSomeAway(t, s)
			default:
				mem = kill(mem)
				s = mustOpen(t, mem, "queue", Options{Log: log.logger()})
			}
			merge(5)
		}
		must(s.Update(t.Context(), queue.Filter{}, queue.Change{State: queue.Removed}))
		merge(1)
		var err error
		for _, space := range []string{messageSpace, rcptSpace, bodySpace} {
			err = errors.Join(err, s.each(space, func(k, _ []byte) error {
				t.Errorf("seed %d, round %d: %s is left", seed, round, k)
				return nil
			}))
		}
		if err != nil || strings.Contains(log.String(), "SINGLEDEL") {
			t.Fatalf("seed %d, round %d: %v, the log says\n%s", seed, round, err, log.String())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// tryAll settles some of what is due anywhere, one way or the other.
func tryAll(t *testing.T, s *Store, rng *rand.Rand) {
	t.Helper()
	for range 2 {
		if st, err := s.Stat(t.Context()); err != nil || st.Waiting == 0 {
			return
		}
		l := lease(t, s)
		for _, j := range must(s.Take(t.Context(), l, 2)) {
			for _, r := range j.Recipients {
				state := []queue.State{queue.Delivered, queue.Delivered, queue.Waiting, queue.Failed}[rng.IntN(4)]
				x := queue.Result{ID: j.Message.ID, N: r.N, State: state, Attempt: &queue.Attempt{Outcome: queue.Deferred}}
				if err := s.Settle(t.Context(), l, x); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Release(t.Context(), l, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// putSomeAway has the oldest message be damaged.
func putSomeAway(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	last := s.index.roll.last()
	s.mu.Unlock()
	if last == 0 {
		return
	}
	if err := s.putAway(formatID(last), errDamage("for a test")); err != nil {
		t.Fatal(err)
	}
}

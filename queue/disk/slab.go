package disk

import (
	"math"
	"time"
)

// ref is a recipient of the index; 0 is none. It counts while Store.mu is held.
type ref uint32

// item is a recipient in the store.
type item struct {
	id    uint64        // its message
	due   time.Duration // Waiting: when
	n     uint32
	next  ref    // the message's next recipient, by n; or the next unused item
	pos   uint32 // in the pile it is in
	dest  uint32
	sub   uint32 // the message's submitter
	await uint32 // Attempt.Awaits of the last, Waiting
	tries uint16 // as many as that and more are the same
	state byte
	where byte // the pile it is in
	file  bool // the message's body is a file
}

// The piles of an item.
const (
	nowhere   = iota
	inWaiting // of its destination, for its time
	inReady   // of its destination: due
	inTaken   // of its destination: in the hands of who has the lease
	inFailed
)

// The states of an item, as they are stored.
const (
	_ = iota
	waiting
	held
	failed
)

func countTries(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// slabSize items are allocated at once.
const slabSize = 4096

// slab holds the items.
type slab struct {
	parts []*[slabSize]item
	used  ref // how many were ever used; the first is not
	free  ref // the first unused one of those; they are linked
}

func (s *slab) at(r ref) *item { return &s.parts[r/slabSize][r%slabSize] }

func (s *slab) alloc() ref {
	if r := s.free; r != 0 {
		s.free = s.at(r).next
		return r
	}
	if s.used++; int(s.used/slabSize) >= len(s.parts) {
		s.parts = append(s.parts, new([slabSize]item))
	}
	return s.used
}

func (s *slab) release(r ref) {
	*s.at(r) = item{next: s.free}
	s.free = r
}

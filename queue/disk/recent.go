package disk

import (
	"sync"
	"time"
	"unsafe"

	"smtprelay/queue"
)

// recent holds messages that were committed a moment ago as they were committed,
// so that who delivers them at once reads nothing back. A recipient's record is
// held until it changes for the first time, a message as long as one of its
// records is. What is in here is on disk too: to forget it costs nothing but time.
//
// When it is full nothing new is taken in, for the oldest are wanted first; those
// that nobody wanted for a while make room.
type recent struct {
	mu    sync.Mutex
	by    map[queue.ID]*kept
	first *kept // the oldest
	last  *kept
	size  int // octets of all
}

const (
	recentAtMost = 16 << 20
	recentAge    = 10 * time.Second // wanted soon, or not at all
)

// kept is one message. What it holds is not changed any more, but for rcpts, while
// the message is locked.
type kept struct {
	message
	body       []byte       // when it is not a file
	rcpts      []*recipient // by N; nil when it has changed
	left       int          // how many of them are not nil
	at         time.Time
	size       int
	prev, next *kept
}

// measure counts octets, about as many as it takes of memory.
func (k *kept) measure() {
	m := &k.Message
	k.size = int(unsafe.Sizeof(*k)) + cap(k.body) + cap(m.Head) + cap(k.Sum) + len(m.Envelope.From) + len(m.Envelope.EnvelopeID) +
		len(m.Author) + len(m.MessageID) + len(m.Submitter) + 100 // its place in the map
	for _, r := range k.rcpts {
		k.size += int(unsafe.Sizeof(*r)) + 8 + len(r.Address) + len(r.Domain) + len(r.Notify) + len(r.Original) + len(r.Reason)
	}
}

// add takes a message in, if there is room.
func (c *recent) add(k *kept) {
	k.measure()
	k.left, k.at = len(k.rcpts), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+k.size > recentAtMost {
		c.expire(k.at)
	}
	if c.size+k.size > recentAtMost {
		return
	}
	if c.by == nil {
		c.by = map[queue.ID]*kept{}
	}
	c.by[k.ID] = k
	c.size += k.size
	if k.prev = c.last; k.prev == nil {
		c.first = k
	} else {
		k.prev.next = k
	}
	c.last = k
}

// expire forgets what nobody wanted for long. c.mu is held.
func (c *recent) expire(now time.Time) {
	for c.first != nil && now.Sub(c.first.at) > recentAge {
		c.remove(c.first)
	}
}

// age is expire from outside.
func (c *recent) age() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(time.Now())
}

// remove takes a message out. c.mu is held.
func (c *recent) remove(k *kept) {
	delete(c.by, k.ID)
	c.size -= k.size
	if k.prev == nil {
		c.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		c.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	k.prev, k.next = nil, nil
}

// find returns a message, nil when it is not held.
func (c *recent) find(id queue.ID) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[id]
}

// recipient returns a record as it was committed, nil when it is not held. The
// message is locked.
func (c *recent) recipient(id queue.ID, n int) *recipient {
	if k := c.find(id); k != nil && n < len(k.rcpts) {
		return k.rcpts[n]
	}
	return nil
}

// changed forgets a recipient's record. The message is locked.
func (c *recent) changed(id queue.ID, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.by[id]
	if k == nil || n >= len(k.rcpts) || k.rcpts[n] == nil {
		return
	}
	k.rcpts[n] = nil
	if k.left--; k.left == 0 {
		c.remove(k)
	}
}

// drop forgets a message.
func (c *recent) drop(id queue.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.by[id]; k != nil {
		c.remove(k)
	}
}

package disk

import (
	"encoding/binary"
	"strconv"
	"strings"
	"sync"
	"time"

	"smtprelay/queue"
)

// The key spaces. IDs have a fixed length, so keys sort by arrival.
//
//	b/ID          the body of a message, when it is small
//	c             the clock: how long we ran in all, and the last ID given
//	f             form of the store: a number in decimal
//	m/ID          a message
//	r/ID/NNNNNNNN one of its recipients (N in hexadecimal)
//	x/...         the same keys again, of messages in quarantine
//
// Reading a space may read a record of the next one too, so what must be read at
// any price comes last but for what nobody waits for.
const (
	formKey       = "f"
	clockKey      = "c"
	messageSpace  = "m/"
	rcptSpace     = "r/"
	bodySpace     = "b/"
	quarantine    = "x/"
	idLen         = 12
	quarantineMsg = quarantine + messageSpace
)

func messageKey(id queue.ID) []byte { return []byte(messageSpace + string(id)) }
func bodyKey(id queue.ID) []byte    { return []byte(bodySpace + string(id)) }

func rcptKey(id queue.ID, n int) []byte {
	const hex = "0123456789abcdef"
	k := make([]byte, 0, len(rcptSpace)+idLen+1+8)
	k = append(append(append(k, rcptSpace...), id...), '/')
	for shift := 28; shift >= 0; shift -= 4 {
		k = append(k, hex[n>>shift&15])
	}
	return k
}

// parseRcptKey takes apart what rcptKey made.
func parseRcptKey(k []byte) (id queue.ID, n int, ok bool) {
	s, found := strings.CutPrefix(string(k), rcptSpace)
	if !found || len(s) != idLen+1+8 || s[idLen] != '/' || !validID(s[:idLen]) {
		return "", 0, false
	}
	u, err := strconv.ParseUint(s[idLen+1:], 16, 31)
	return queue.ID(s[:idLen]), int(u), err == nil
}

// span is the half-open range of keys that begin with prefix.
func span(prefix string) (lower, upper []byte) {
	lower, upper = []byte(prefix), []byte(prefix)
	upper[len(upper)-1]++
	return lower, upper
}

// digits sort in ASCII as in value, and lack what is misread: I L O U.
const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// digitValues are one more than what a digit counts; 0: it is none.
var digitValues = func() (t [256]byte) {
	for i := range digits {
		t[digits[i]] = byte(i + 1)
	}
	return t
}()

func formatID(v uint64) queue.ID {
	var b [idLen]byte
	for i := idLen - 1; i >= 0; i-- {
		b[i] = digits[v&31]
		v >>= 5
	}
	return queue.ID(b[:])
}

func parseID(s string) (v uint64, ok bool) {
	if len(s) != idLen {
		return 0, false
	}
	for i := range len(s) {
		d := digitValues[s[i]]
		if d == 0 {
			return 0, false
		}
		v = v<<5 | uint64(d-1)
	}
	return v, true
}

const maxID = 1<<(5*idLen) - 1

func validID(s string) bool { _, ok := parseID(s); return ok }

// idCounter is how many bits of an ID count within a millisecond.
const idCounter = 15

// ids gives IDs: the time in milliseconds and a counter, never one twice, even
// when the clock was put back, as long as last is known.
type ids struct {
	mu   sync.Mutex
	last uint64
}

func (g *ids) next() queue.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last+1, uint64(time.Now().UnixMilli())<<idCounter&maxID)
	return formatID(g.last)
}

// seen makes later IDs greater than id.
func (g *ids) seen(v uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last, v)
}

func (g *ids) newest() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// clock counts the time we ran, over all runs: a recipient ages by it, so that
// neither a jump of the wall clock nor the time we were down ages anything.
type clock struct {
	base  time.Duration
	start time.Time // with its monotonic reading
}

func (c clock) now() time.Duration { return c.base + time.Since(c.start) }

// appendClock and parseClock are the value of clockKey.
func appendClock(ran time.Duration, last uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(ran))
	return seal(binary.BigEndian.AppendUint64(b, last))
}

func parseClock(v []byte) (ran time.Duration, last uint64, err error) {
	p, err := open(v)
	if err != nil || len(p) != 16 {
		return 0, 0, errDamage("the clock record has %d octets", len(p))
	}
	return max(0, time.Duration(binary.BigEndian.Uint64(p))), binary.BigEndian.Uint64(p[8:]), nil
}

package disk

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"smtprelay/queue"
)

// recipient is the record of a recipient. Age and Ours are true as of Since.
type recipient struct {
	queue.Recipient
	Of        queue.ID      // its message: a record under another's key is damage
	Since     time.Duration // by the clock of the time we ran
	Delay     time.Duration // how long before Next it was put off: bounds the wait after a clock jump
	Submitter string        // the message's
	File      bool          // the message's: its body is a file
}

// The payload of a recipient's record:
//
//	0   State
//	1   flags: 1 File
//	2   N
//	6   Of
//	14  Next, in nanoseconds since 1970; none is the least number
//	22  Since, Delay, Age and Ours, in nanoseconds
//	54  Tries
//	58  Domain, Submitter and Last.Awaits, each after its length, then the rest as
//	    a document
const rcptFixed = 58

// stateCodes are the states that are kept.
var stateCodes = [...]queue.State{1: queue.Waiting, 2: queue.Held, 3: queue.Failed}

func stateCode(s queue.State) byte {
	for c, known := range stateCodes {
		if s == known {
			return byte(c)
		}
	}
	return 0
}

// noTime stands for a time that is not set.
const noTime = math.MinInt64

var latest = time.Unix(0, math.MaxInt64)

// nanos is a time as it is stored.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return noTime
	case t.After(latest):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// appendRecipient appends the record to an empty b.
func appendRecipient(b []byte, r *recipient) ([]byte, error) {
	of, ok := parseID(string(r.Of))
	code := stateCode(r.State)
	if !ok || code == 0 {
		return nil, fmt.Errorf("encode record: recipient of %q in state %q", r.Of, r.State)
	}
	rest := r.Recipient
	rest.N, rest.Domain, rest.State, rest.Age, rest.Ours, rest.Next, rest.Tries, rest.Last.Awaits = 0, "", "", 0, 0, time.Time{}, 0, ""
	doc, err := json.Marshal(&rest)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	b = append(begin(b), code, flags(r.File))
	b = binary.BigEndian.AppendUint32(b, uint32(r.N))
	b = binary.BigEndian.AppendUint64(b, of)
	for _, v := range [...]int64{nanos(r.Next), int64(r.Since), int64(r.Delay), int64(r.Age), int64(r.Ours)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(min(max(r.Tries, 0), math.MaxInt32)))
	for _, s := range [...]string{r.Domain, r.Submitter, r.Last.Awaits} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return finish(append(b, doc...)), nil
}

// rcptHead is what the index wants to know of a recipient. Its strings are parts
// of the record.
type rcptHead struct {
	id                        uint64
	n                         int
	state                     byte
	file                      bool
	next                      int64
	since, delay, age, ours   time.Duration
	tries                     int
	domain, submitter, awaits []byte
	rest                      []byte
}

// parseRecipient takes a record apart and holds it against its key.
func parseRecipient(h *rcptHead, id uint64, n int, b []byte) error {
	p, err := open(b)
	if err != nil {
		return err
	}
	if len(p) < rcptFixed || p[1] > flagsAll {
		return errDamage("the record of a recipient of %s makes no sense", formatID(id))
	}
	if p[0] == 0 || int(p[0]) >= len(stateCodes) {
		return errDamage("recipient in state %d", p[0])
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(p[i:]) }
	*h = rcptHead{
		state: p[0], file: p[1]&flagFile != 0,
		n: int(binary.BigEndian.Uint32(p[2:])), id: at(6),
		next: int64(at(14)), since: time.Duration(at(22)), delay: time.Duration(at(30)), age: time.Duration(at(38)), ours: time.Duration(at(46)),
		tries: int(binary.BigEndian.Uint32(p[54:])),
	}
	if h.id != id || h.n != n {
		return errDamage("the record is that of recipient %d of %s, not of %d of %s", h.n, formatID(h.id), n, formatID(id))
	}
	p = p[rcptFixed:]
	for _, s := range [...]*[]byte{&h.domain, &h.submitter, &h.awaits} {
		size, k := binary.Uvarint(p)
		if k <= 0 || size > uint64(len(p)-k) {
			return errDamage("the record of recipient %d of %s is cut short", n, formatID(id))
		}
		*s, p = p[k:k+int(size)], p[k+int(size):]
	}
	h.rest = p
	return nil
}

// decodeRecipient also holds the record against its key.
func decodeRecipient(r *recipient, id queue.ID, n int, b []byte) error {
	v, ok := parseID(string(id))
	if !ok {
		return errDamage("the record is under the key %q", id)
	}
	var h rcptHead
	if err := parseRecipient(&h, v, n, b); err != nil {
		return err
	}
	*r = recipient{Of: id, Since: h.since, Delay: h.delay, Submitter: string(h.submitter), File: h.file}
	if err := json.Unmarshal(h.rest, &r.Recipient); err != nil {
		return errDamage("%v", err)
	}
	r.N, r.Domain, r.State, r.Age, r.Ours, r.Tries = n, string(h.domain), stateCodes[h.state], h.age, h.ours, h.tries
	r.Last.Awaits = string(h.awaits)
	if r.Next = (time.Time{}); h.next != noTime {
		r.Next = time.Unix(0, h.next)
	}
	return nil
}

// accrue brings Age and Ours up to now by the clock of the time we ran.
func (r *recipient) accrue(now time.Duration) {
	d := max(0, now-r.Since)
	r.Since = now
	switch {
	case r.State != queue.Waiting:
	case r.Last.Ours:
		r.Ours += d
	default:
		r.Age += d
	}
}

// due is when a recipient is due that is due at the wall clock's next, and was
// put off by delay then: by the clock of the time we ran. A wall clock that jumped
// brings it at most one wait further than planned.
func due(next int64, delay, now time.Duration, wall time.Time) time.Duration {
	if next == noTime {
		return now
	}
	return now + min(max(0, time.Unix(0, next).Sub(wall)), max(0, delay))
}

package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
	"unicode/utf8"

	"smtprelay/queue"
)

// A record is CRC32C, version, length and payload: a JSON document, but for the
// clock. The CRC covers all that follows it.
const (
	recordVersion = 1
	recordHead    = 4 + 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNewer is not damage: the record is whole, but written by a later program.
var errNewer = errors.New("written by a newer version of this program")

func errDamage(format string, a ...any) error {
	return fmt.Errorf("%w: %s", queue.ErrDamaged, fmt.Sprintf(format, a...))
}

// seal makes a record of a payload.
func seal(payload []byte) []byte {
	b := make([]byte, recordHead, recordHead+len(payload))
	b[4] = recordVersion
	binary.BigEndian.PutUint32(b[5:], uint32(len(payload)))
	return checksum(append(b, payload...))
}

// checksum puts the CRC of a record in its place.
func checksum(b []byte) []byte {
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// open returns the payload of a record; ErrDamaged when it is not as written.
func open(b []byte) ([]byte, error) {
	if len(b) < recordHead {
		return nil, errDamage("a record of %d octets", len(b))
	}
	if crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		return nil, errDamage("checksum mismatch")
	}
	if b[4] != recordVersion {
		return nil, fmt.Errorf("record of version %d: %w", b[4], errNewer)
	}
	if n := binary.BigEndian.Uint32(b[5:]); uint64(n) != uint64(len(b)-recordHead) {
		return nil, errDamage("length %d of %d", n, len(b)-recordHead)
	}
	return b[recordHead:], nil
}

// message is the record of a message.
type message struct {
	queue.Message
	Sum   []byte // SHA-256 of the stored body
	File  bool   // the body is a file, not a value
	Count int    // how many recipients it had at first
}

// recipient is the record of a recipient. Age and Ours are true as of Since.
type recipient struct {
	queue.Recipient
	Of    queue.ID      // its message: a record under another's key is damage
	Since time.Duration // by the clock of the time we ran
	Delay time.Duration // how long before Next it was put off: bounds the wait after a clock jump
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return seal(b), nil
}

func decode(b []byte, v any) error {
	p, err := open(b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(p, v); err != nil {
		return errDamage("%v", err)
	}
	return nil
}

// decodeMessage also holds the record against its key.
func decodeMessage(id queue.ID, b []byte) (*message, error) {
	m := &message{}
	if err := decode(b, m); err != nil {
		return nil, err
	}
	if m.ID != id || m.Size < 0 || len(m.Sum) != 32 || m.Count < 1 {
		return nil, errDamage("the record is not that of message %s", id)
	}
	return m, nil
}

// decodeRecipient also holds the record against its key.
func decodeRecipient(id queue.ID, n int, b []byte) (*recipient, error) {
	r := &recipient{}
	if err := decode(b, r); err != nil {
		return nil, err
	}
	known := []queue.State{queue.Waiting, queue.Held, queue.Failed}
	at := slices.Index(known, r.State)
	if at < 0 {
		return nil, errDamage("recipient in state %q", r.State)
	}
	r.State = known[at] // one string for all of them, not one for each
	if r.Of != id || r.N != n {
		return nil, errDamage("the record is that of recipient %d of %s, not of %d of %s", r.N, r.Of, n, id)
	}
	return r, nil
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

// due is when a waiting recipient is due by the clock of the time we ran. A
// wall clock that jumped brings it at most one wait further than planned.
func (r *recipient) due(now time.Duration, wall time.Time) time.Duration {
	return now + min(max(0, r.Next.Sub(wall)), max(0, r.Delay))
}

// checkText refuses what a JSON document would not give back unchanged.
func checkText(m *queue.Message, rs []queue.Recipient) error {
	for _, s := range []string{m.Envelope.From, m.Envelope.EnvelopeID, m.Author, m.MessageID, m.Submitter} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("message with %q: not UTF-8", s)
		}
	}
	for _, r := range rs {
		for _, s := range []string{r.Address, r.Domain, r.Original, r.Notify} {
			if !utf8.ValidString(s) {
				return fmt.Errorf("recipient %d with %q: not UTF-8", r.N, s)
			}
		}
		switch r.State {
		case "", queue.Waiting, queue.Held, queue.Failed:
		default:
			return fmt.Errorf("recipient %d is %s: nothing is left to do for it", r.N, r.State)
		}
	}
	return nil
}

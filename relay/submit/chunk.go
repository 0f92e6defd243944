package submit

import (
	"strconv"
	"strings"
)

// vetChunk ends the session where go-smtp would refuse a BDAT command and then
// take its chunk for commands (RFC 3030 section 4.2 has no way back either).
func (d *dialogue) vetChunk(args []string) (bool, error) {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return false, d.farewell("501 5.5.4 expected BDAT SIZE [LAST]")
	}
	n, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return false, d.farewell("501 5.5.4 BDAT: %q is no chunk size", args[0])
	}
	if n == 0 && len(args) == 1 && d.raw.inTransaction() {
		d.say("250 2.0.0 an empty chunk")
		d.rest = nil
		return false, nil
	}
	switch {
	case d.taken > 0 && d.taken+int64(n) > d.server.o.Size:
		return false, d.farewell("552 5.3.4 message too large: at most %d octets", d.server.o.Size)
	case len(args) == 2:
		d.taken = 0
	default:
		d.taken += int64(n)
	}
	if n > 0 { // go-smtp starts to take a message now; it must not lose its session before the first octet
		if err := d.peek(); err != nil {
			d.cut = true
			return false, err
		}
	}
	d.bdat, d.chunk = true, int64(n)
	return true, nil
}

// body reads octets of a chunk. It never reads on into the next command.
func (d *dialogue) body(p []byte) (int, error) {
	if err := d.peek(); err != nil {
		d.cut = true
		return 0, errChunk // go-smtp would take an EOF for the chunk's end, and tell of others for good
	}
	b, _ := d.in.Peek(d.in.Buffered())
	n := copy(p, b[:min(int64(len(b)), d.chunk)])
	d.chunk -= int64(n)
	d.in.Discard(n) //nolint:errcheck // it is buffered
	return n, nil
}

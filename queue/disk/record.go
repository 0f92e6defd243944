package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"smtprelay/queue"
)

// A record is CRC32C, version, length and payload. The CRC covers all that
// follows it. What the store itself reads stands in fixed places; the rest of a
// message or recipient is a JSON document, so that a new field of theirs needs
// no new form.
const (
	recordVersion = 2
	recordHead    = 4 + 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errVersion is not damage: the record is whole.
var errVersion = errors.New("written by another version of this program")

func errDamage(format string, a ...any) error {
	return fmt.Errorf("%w: %s", queue.ErrDamaged, fmt.Sprintf(format, a...))
}

// begin makes room for the head of a record in b, which the payload is to follow.
func begin(b []byte) []byte { return append(b, make([]byte, recordHead)...) }

// finish fills in the head of a record.
func finish(b []byte) []byte {
	b[4] = recordVersion
	binary.BigEndian.PutUint32(b[5:], uint32(len(b)-recordHead))
	return checksum(b)
}

// seal makes a record of a payload.
func seal(payload []byte) []byte {
	return finish(append(begin(make([]byte, 0, recordHead+len(payload))), payload...))
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
		return nil, fmt.Errorf("record of version %d: %w", b[4], errVersion)
	}
	if n := binary.BigEndian.Uint32(b[5:]); uint64(n) != uint64(len(b)-recordHead) {
		return nil, errDamage("length %d of %d", n, len(b)-recordHead)
	}
	return b[recordHead:], nil
}

// Flags of records.
const (
	flagFile = 1 << iota
	flagsAll = 1<<iota - 1
)

func flags(file bool) byte {
	if file {
		return flagFile
	}
	return 0
}

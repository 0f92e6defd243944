package disk

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// Pebble's log and manifest are chunks in blocks of 32 KiB: a checksum, a
// length, a kind, in a log the log's number and how far the log had been synced
// when the chunk was written, then the payload. Where a chunk is not as written
// Pebble takes the file to end there, unless a later block tells otherwise.
// After a power failure that is right; after a flipped octet it would silently
// drop all that follows. So we look first.
const blockSize = 32 << 10

// Kinds of a log's chunks: a whole batch, or a piece of one.
const (
	kindFull = iota + 9
	kindFirst
	kindMiddle
	kindLast
)

// logHead is the length of a chunk's head in a log. No chunk is shorter, only
// the mark with which a log ends is.
const logHead = 19

// headSize is the length of a chunk's head by its kind; 0: no such kind.
func headSize(kind byte) int {
	switch {
	case kind >= 1 && kind <= 4: // manifest
		return 7
	case kind >= kindFull && kind <= kindLast:
		return logHead
	}
	return 0
}

// chunk is one that is as written.
type chunk struct {
	at, end int
	synced  uint64 // log: what lies before this offset had been synced
}

// flaw is a stretch in which no chunk is as written.
type flaw struct {
	at, end int
	mended  []byte // the chunk with the checksum of what it holds now; nil: its head makes no sense
}

// survey goes through a file. number is the log's; 0 for a manifest.
func survey(file []byte, number uint32) (good []chunk, bad []flaw) {
	for base := 0; base < len(file); base += blockSize {
		end := min(base+blockSize, len(file))
		for p := base; p < end; {
			if c, ok := chunkAt(file[:end], p, number); ok {
				good = append(good, c)
				p = c.end
				continue
			}
			f := flawAt(file[:end], p, number)
			if f.end-f.at >= logHead || !zero(file[f.at:f.end]) { // no chunk fits, so the block was padded
				bad = append(bad, f)
			}
			p = f.end
		}
	}
	return good, bad
}

// chunkAt reads the chunk at p, if what is there is one. file ends with the
// block.
func chunkAt(file []byte, p int, number uint32) (chunk, bool) {
	c, sum, ok := headAt(file, p, number)
	return c, ok && sum == binary.LittleEndian.Uint32(file[p:])
}

// headAt reads a chunk and computes its checksum; it does not compare.
func headAt(file []byte, p int, number uint32) (c chunk, sum uint32, ok bool) {
	if p+7 > len(file) {
		return c, 0, false
	}
	head := headSize(file[p+6])
	c = chunk{at: p, end: p + head + int(binary.LittleEndian.Uint16(file[p+4:]))}
	if head == 0 || c.end > len(file) || (head == logHead) != (number != 0) {
		return c, 0, false
	}
	if number != 0 {
		if binary.LittleEndian.Uint32(file[p+7:]) != number {
			return c, 0, false
		}
		c.synced = binary.LittleEndian.Uint64(file[p+11:])
	}
	v := crc32.Checksum(file[p+6:c.end], castagnoli)
	return c, (v>>15 | v<<17) + 0xa282ead8, true // masked, as in LevelDB's log
}

// flawAt says how far what is wrong at p goes: to the next good chunk.
func flawAt(file []byte, p int, number uint32) flaw {
	f := flaw{at: p, end: len(file)}
	for q := p + 1; q < len(file); q++ {
		if _, ok := chunkAt(file, q, number); ok {
			f.end = q
			break
		}
	}
	if c, sum, ok := headAt(file, p, number); ok && c.end <= f.end {
		f.mended = append(f.mended, file[c.at:c.end]...)
		binary.LittleEndian.PutUint32(f.mended, sum)
		f.end = c.end
	}
	return f
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// damage is what no power failure explains: in a log a flaw in what had been
// synced, as our note or a later chunk tells; in a manifest one that anything
// good follows.
func damage(file []byte, number uint32, synced int64) (proven []flaw) {
	good, bad := survey(file, number)
	for _, f := range bad {
		if int64(f.at+logHead) <= synced || slices.ContainsFunc(good, func(c chunk) bool {
			return c.at > f.at && (number == 0 || c.synced > uint64(f.at))
		}) {
			proven = append(proven, f)
		}
	}
	return proven
}

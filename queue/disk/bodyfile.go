package disk

import (
	"bytes"
	"fmt"
	"hash"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// bodyFile verifies what is read from a file. sum covers the first summed
// octets; reading from the start again starts it again.
type bodyFile struct {
	vfs.File
	s      *Store
	m      *message
	pos    int64
	sum    hash.Hash
	summed int64
	bad    error
}

func (b *bodyFile) Read(p []byte) (int, error) {
	if b.bad != nil {
		return 0, b.bad
	}
	if b.pos >= b.m.Size {
		return 0, b.verdict()
	}
	if left := b.m.Size - b.pos; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.File.ReadAt(p, b.pos)
	if b.pos == b.summed {
		b.sum.Write(p[:n])
		b.summed += int64(n)
	}
	b.pos += int64(n)
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, b.damaged("its body file is cut short at %d of %d octets", b.pos, b.m.Size)
	}
	return 0, err
}

// verdict is io.EOF for a whole body. What was skipped by Seek is read for it.
func (b *bodyFile) verdict() error {
	rest := io.NewSectionReader(b.File, b.summed, b.m.Size-b.summed)
	n, err := io.Copy(b.sum, rest)
	b.summed += n
	if err != nil {
		return err
	}
	st, err := b.File.Stat()
	switch {
	case err != nil:
		return err
	case st.Size() != b.m.Size:
		return b.damaged("its body file has %d octets, not %d", st.Size(), b.m.Size)
	case !bytes.Equal(b.sum.Sum(nil), b.m.Sum):
		return b.damaged("its body file does not match its checksum")
	}
	return io.EOF
}

func (b *bodyFile) damaged(format string, a ...any) error {
	b.bad = errDamage(format, a...)
	done, err := b.s.use()
	if err != nil {
		return b.bad // Close or a failed disk came first: it is found the next time
	}
	defer done()
	v, _ := parseID(string(b.m.ID))
	b.s.locks.lock(v)
	defer b.s.locks.unlock(v)
	_ = b.s.damaged(b.m.ID, b.bad)
	return b.bad
}

func (b *bodyFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.m.Size
	}
	if offset < 0 {
		return b.pos, fmt.Errorf("seek to %d", offset)
	}
	b.pos = offset
	if offset == 0 {
		b.sum.Reset()
		b.summed = 0
	}
	return offset, nil
}

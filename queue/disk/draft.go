package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// inline is the largest body kept in Pebble; a larger one is a file.
const inline = 128 << 10

// category tells Pebble's file system statistics whose writes these are.
const category = vfs.WriteCategoryUnspecified

var errEnded = errors.New("queue: the draft was committed or aborted")

// draft collects a body: in memory, and once it is too large for that, in the
// file of its message. buf is what is not in the file yet.
type draft struct {
	s    *Store
	buf  []byte
	sum  hash.Hash
	size int64
	id   queue.ID
	file vfs.File
	err  error // the draft has ended, or a write to it failed
}

// Create opens a draft, unless there is no room or the storage failed.
func (s *Store) Create(ctx context.Context) (queue.Draft, error) {
	done, err := s.use()
	if err != nil {
		return nil, err
	}
	defer done()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.room(); err != nil {
		return nil, err
	}
	return &draft{s: s, sum: sha256.New()}, nil
}

// ID is given when it is first asked for: most sort by arrival that way.
func (d *draft) ID() queue.ID {
	if d.id == "" {
		d.id = d.s.ids.next()
	}
	return d.id
}

func (d *draft) Write(p []byte) (n int, err error) {
	for len(p) > 0 && d.err == nil {
		if len(d.buf) == inline {
			d.err = d.spill()
			continue
		}
		k := min(len(p), inline-len(d.buf))
		d.sum.Write(p[:k])
		d.buf = append(d.buf, p[:k]...)
		d.size += int64(k)
		n += k
		p = p[k:]
	}
	return n, d.err
}

// spill empties the buffer into the file.
func (d *draft) spill() error {
	done, err := d.s.use()
	if err != nil {
		return err
	}
	defer done()
	if err := d.s.room(); err != nil { // each time: many large bodies at once would take what the records need
		return err
	}
	if d.file == nil {
		if d.file, err = d.s.createBody(d.ID()); err != nil {
			return d.s.writeError(err)
		}
	}
	if _, err := d.file.Write(d.buf); err != nil {
		return d.s.writeError(err)
	}
	d.buf = d.buf[:0]
	return nil
}

// writeError is the error of a body that could not be written. A full disk, or
// a want of descriptors, fails this message only: its file is given up, the
// space returns.
func (s *Store) writeError(err error) error {
	switch {
	case full(err):
		return fmt.Errorf("%w: %w", queue.ErrFull, err)
	case scarce(err):
		return fmt.Errorf("write body: %w", err)
	}
	return s.fail(fmt.Errorf("write body: %w", err))
}

func (d *draft) Reader() (io.ReadCloser, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.file == nil {
		return io.NopCloser(bytes.NewReader(d.buf)), nil
	}
	if len(d.buf) > 0 {
		if d.err = d.spill(); d.err != nil {
			return nil, d.err
		}
	}
	d.buf = nil // mostly it is whole by now, and may have to wait for the disk
	return d.s.fs.Open(d.s.bodyPath(d.id))
}

func (d *draft) Abort() {
	if d.err != errEnded {
		d.discard()
	}
}

// discard ends the draft and gives back its space. What cannot be removed now
// is swept at the next open.
func (d *draft) discard() {
	d.buf, d.err = nil, errEnded
	if d.id == "" {
		return
	}
	if d.file != nil {
		_ = d.file.Close()
	}
	if done, err := d.s.use(); err == nil {
		defer done()
		_ = d.s.fs.Remove(d.s.bodyPath(d.id))
		d.s.named(d.id)
	}
}

// Commit stores everything in one synced batch, after the body file if there is
// one. When it fails, the draft has ended all the same.
func (d *draft) Commit(ctx context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	if d.err != nil {
		return "", d.err
	}
	id, err := d.keep(ctx, m, rs)
	if err != nil {
		d.discard()
		return "", fmt.Errorf("store message: %w", err)
	}
	d.buf, d.err = nil, errEnded
	return id, nil
}

func (d *draft) commit(ctx context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	if len(rs) == 0 {
		return "", errors.New("no recipients")
	}
	if err := errors.Join(ctx.Err(), checkText(m, rs)); err != nil {
		return "", err
	}
	if d.file != nil {
		if err := d.keepFile(); err != nil {
			return "", err
		}
	}
	done, err := d.s.use()
	if err != nil {
		return "", err
	}
	defer done()
	return d.ID(), d.s.put(d, m, rs)
}

// keepFile makes the body file durable, with its name.
func (d *draft) keepFile() error {
	if err := d.spill(); err != nil {
		return err
	}
	err := syncFile(d.file)
	err = errors.Join(err, d.file.Close())
	d.file = nil
	if err == nil {
		err = syncDir(d.s.fs, d.s.fs.PathDir(d.s.bodyPath(d.id)))
		if scarce(err) { // the directory was not even opened: no sync failed, and none was left out
			return fmt.Errorf("sync body of %s: %w", d.id, err)
		}
	}
	if err != nil {
		return d.s.fail(fmt.Errorf("sync body of %s: %w", d.id, err))
	}
	return nil
}

// put writes the records and, once they are durable, the index.
func (s *Store) put(d *draft, m *queue.Message, rs []queue.Recipient) error {
	large := d.size > inline
	now, wall := s.ran.now(), time.Now()
	m.ID, m.Size, m.Received = d.id, d.size, wall.Round(0)
	k := &kept{message: message{*m, d.sum.Sum(nil), large, len(rs)}, rcpts: make([]*recipient, len(rs))}
	k.Head = slices.Clip(k.Head) // all who read it share it: what one appends is his own
	b := s.db.NewBatchWithSize(len(d.buf) + len(m.Head) + 1024*(1+len(rs)))
	defer b.Close()
	if err := setMessage(b, &k.message); err != nil {
		return err
	}
	if !large {
		k.body = d.buf
		if err := b.Set(bodyKey(d.id), d.buf, nil); err != nil {
			return err
		}
	}
	for i := range rs {
		r := &rs[i]
		r.N = i
		if r.State == "" {
			r.State, r.Next = queue.Waiting, m.Received
		}
		k.rcpts[i] = &recipient{
			Recipient: *r, Of: d.id, Since: now, Delay: max(0, r.Next.Sub(wall)), Submitter: m.Submitter, File: large,
		}
		if err := setRecipient(b, k.rcpts[i]); err != nil {
			return err
		}
	}
	if err := s.stamp(b, now); err != nil {
		return err
	}
	if err := s.commit(b, synced); err != nil {
		return err
	}
	s.recent.add(k) // before anybody can find it
	all := make([]newcomer, len(rs))
	for i := range rs {
		r := &rs[i]
		all[i] = newcomer{
			n: i, domain: r.Domain, state: stateCode(r.State), due: now + max(0, r.Next.Sub(wall)), tries: r.Tries, awaits: r.Last.Awaits,
		}
	}
	v, _ := parseID(string(d.id))
	s.mu.Lock()
	s.index.add(v, m.Submitter, large, all)
	s.mu.Unlock()
	if large {
		s.named(d.id)
	}
	return nil
}

// scratch are buffers in which records are made.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func setMessage(b *pebble.Batch, m *message) error {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	rec, err := appendMessage((*buf)[:0], m)
	if err != nil {
		return err
	}
	*buf = rec
	return b.Set(messageKey(m.ID), rec, nil)
}

func setRecipient(b *pebble.Batch, r *recipient) error {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	rec, err := appendRecipient((*buf)[:0], r)
	if err != nil {
		return err
	}
	*buf = rec
	return b.Set(rcptKey(r.Of, r.N), rec, nil)
}

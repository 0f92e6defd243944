package disk

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// beneath is the file system as Pebble sees it. It adds three things.
//
// A directory is made durable before one of Pebble's markers in it is created
// or removed. A marker names the file that counts; POSIX lets a power failure
// keep the marker's name and lose that file's, or lose both markers, unless the
// directory is synced in between.
//
// It tells how far a log was synced. And doom hears of a failure that Pebble answers with a panic that nothing can
// recover, so that the log says why before the process ends. While Pebble is
// being opened that is every failure: it would take down what its own work in
// the background still uses.
type beneath struct {
	vfs.FS
	doom   func(error)
	opened func() bool
	synced func(log string, n int64) error
}

func (b beneath) Unwrap() vfs.FS { return b.FS }

func (b beneath) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := b.settle(name); err != nil {
		return nil, err
	}
	f, err := b.FS.Create(name, c)
	return b.vital(name, f, err)
}

func (b beneath) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := b.FS.ReuseForWrite(old, name, c)
	return b.vital(name, f, err)
}

func (b beneath) Remove(name string) error {
	if err := b.settle(name); err != nil {
		return err
	}
	return b.heard(b.FS.Remove(name))
}

func (b beneath) Rename(old, name string) error { return b.heard(b.FS.Rename(old, name)) }

// heard dooms for a failure while Pebble is being opened.
func (b beneath) heard(err error) error {
	if err != nil && !b.opened() {
		b.doom(err)
	}
	return err
}

func (b beneath) OpenDir(name string) (vfs.File, error) {
	d, err := b.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return vital{d, b.doom}, nil
}

func (b beneath) isMarker(name string) bool {
	return strings.HasPrefix(b.PathBase(name), "marker.")
}

func (b beneath) settle(name string) error {
	if !b.isMarker(name) {
		return nil
	}
	return syncDir(b, b.PathDir(name))
}

// vital wraps a file that must not fail: the log, a marker, and whatever is
// made while Pebble is being opened.
func (b beneath) vital(name string, f vfs.File, err error) (vfs.File, error) {
	_, isLog := logNumber(name)
	switch {
	case b.opened() && !b.isMarker(name) && !isLog:
		return f, err
	case err != nil:
		b.doom(err)
		return nil, err
	case isLog:
		return &logFile{vital: vital{f, b.doom}, synced: func(n int64) error { return b.synced(name, n) }}, nil
	}
	return vital{f, b.doom}, nil
}

// vital is such a file, or the directory of one.
type vital struct {
	vfs.File
	doom func(error)
}

func (v vital) heard(err error) error {
	if err != nil {
		v.doom(err)
	}
	return err
}

func (v vital) Write(p []byte) (int, error) {
	n, err := v.File.Write(p)
	return n, v.heard(err)
}

func (v vital) Sync() error     { return v.heard(v.File.Sync()) }
func (v vital) SyncData() error { return v.heard(v.File.SyncData()) }

func (v vital) SyncTo(n int64) (bool, error) {
	whole, err := v.File.SyncTo(n)
	return whole, v.heard(err)
}

// syncNames asks the disk to keep the names in a directory.
func syncNames(fs vfs.FS, name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

package disk

import (
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// private is a file system on which every file and directory made is its
// owner's alone (0600, 0700), whatever the umask. Files without a descriptor,
// those of a file system in memory, have no mode to set.
type private struct{ vfs.FS }

func (p private) Unwrap() vfs.FS { return p.FS }

func (p private) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return protect(f, err, 0o600)
}

func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, opts...)
	return protect(f, err, 0o600)
}

func (p private) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.ReuseForWrite(old, name, c)
	return protect(f, err, 0o600)
}

func (p private) MkdirAll(name string, _ os.FileMode) error {
	if err := p.FS.MkdirAll(name, 0o700); err != nil {
		return err
	}
	d, err := p.OpenDir(name)
	if d, err = protect(d, err, 0o700); err != nil {
		return err
	}
	return d.Close()
}

// protect sets the mode of what was just opened, and closes it if it cannot.
func protect(f vfs.File, err error, mode uint32) (vfs.File, error) {
	if err != nil || f.Fd() == vfs.InvalidFd {
		return f, err
	}
	if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("set mode %#o: %w", mode, err)
	}
	return f, nil
}

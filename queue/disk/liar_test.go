package disk

import "github.com/cockroachdb/pebble/v2/vfs"

// liar is a disk that says it has synced what it has not, where lies says so.
type liar struct {
	vfs.FS
	lies func(path string, dir bool) bool
}

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error                { return nil }
func (lyingFile) SyncData() error            { return nil }
func (lyingFile) SyncTo(int64) (bool, error) { return false, nil }

func (l liar) file(f vfs.File, err error, path string, dir bool) (vfs.File, error) {
	if err == nil && l.lies(path, dir) {
		f = lyingFile{f}
	}
	return f, err
}

func (l liar) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return l.file(f, err, name, false)
}

func (l liar) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(name, c, o...)
	return l.file(f, err, name, false)
}

func (l liar) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(old, name, c)
	return l.file(f, err, name, false)
}

func (l liar) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return l.file(f, err, name, true)
}

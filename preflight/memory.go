package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Memory keeps the history from one run of the program to the next.
type Memory interface {
	// Load never fails for want of a usable history: then there is none.
	Load(ctx context.Context) (History, error)
	// Save replaces what was there, whole or not at all.
	Save(ctx context.Context, h History) error
}

// FileMemory keeps the history in one file of JSON, readable by its owner. A
// missing, torn or foreign file is no history.
func FileMemory(path string) Memory { return fileMemory(path) }

type fileMemory string

// memorySchema counts changes that older programs would misread.
const (
	memorySchema = 1
	maxMemory    = 64 << 20
)

type memoryFile struct {
	Schema int `json:"schema"`
	History
}

func (m fileMemory) Load(context.Context) (History, error) {
	fd, err := os.Open(string(m))
	if err != nil {
		return History{}, nil
	}
	defer fd.Close()
	var f memoryFile
	if err := json.NewDecoder(io.LimitReader(fd, maxMemory)).Decode(&f); err != nil || f.Schema != memorySchema {
		return History{}, nil
	}
	for k, e := range f.Entries {
		if rank(e.Result.Status) < 0 && e.Result.Status != Skip || e.Looks < 0 || e.Silent < 0 {
			delete(f.Entries, k)
		}
	}
	return f.History, nil
}

func (m fileMemory) Save(_ context.Context, h History) error {
	if err := m.replace(h); err != nil {
		return fmt.Errorf("keep the preflight history: %w", err)
	}
	return nil
}

// replace writes beside the file and renames: a crash leaves the old one or the
// new one, and at most one that is half written, which the next takes the place of.
func (m fileMemory) replace(h History) (err error) {
	fd, err := os.OpenFile(string(m)+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = fd.Close()
			_ = os.Remove(fd.Name())
		}
	}()
	if err := json.NewEncoder(fd).Encode(memoryFile{memorySchema, h}); err != nil {
		return err
	}
	if err := fd.Sync(); err != nil {
		return err
	}
	if err := fd.Close(); err != nil {
		return err
	}
	if err := os.Rename(fd.Name(), string(m)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(string(m)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

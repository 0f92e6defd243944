//go:build mutants

package disk

import (
	"context"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// mutant is what is wrong with this build: "nofsync", "nodirsync", "ackfirst",
// or nothing. Such a build is made by `make torture` and `make test` alone.
var mutant string

var synced *pebble.WriteOptions

func init() { become(os.Getenv("RELAY_MUTANT")) }

func become(name string) {
	mutant, synced = name, pebble.Sync
	if name == "nofsync" {
		synced = pebble.NoSync
	}
}

func syncFile(f vfs.File) error {
	if mutant == "nofsync" {
		return nil
	}
	return f.Sync()
}

func syncDir(fs vfs.FS, name string) error {
	if mutant == "nodirsync" {
		return nil
	}
	return syncNames(fs, name)
}

// keep of "ackfirst" does not wait for the disk.
func (d *draft) keep(ctx context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	if mutant != "ackfirst" {
		return d.commit(ctx, m, rs)
	}
	late, its, theirs := *d, *m, slices.Clone(rs)
	go func() { _, _ = late.commit(context.WithoutCancel(ctx), &its, theirs) }()
	d.file = nil
	return d.ID(), nil
}

//go:build !mutants

package disk

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// What a 250 rests on stands here alone, so that mutants.go can take a piece of
// it away: the tests must notice.

// synced is how a batch is written that somebody is told of.
var synced = pebble.Sync

// syncFile makes the content of a body file durable.
func syncFile(f vfs.File) error { return f.Sync() }

// syncDir makes the names in a directory durable.
func syncDir(fs vfs.FS, name string) error { return syncNames(fs, name) }

// keep returns once the message is durable.
func (d *draft) keep(ctx context.Context, m *queue.Message, rs []queue.Recipient) (queue.ID, error) {
	return d.commit(ctx, m, rs)
}

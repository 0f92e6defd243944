package relay

import (
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
	"smtprelay/queue/disk"
)

// openStore maps the scheme of Options.Store to a store, which may keep so many
// tables open.
func openStore(o Options, tables int) (queue.Store, error) {
	u, err := url.Parse(o.Store)
	if err != nil {
		return nil, fmt.Errorf("queue.store %q: %w", o.Store, err)
	}
	switch u.Scheme {
	case "disk":
		dir := u.Opaque + u.Path // disk:queue and disk:/var/spool/relay
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(o.State, dir)
		}
		return disk.Open(vfs.Default, dir, disk.Options{Log: o.Log, Tables: tables})
	}
	return nil, fmt.Errorf("queue.store %q: no store of scheme %q: expected disk:PATH", o.Store, u.Scheme)
}

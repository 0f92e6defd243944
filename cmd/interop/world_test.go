//go:build interop

package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// world is the internet that the set-ups stand in.
type world struct {
	work      string
	mu        sync.Mutex        // of names and parents while they start
	roots     map[string]string // name -> where it lies
	names     map[string]*nameserver
	parents   map[string]*nameserver // zone -> who runs it; set-ups' zones are below these
	receivers []*receiver
	apps      []*peer
	smarthost *peer
	table     table
	forecasts forecasts

	hosts  atomic.Int32
	setups atomic.Int32
}

// newWorld starts every server, and says all that is in DNS from the first.
func newWorld() (*world, error) {
	w := &world{work: os.Getenv(workEnv), roots: map[string]string{}, names: map[string]*nameserver{}, parents: map[string]*nameserver{}}
	ps, err := loadPeers()
	if err != nil {
		return nil, err
	}
	roots := rootsOf(ps)
	for name := range roots.Packages {
		w.roots[name] = roots.Path(name)
	}
	if err := w.each(ps, func(p *peer) bool { return p.nameserver }, w.startNames); err != nil {
		return nil, err
	}
	if err := w.each(ps, func(p *peer) bool { return !p.nameserver }, w.startPeer); err != nil {
		return nil, err
	}
	for _, p := range ps {
		switch {
		case p.send != "":
			w.apps = append(w.apps, p)
		case p.receives != "":
			w.receivers = append(w.receivers, &receiver{peer: p, box: map[string][]letter{}, read: map[string]bool{}})
		case p.name == "smarthost":
			w.smarthost = p
		}
	}
	return w, nil
}

func (w *world) each(ps []*peer, which func(*peer) bool, do func(*peer) error) error {
	var g errgroup.Group
	for _, p := range ps {
		if which(p) {
			g.Go(func() error { return do(p) })
		}
	}
	return g.Wait()
}

// host makes a machine.
func (w *world) host(name, root string, addrs []netip.Addr) (*host, error) {
	h, err := newHost(w.work, name, w.roots[root], int(w.hosts.Add(1)), addrs)
	if err != nil {
		return nil, err
	}
	os.Remove(filepath.Join(h.dir, "etc/resolv.conf")) // it may be a link
	return h, errors.Join(
		h.write("/etc/resolv.conf", "nameserver 192.0.2.53\n", 0o644),
		h.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644),
	)
}

func (w *world) startNames(p *peer) (err error) {
	if p.host, err = w.host(p.name, p.root, p.addrs); err != nil {
		return err
	}
	s, err := startName(p.host)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	var zones []string
	for name, text := range p.sections {
		if zone, ok := strings.CutPrefix(name, "zones/"); ok {
			if err := s.serve(zone, text); err != nil {
				return fmt.Errorf("zone %s: %w", zone, err)
			}
			zones = append(zones, zone)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[p.name] = s
	for _, zone := range zones {
		w.parents[zone] = s
	}
	return nil
}

func (w *world) startPeer(p *peer) (err error) {
	if p.send != "" {
		return nil // it lives on the servers of the set-ups
	}
	if p.host, err = w.host(p.name, p.root, p.addrs); err != nil {
		return err
	}
	if p.domain != "" {
		if err := w.publish(p.domain, w.names["hoster"], p.sections["records"]); err != nil {
			return err
		}
	}
	if err := w.names["isp"].add(p.sections["reverse"]); err != nil {
		return err
	}
	return p.up(&w.table)
}

// publish a zone: served by one server, and delegated to it by the parent.
func (w *world) publish(zone string, s *nameserver, records string) error {
	if err := s.serve(zone, records); err != nil {
		return fmt.Errorf("zone %s: %w", zone, err)
	}
	for above := zone; ; {
		_, rest, ok := strings.Cut(above, ".")
		if !ok {
			return fmt.Errorf("zone %s: no parent zone here", zone)
		}
		if parent := w.parents[rest]; parent != nil {
			return parent.delegate(zone, s)
		}
		above = rest
	}
}

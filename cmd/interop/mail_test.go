//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// receiver is a peer that takes mail, and its mailbox.
type receiver struct {
	*peer
	mu   sync.Mutex
	read map[string]bool   // files of the Maildir
	box  map[string]letter // by idField
}

// letter is a message as it arrived, lines ended by CRLF as they were on the wire.
type letter struct {
	file   string
	raw    []byte
	header mail.Header
}

// find waits for the message with this idField.
func (r *receiver) find(id string) (letter, error) {
	late := time.After(patience)
	for {
		_, more := r.log.since(0) // a delivery is logged when it has been made
		if l, ok, err := r.look(id); err != nil || ok {
			return l, err
		}
		select {
		case <-more:
		case <-late:
			return letter{}, fmt.Errorf("%s did not get %s in %s", r.name, id, patience)
		}
	}
}

func (r *receiver) look(id string) (letter, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := filepath.Join(r.dir, "var/mail/box/new")
	files, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return letter{}, false, err
	}
	for _, f := range files {
		if r.read[f.Name()] {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return letter{}, false, err
		}
		m, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			return letter{}, false, fmt.Errorf("%s: %w", f.Name(), err)
		}
		r.read[f.Name()] = true
		r.box[m.Header.Get(idField)] = letter{f.Name(), bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), m.Header}
	}
	l, ok := r.box[id]
	return l, ok, nil
}

// way that a letter came: from which of these addresses it was handed in, and
// whatever is not as it should be.
func (l letter) way(direct []netip.Addr, smarthost netip.Addr) string {
	top := l.header.Get("Received")
	way := "nobody known: " + top
	for _, a := range direct {
		if from(top, a) {
			way = "direct from " + a.String()
		}
	}
	if from(top, smarthost) {
		way = "smarthost"
	}
	if !regexp.MustCompile(`(?i)esmtps`).MatchString(top) {
		way += ", without TLS"
	}
	if results := l.header.Get("Authentication-Results"); !strings.Contains(results, "dkim=pass") {
		way += ", " + results
	}
	return way
}

// from tells whether a Received field names an address as the client's, in one
// of the ways that are in use.
func from(received string, a netip.Addr) bool {
	return strings.Contains(received, "["+a.String()+"]") || strings.Contains(received, "[IPv6:"+a.String()+"]")
}

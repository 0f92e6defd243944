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
	"slices"
	"strings"
	"sync"
	"time"
)

// receiver is a peer that takes mail, and its mailbox.
type receiver struct {
	*peer
	mu   sync.Mutex
	read map[string]bool     // files of the Maildir
	box  map[string][]letter // by idField
}

// letter is a message as it arrived, lines ended by CRLF as they were on the wire.
type letter struct {
	file   string
	raw    []byte
	header mail.Header
}

// find waits until then for the message with this idField.
func (r *receiver) find(id string, until time.Time) (letter, error) {
	late := time.After(time.Until(until))
	for {
		_, more := r.log.since(0) // a delivery is logged when it has been made
		if l, ok, err := r.look(id); err != nil || ok {
			return l, err
		}
		select {
		case <-more:
		case <-late:
			return letter{}, fmt.Errorf("%s did not get %s in time", r.name, id)
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
		of := m.Header.Get(idField)
		r.box[of] = append(r.box[of], letter{f.Name(), bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), m.Header})
	}
	if all := r.box[id]; len(all) > 0 {
		return all[0], true, nil
	}
	return letter{}, false, nil
}

// twice lists what came more than once in all.
func (r *receiver) twice() (ids []string, err error) {
	if _, _, err := r.look(""); err != nil {
		return nil, err
	}
	for id, all := range r.box {
		if id != "" && len(all) > 1 {
			ids = append(ids, fmt.Sprintf("%s: %d times", id, len(all)))
		}
	}
	return ids, nil
}

// way that a letter came to r: from which of these addresses it was handed in,
// and whatever is not as it should be.
func (r *receiver) way(l letter, domain string, direct []netip.Addr, smarthost netip.Addr) string {
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
	if err := r.verified(domain, l); err != nil {
		way += ", " + err.Error()
	}
	return way
}

// atOnce is how many messages a verifier is given: their names are one argument.
const atOnce = 200

// verified tells whether every verifier of the receiver accepts the domain's
// signature on all of the letters.
func (r *receiver) verified(domain string, letters ...letter) error {
	for _, l := range letters {
		if results := l.header.Get("Authentication-Results"); len(r.verify) == 0 && !signed(results, domain) {
			return fmt.Errorf("DKIM of %s: %s", l.header.Get(idField), results)
		} else if by := l.header.Get("Dkim-Signature"); !signedBy.MatchString(by) || signedBy.FindStringSubmatch(by)[1] != domain {
			return fmt.Errorf("DKIM of %s: not signed by %s: %s", l.header.Get(idField), domain, by)
		}
	}
	for _, command := range r.verify {
		for some := range slices.Chunk(letters, atOnce) {
			if err := r.verifiedBy(command, some); err != nil {
				return err
			}
		}
	}
	return nil
}

var signedBy = regexp.MustCompile(`\bd=([^;\s]*)`)

func (r *receiver) verifiedBy(command string, letters []letter) error {
	var files []string
	for _, l := range letters {
		files = append(files, l.file)
	}
	out, err := r.run("", "env", "FILES="+strings.Join(files, " "), "sh", "-c", command)
	if err != nil {
		return err
	}
	verdicts := map[string]string{}
	for line := range strings.Lines(out) {
		file, verdict, _ := strings.Cut(strings.TrimSpace(line), " ")
		verdicts[file] = verdict
	}
	for _, l := range letters {
		if v := verdicts[l.file]; v != "pass" {
			return fmt.Errorf("DKIM of %s, %s: %q", l.header.Get(idField), command, v)
		}
	}
	return nil
}

// signed tells whether the results name a good signature of the domain.
func signed(results, domain string) bool {
	return regexp.MustCompile(`(?s)dkim=pass .{0,80}?header\.d=` + regexp.QuoteMeta(domain) + `\b`).MatchString(results)
}

// from tells whether a Received field names an address as the client's, in one
// of the ways that are in use.
func from(received string, a netip.Addr) bool {
	return strings.Contains(received, "["+a.String()+"]") || strings.Contains(received, "[IPv6:"+a.String()+"]")
}

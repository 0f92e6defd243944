//go:build interop

package interop

import (
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"

	"smtprelay/cmd/sandbox"
)

const patience = sandbox.Patience

// transcript is what programs wrote: kept in a file, and waited for.
type transcript struct {
	mu   sync.Mutex
	file *os.File
	text []byte
	more chan struct{} // closed and renewed with each piece
}

func newTranscript(path string) (*transcript, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &transcript{file: f, more: make(chan struct{})}, nil
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	close(t.more)
	t.more = make(chan struct{})
	return t.file.Write(p)
}

// since is what was written after the first n octets, and what tells of more.
func (t *transcript) since(n int) (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text[n:]), t.more
}

// await a match after the first n octets, until the writer has ended.
func (t *transcript) await(re *regexp.Regexp, n int, ended <-chan struct{}) error {
	late := time.After(patience)
	for {
		text, more := t.since(n)
		if re.MatchString(text) {
			return nil
		}
		select {
		case <-more:
		case <-ended:
			if text, _ := t.since(n); re.MatchString(text) {
				return nil
			}
			return fmt.Errorf("it ended and had not written %q", re)
		case <-late:
			return fmt.Errorf("it has not written %q in %s", re, patience)
		}
	}
}

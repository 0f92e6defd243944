package config

import (
	"crypto/tls"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// pair is a certificate and its key, as the files have them: certificates are
// renewed every few weeks, and nobody restarts a relay for that. Files that do not
// fit together, for one of them is about to be written, change nothing.
type pair struct {
	files []string
	load  func() (*tls.Certificate, error)

	mu   sync.Mutex
	seen []stamp // what the files were when they were last read
	cert *tls.Certificate
	err  error     // why cert is not what the files hold now
	read time.Time // when that was seen
}

// readAgain is when files that could not be used are read again though nobody
// touched them: the disk or the program may have been at fault.
const readAgain = 10 * time.Second

// stamp tells versions of a file apart.
type stamp struct {
	inode os.FileInfo
	size  int64
	at    time.Time
}

func (p *pair) stamps() (all []stamp) {
	for _, name := range p.files {
		s := stamp{}
		if fi, err := os.Stat(name); err == nil {
			s = stamp{fi, fi.Size(), fi.ModTime()}
		}
		all = append(all, s)
	}
	return all
}

func (s stamp) same(o stamp) bool {
	if s.inode == nil || o.inode == nil {
		return s.inode == nil && o.inode == nil
	}
	return os.SameFile(s.inode, o.inode) && s.size == o.size && s.at.Equal(o.at)
}

// now is the certificate for a client that connects. The error says why it is not
// what lies on disk.
func (p *pair) now() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	is := p.stamps()
	if slices.EqualFunc(is, p.seen, stamp.same) && (p.err == nil || time.Since(p.read) < readAgain) {
		return p.cert, p.err
	}
	p.seen, p.read = is, time.Now()
	c, err := p.load()
	if p.err = err; err == nil {
		p.cert = c
	}
	return p.cert, p.err
}

// server is the TLS of a listener.
func (p *pair) server() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { c, _ := p.now(); return c, nil },
	}
}

// first problem, in few words: a report has room for one line.
func (ps Problems) first() error {
	if len(ps) == 0 {
		return nil
	}
	return errors.New(ps[0].What)
}
